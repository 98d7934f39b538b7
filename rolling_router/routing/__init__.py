"""Who answers a request. Pure: no I/O, and no clock but the one handed in."""
