"""health: which instances can serve. Pure: what traffic tells -> until when an instance is left alone."""

from __future__ import annotations

from rolling_router.routing.fleet import Load

FIRST_SECONDS = 1.0
LONGEST_SECONDS = 30.0


def unreachable(load: Load, now: float) -> bool:
    """
    An attempt to connect failed: eject the instance, twice as long each time in a row.

    :returns: whether that is news. Attempts that were under way together tell the same thing; were each one counted,
        a busy instance that restarts in a second would be left alone for the longest time.
    """
    if load.out_until > now:
        return False
    load.failures += 1
    load.out_until = now + min(LONGEST_SECONDS, FIRST_SECONDS * 2.0 ** min(load.failures - 1, 10))
    return True


def reached(load: Load) -> None:
    """It took a connection: it is back at once."""
    load.failures = 0
    load.out_until = 0.0
