"""admin.listener: one open event stream. Made by `feed`, for a request of `api`; never waits, and holds no queue."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IPushProducer
from zope.interface import implementer

from rolling_router.admin.doorman import Visit


@implementer(IPushProducer)
class Listener:
    """
    A browser that is told what happens. What it does not take in time it is not told; it is told afresh when it takes
    again, or dropped.

    :ivar paused_at: since when it takes nothing; ``None`` while it does.
    :ivar is_behind: whether it missed something meanwhile.
    :ivar told_at: the second of the last sample that it was sent; ``None`` before the first.
    :ivar over: fires when the stream has ended, from either side.
    """

    def __init__(
        self, request: Any, visit: Visit, now: Callable[[], float], caught_up: Callable[[Listener], None]
    ) -> None:
        """:param caught_up: called when it takes again after it was behind."""
        self.visit = visit
        self.paused_at: float | None = None
        self.is_behind = False
        self.told_at: int | None = None
        self.over: Deferred[None] = Deferred(lambda _: self._gone())
        self._request = request
        self._now = now
        self._caught_up = caught_up
        self._is_over = False
        request.notifyFinish().addErrback(lambda _: self._gone())
        request.registerProducer(self, True)

    def send(self, frames: bytes) -> None:
        """Tell it, if it takes anything now."""
        if self._is_over:
            return
        if self.paused_at is not None:
            self.is_behind = True
        else:
            self._request.write(frames)

    def end(self, frames: bytes = b"") -> None:
        """The last words."""
        if self._is_over:
            return
        self._is_over = True
        self._request.unregisterProducer()
        if self.paused_at is None:
            self._request.write(frames)
        self.over.callback(None)  # which finishes the request

    def drop(self) -> None:
        """Let go of one that does not keep up, and of what is queued for it."""
        if not self._is_over:
            self._request.channel.forceAbortClient()

    def _gone(self) -> None:
        if not self._is_over:
            self._is_over = True
            self.over.callback(None)

    # IPushProducer

    def pauseProducing(self) -> None:
        if self.paused_at is None:
            self.paused_at = self._now()

    def resumeProducing(self) -> None:
        self.paused_at = None
        if self.is_behind and not self._is_over:
            self.is_behind = False
            self._caught_up(self)

    def stopProducing(self) -> None:
        """The connection is gone; `notifyFinish` tells."""
