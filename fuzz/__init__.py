"""Looks for bytes that the message code does not stand: ``make fuzz``. Not installed."""
