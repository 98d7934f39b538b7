"""
delivery.moves: what to do next to have a deployment run, to make it the candidate, or to be rid of one. Pure.

Each decision is made of what is there now, and of nothing remembered: so a deploy that was broken off goes on where it
was, whoever broke it off.
"""

from __future__ import annotations

import enum

import attrs

from rolling_router.occs.deployments import RUNNING, STOPPED, Deployment
from rolling_router.rollout.model import Version
from rolling_router.rollout.standing import Standing


class Move(enum.Enum):
    """The next thing to do with a deployment."""

    CREATE = "create"
    START = "start"
    STOP = "stop"
    DELETE = "delete"
    WAIT = "wait"
    KEEP = "keep"
    DONE = "done"


def to_run(found: Deployment | None, instances: int) -> Move:
    """
    Have it run and found.

    :param instances: how many are registered. The platform's word that all runs is not enough: a wrong port registers
        none, and no router would find it.
    """
    if found is None:
        return Move.CREATE
    if found.is_in(STOPPED):
        return Move.START  # by a run before this one, which was broken off while it cleaned up
    return Move.DONE if found.is_in(RUNNING) and instances else Move.WAIT


def to_be_gone(found: Deployment | None, is_named: bool) -> Move:
    """
    Be rid of it, unless a key names it: then it is to run, for it may have been named after we had stopped it.
    """
    if found is None:
        return Move.DONE
    if found.desired_state != STOPPED:
        return Move.KEEP if is_named else Move.STOP
    if not found.is_in(STOPPED):
        return Move.WAIT
    return Move.START if is_named else Move.DELETE


@attrs.frozen
class Seat:
    """
    How the candidate's role stands for a version that is to have it.

    :ivar is_ours: it has that role, or the stable one, already.    :ivar replaced: whom it would replace.
    :ivar other: a version that was given the role since this deploy began; it is not overrun.
    """

    is_ours: bool = False
    replaced: Version | None = None
    other: Version | None = None


def seat(now: Standing, began_with: str | None, version: str, port: int) -> Seat:
    """:param began_with: the candidate's id when this deploy began."""
    stable, candidate = now.snapshot.stable, now.snapshot.candidate
    if stable is not None and stable.id == version:
        return Seat(is_ours=True)
    if candidate is None:
        return Seat()
    if candidate.id == version:
        return Seat(is_ours=candidate.port == port)
    return Seat(replaced=candidate) if candidate.id == began_with else Seat(other=candidate)
