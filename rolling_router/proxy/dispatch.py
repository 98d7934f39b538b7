"""proxy.dispatch: brings each exchange to an instance, and once more elsewhere where that is right; keeps the score."""

from __future__ import annotations

from typing import Any, Protocol

from twisted.internet.error import ConnectingCancelledError, TimeoutError
from twisted.logger import Logger
from twisted.python.failure import Failure

from rolling_router import health
from rolling_router.proxy.deadlines import Deadlines
from rolling_router.proxy.exchange import Exchange, Verdict
from rolling_router.proxy.headers import Field, Sharing, sharing
from rolling_router.proxy.limits import Limits
from rolling_router.proxy.pool import Pool
from rolling_router.proxy.request import Body
from rolling_router.proxy.response import Response
from rolling_router.proxy.upstream import Upstream
from rolling_router.rollout.model import Snapshot
from rolling_router.routing.fleet import Load
from rolling_router.routing.place import Placement, Reason
from rolling_router.routing.router import NoInstance, Router

_log = Logger()

_NOBODY = {
    Reason.NOT_SET_UP: "This application is not set up yet: no version of it is known. Please try again later.",
    Reason.NO_INSTANCE: "No instance of this application can serve at the moment. Please try again in a few seconds.",
}


class Score(Protocol):
    """
    Counts. `observe.score` has the real one.

    :ivar opened: connections made to instances.    :ivar reused: requests that went over a kept one.
    """

    opened: int
    reused: int

    def ended(self, exchange: Exchange) -> None:
        """An exchange is over, well or not; called once for each."""

    def unreachable(self, load: Load) -> None:
        """An instance did not take a connection."""


class Dispatch:
    """
    One per process, shared by all client connections.

    :param score: told of what happens, to count it.
    """

    def __init__(
        self,
        reactor: Any,
        router: Router,
        limits: Limits,
        deadlines: Deadlines,
        score: Score,
    ) -> None:
        self.router = router
        self.limits = limits
        self.deadlines = deadlines
        self._reactor = reactor
        self._score = score
        self._pools: dict[Load, Pool] = {}

    # Called by the client's side

    def begin(self, exchange: Exchange) -> None:
        """Place it and send it. Calls back at once if nobody can serve it."""
        try:
            placement = self.router.place(exchange.request, self.deadlines.now)
        except NoInstance as none:
            self._refuse(exchange, none, timed_out=False)
            return
        self._send(exchange, placement)

    def finish(self, exchange: Exchange) -> None:
        """It is over, well or not. Called once."""
        exchange.is_over = True
        if exchange.placement is not None:
            exchange.placement.load.outstanding -= 1
        self._score.ended(exchange)

    def told(self, exchange: Exchange, response: Response) -> list[Field]:
        """
        Fields to add to an instance's answer, so that the client comes back to where it was served.

        An answer that shared caches may keep gets none; one that says nothing of them is made private, because
        RFC 9111 section 7.3 lets them keep a Set-Cookie.
        """
        placement = exchange.placement
        assert placement is not None
        if not placement.is_news:
            return []
        shared = sharing(response.caching) if response.caching else Sharing.SILENT
        if shared is Sharing.ALLOWED:
            return []
        told = list(self.router.tell(placement, exchange.request))
        if told and shared is Sharing.SILENT:
            told.append((b"Cache-Control", b"private"))
        return told

    # Called by connections to instances

    def instance_lost(self, exchange: Exchange, is_reused: bool, has_answered: bool) -> None:
        """The connection ended in the middle of the exchange."""
        verdict = exchange.instance_lost(is_reused, has_answered)
        if verdict is Verdict.AGAIN:
            exchange.retries += 1
            assert exchange.placement is not None
            self._connect(exchange, self._pool(exchange.placement.load))
        elif verdict is Verdict.ANSWER:
            broken = "broke off its answer" if has_answered else "closed the connection without an answer"
            self.instance_failed(exchange, 502, f"The instance {broken}.")
        else:
            exchange.client.cut(exchange)

    def instance_failed(self, exchange: Exchange, status: int, text: str) -> None:
        """The exchange cannot go on, and its connection is gone."""
        if exchange.response is None:
            exchange.client.refused(exchange, status, text)
        else:
            exchange.client.cut(exchange)

    # Called by the service

    def follow(self, snapshot: Snapshot) -> None:
        """Put a snapshot in force. What is in flight ends where it began."""
        for load in self.router.follow(snapshot):
            pool = self._pools.pop(load, None)
            if pool is not None:
                pool.close()

    def close(self) -> None:
        """Let go of all idle connections, and of those being made."""
        for pool in self._pools.values():
            pool.abort()

    # Sending

    def _send(self, exchange: Exchange, placement: Placement) -> None:
        exchange.placement = placement
        load = placement.load
        load.outstanding += 1
        pool = self._pool(load)
        request = exchange.request
        # A body that was sent is no longer here to be sent again, so it needs the same care as a POST.
        upstream = pool.take(must_be_open=not request.is_repeatable or request.body is not Body.NONE)
        if upstream is not None:
            self._score.reused += 1
            upstream.start(exchange)
        else:
            self._connect(exchange, pool)

    def _pool(self, load: Load) -> Pool:
        pool = self._pools.get(load)
        if pool is None:
            pool = Pool(self._reactor, load, self, self.limits, self.deadlines)
            if load in self.router.loads:
                self._pools[load] = pool
            else:
                pool.close()  # it left the snapshot since: one connection for this exchange, none kept
        return pool

    def _connect(self, exchange: Exchange, pool: Pool) -> None:
        pool.connect().addCallbacks(
            self._connected, self._unreachable, callbackArgs=(exchange, pool), errbackArgs=(exchange, pool)
        ).addErrback(self._bug, exchange)

    def _connected(self, upstream: Upstream, exchange: Exchange, pool: Pool) -> None:
        health.reached(pool.load)
        self._score.opened += 1
        if exchange.is_over:  # the client left meanwhile
            pool.give_back(upstream)
        else:
            upstream.start(exchange)

    def _unreachable(self, failure: Failure, exchange: Exchange, pool: Pool) -> None:
        load = pool.load
        if not failure.check(ConnectingCancelledError):
            is_news = health.unreachable(load, self.deadlines.now)
            self._score.unreachable(load)
            # The 1st, 2nd, 4th, 8th in a row: a dead one must not flood the log.
            if is_news and load.failures & (load.failures - 1) == 0:
                _log.warn(
                    "instance {instance} cannot be reached ({failures} times in a row): {why}",
                    instance=str(load.instance),
                    failures=load.failures,
                    why=failure.getErrorMessage(),
                )
        if exchange.is_over:
            return
        placement = exchange.placement
        assert placement is not None
        exchange.tried = (*exchange.tried, load)
        try:
            # Nothing was sent, so any method may go elsewhere.
            again = self.router.place_again(placement, exchange.tried, self.deadlines.now)
        except NoInstance as none:
            self._refuse(exchange, none, timed_out=bool(failure.check(TimeoutError)))
            return
        load.outstanding -= 1
        exchange.retries += 1
        self._send(exchange, again)

    def _refuse(self, exchange: Exchange, none: NoInstance, timed_out: bool) -> None:
        exchange.reason = none.reason
        if timed_out:
            text = f"No instance took the connection within {self.limits.connect_seconds:g} seconds."
            exchange.client.refused(exchange, 504, text)
        else:
            exchange.client.refused(exchange, 503, _NOBODY[none.reason])

    def _bug(self, failure: Failure, exchange: Exchange) -> None:
        _log.failure("a request could not be sent", failure)
        if not exchange.is_over:
            self.instance_failed(exchange, 502, "The request could not be sent to an instance.")
