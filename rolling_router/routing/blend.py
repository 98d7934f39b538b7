"""routing.blend: whose turn is it. Pure."""

from __future__ import annotations

from rolling_router.rollout.model import Role

# By names of this module: to look a member up in its class costs as much as a call, up to Python 3.11.
_STABLE, _CANDIDATE = Role


def turn(blend: int, carried: int) -> tuple[Role, int]:
    """
    Say whose turn an undecided choice is, and what to carry to the next one.

    :param blend: percent for the candidate, 0..100.    :param carried: 0..99, from the previous call.
    """
    carried += blend
    # Carrying the remainder, rather than drawing lots, keeps every run of choices within one of its exact share.
    if carried >= 100:
        return _CANDIDATE, carried - 100
    return _STABLE, carried
