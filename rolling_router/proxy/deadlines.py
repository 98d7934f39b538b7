"""
proxy.deadlines: one coarse clock for all connections, instead of a timed call for each.

A connection writes its `deadline`, which costs an attribute; one loop looks at all of them twice a second.
"""

from __future__ import annotations

from typing import Any, Protocol

from twisted.application.service import Service
from twisted.internet.task import LoopingCall
from twisted.logger import Logger

TICK_SECONDS = 0.5
NEVER = float("inf")

_log = Logger()


class Timed(Protocol):
    """What has a deadline. `expire` must move the deadline or end the connection; it is called until it does."""

    deadline: float

    def expire(self) -> None: ...


class Deadlines(Service):
    """
    :ivar now: seconds of the reactor's clock, as of the last tick: up to `TICK_SECONDS` behind.
    """

    def __init__(self, reactor: Any) -> None:
        self._loop = LoopingCall(self._tick)
        self._loop.clock = self._reactor = reactor
        self._members: set[Timed] = set()
        self.now: float = reactor.seconds()
        # Bound once: every connection comes and goes through these two.
        self.add = self._members.add
        self.discard = self._members.discard

    def startService(self) -> None:
        super().startService()
        self._loop.start(TICK_SECONDS)

    def stopService(self) -> None:
        super().stopService()
        if self._loop.running:
            self._loop.stop()

    def _tick(self) -> None:
        self.now = now = self._reactor.seconds()
        for member in [one for one in self._members if one.deadline <= now]:
            if member.deadline > now or member not in self._members:
                continue  # it belongs to one that has just expired, and was moved or ended with it
            try:
                member.expire()
            except Exception:
                _log.failure("a connection failed to expire")
                self._members.discard(member)
