"""
proxy.draining: instances that left, and what is still in flight on them. Owned by `proxy.gate`.

Requests end by themselves. WebSockets and event streams would not: they have their time, and are then ended properly,
a few at a time, so that their clients do not all come back at once.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable
from typing import Protocol

import attrs

from rolling_router.proxy.deadlines import NEVER, TICK_SECONDS, Deadlines
from rolling_router.proxy.tunnel import GOODBYE_SECONDS
from rolling_router.routing.fleet import Load
from rolling_router.routing.plan import Plan

SPREAD_SECONDS = 10.0
"""Over which the streams of instances that left are ended, once their time has come."""


class Stream(Protocol):
    """A client connection that carries one."""

    def stream_on(self) -> Load | None:
        """The instance that it comes from; ``None`` where it is no stream (any more)."""

    def end_stream(self) -> None: ...


@attrs.frozen
class Left:
    """:ivar version: the id of the version that the instance belonged to.    :ivar since: when it left, in seconds."""

    version: str
    since: float


def how_many(count: int, seconds_left: float) -> int:
    """Of so many streams that are to end within `seconds_left`, how many end in this tick."""
    if seconds_left <= TICK_SECONDS:
        return count
    return math.ceil(count * TICK_SECONDS / seconds_left)


class Draining:
    """
    :param streams: all client connections that are open.    :param seconds: that a stream has.
    :ivar ended: streams ended so far.    :ivar deadline: see `proxy.deadlines`.
    """

    def __init__(self, streams: Callable[[], Iterable[Stream]], deadlines: Deadlines, seconds: float) -> None:
        self._streams = streams
        self._deadlines = deadlines
        self._seconds = seconds
        self._left: dict[Load, Left] = {}
        self._stops_at = NEVER
        self.ended = 0
        self.deadline = NEVER
        deadlines.add(self)

    def left(self, gone: Collection[Load], before: Plan, plan: Plan) -> None:
        """
        A snapshot came into force without these instances.

        :param before: the plan that they belonged to.    :param plan: the one in force.
        """
        in_play = {
            load.instance for fleet in (plan.stable, plan.candidate) if fleet is not None for load in fleet.loads
        }
        self._left = {load: left for load, left in self._left.items() if load.instance not in in_play}
        for load in gone:
            whose = before.whose(load)
            if whose is not None and load.outstanding:
                self._left[load] = Left(whose[1].id, self._deadlines.now)
        if self._left:
            self.deadline = min(self.deadline, self._deadlines.now)

    def stop(self) -> None:
        """The process ends: all streams end until then."""
        self._stops_at = self._deadlines.now + max(0.0, self._seconds - GOODBYE_SECONDS)
        self.deadline = self._deadlines.now

    def what_is_left(self) -> dict[Load, Left]:
        """Instances that left, with requests in flight."""
        self._left = {load: left for load, left in self._left.items() if load.outstanding}
        return self._left

    def expire(self) -> None:
        """A tick is over."""
        now, left = self._deadlines.now, self.what_is_left()
        is_stopping = self._stops_at != NEVER
        self.deadline = now + TICK_SECONDS if left or is_stopping else NEVER
        due = {load: one.since + self._seconds for load, one in left.items() if one.since + self._seconds <= now}
        if not due and not is_stopping:
            return
        streams: dict[Load | None, list[Stream]] = {}
        for one in self._streams():
            load = one.stream_on()
            if load is not None and (is_stopping or load in due):
                streams.setdefault(None if is_stopping else load, []).append(one)
        for load, those in streams.items():
            until = self._stops_at if load is None else due[load] + min(SPREAD_SECONDS, self._seconds)
            for one in those[: how_many(len(those), until - now)]:
                self.ended += 1
                one.end_stream()
