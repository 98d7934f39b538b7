"""``make bench``: what a request costs through the router, beside what it costs through others. See README.md."""
