"""The settings page in a real browser, against the real process."""
