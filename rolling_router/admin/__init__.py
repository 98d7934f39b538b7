"""The settings port."""
