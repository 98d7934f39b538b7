"""The settings page's static files, served as they lie."""
