"""The tutorial, played: each of its 68 items against the emulator, the router, the demo and the deploy step."""
