"""What to try the router with. No part of the installed package."""
