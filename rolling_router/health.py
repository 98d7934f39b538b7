"""health: which instances can serve. Pure: what traffic tells -> until when an instance is left alone."""

from __future__ import annotations

from rolling_router.routing.fleet import Load

FIRST_SECONDS = 1.0
LONGEST_SECONDS = 30.0


def unreachable(load: Load, now: float) -> None:
    """An attempt to connect failed: eject the instance, twice as long each time in a row."""
    load.failures += 1
    load.out_until = now + min(LONGEST_SECONDS, FIRST_SECONDS * 2.0 ** min(load.failures - 1, 10))


def reached(load: Load) -> None:
    """It took a connection: it is back at once."""
    load.failures = 0
    load.out_until = 0.0
