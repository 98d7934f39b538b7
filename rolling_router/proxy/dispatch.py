"""proxy.dispatch: brings each exchange to an instance, and once more elsewhere where that is right."""

from __future__ import annotations

import errno
from collections.abc import Callable, Sequence
from time import perf_counter
from typing import Any

from twisted.internet.defer import maybeDeferred
from twisted.internet.error import ConnectingCancelledError, TimeoutError
from twisted.logger import Logger
from twisted.python.failure import Failure

from rolling_router.health import Failing, Rules
from rolling_router.interfaces import Pin
from rolling_router.proxy.budget import Budget, Retrying
from rolling_router.proxy.deadlines import NEVER, Deadlines
from rolling_router.proxy.exchange import ClientSide, Exchange, Verdict
from rolling_router.proxy.headers import Field, Sharing
from rolling_router.proxy.instance_tls import InstanceTls
from rolling_router.proxy.known import Known
from rolling_router.proxy.limits import Limits
from rolling_router.proxy.pool import Pool
from rolling_router.proxy.refusal import Refusal
from rolling_router.proxy.request import Request, new_request_id
from rolling_router.proxy.response import Response
from rolling_router.proxy.score import Score
from rolling_router.proxy.upstream import Upstream
from rolling_router.proxy.waiting import Waiting
from rolling_router.proxy.witness import Witness
from rolling_router.rollout.model import Snapshot
from rolling_router.routing.fleet import Load
from rolling_router.routing.place import Placement, Reason
from rolling_router.routing.router import NoInstance, Router

_log = Logger()

_PRIVATE = (b"Cache-Control", b"private")

_NOBODY = {
    Reason.NOT_SET_UP: "This application is not set up yet: no version of it is known. Please try again later.",
    Reason.NO_INSTANCE: "No instance of this application can serve at the moment. Please try again in a few seconds.",
}


class Dispatch:
    """
    One per process, shared by all client connections.

    :param score: told of what happens, to count it.    :param rules: what ejects an instance.
    :param retrying: what is sent to a second one.    :param tls: for instances that want it.
    :ivar witness: told how instances do.    :ivar waiting: requests for which there is no room now.
    :ivar budget: of requests that may be sent again.
    """

    def __init__(
        self,
        reactor: Any,
        router: Router,
        limits: Limits,
        deadlines: Deadlines,
        score: Score,
        rules: Rules = Rules(),  # noqa: B008 (frozen)
        retrying: Retrying = Retrying(),  # noqa: B008 (frozen)
        tls: InstanceTls | None = None,
    ) -> None:
        self.router = router
        self.limits = limits
        self.deadlines = deadlines
        self._reactor = reactor
        self._score = score
        self._rules = rules
        self.witness = Witness(router, deadlines, score, rules)
        self._retrying = retrying
        self._tls = tls
        self._failing_statuses = rules.statuses | retrying.statuses
        self.limited = score.limited
        self._pools: dict[Load, Pool] = {}
        self._most = limits.requests_per_instance or NEVER
        self.waiting = Waiting(limits, deadlines, self._send, self._refuse_full)
        self.known: Known[Response] = Known()
        self.budget = Budget(retrying.percent, lambda: score.opened + score.reused, deadlines)

    # Called by the client's side

    def begin(self, exchange: Exchange) -> None:
        """Place it and send it. Calls back at once if nobody can serve it."""
        try:
            placement = self.router.place(exchange.request, self.deadlines.now)
        except NoInstance as none:
            self._refuse(exchange, none, timed_out=False)
            return
        self._send(exchange, placement)

    def refuse(self, request: Request, client: ClientSide, refusal: Refusal) -> None:
        """Have the client told that this is not passed on.    :param request: as much of one as there is."""
        request.id = new_request_id()
        exchange = Exchange(request, client, perf_counter())
        exchange.reason = Reason.REFUSED
        if refusal.limit:
            self.limited(refusal.limit)
        client.refused(exchange, refusal.status, refusal.text)

    def finish(self, exchange: Exchange) -> None:
        """It is over, well or not. Called once."""
        exchange.is_over = True
        placement = exchange.placement
        if placement is not None:
            placement.load.outstanding -= 1
        elif self.waiting.count:
            self.waiting.forget(exchange)
        self._score.ended(exchange)
        if placement is not None and self.waiting.count:
            self.waiting.serve(placement.fleet.version.id)

    def told(self, exchange: Exchange, response: Response) -> Sequence[Field]:
        """
        Fields to add to an instance's answer, so that the client comes back to where it was served.

        An answer that shared caches may keep gets none; one that says nothing of them is made private, because
        RFC 9111 section 7.3 lets them keep a Set-Cookie.
        """
        placement = exchange.placement
        assert placement is not None
        if not response.caching:
            told = self.router.tell(placement, exchange.request)
            return (*told, _PRIVATE) if told else ()
        if not placement.is_news:
            return ()
        shared = response.sharing
        if shared is Sharing.ALLOWED:
            return ()
        told = self.router.tell(placement, exchange.request)
        return (*told, _PRIVATE) if told and shared is Sharing.SILENT else told

    # Called by connections to instances

    def instance_lost(self, exchange: Exchange, is_reused: bool, has_answered: bool) -> None:
        """The connection ended in the middle of the exchange."""
        verdict = exchange.instance_lost(is_reused, has_answered)
        placement = exchange.placement
        assert placement is not None
        if verdict is Verdict.AGAIN and self.budget.spend():
            exchange.retries += 1
            exchange.was_sent_here = True
            self._score.retried("closed")
            self._connect(exchange, self._pool(placement.load))
            return
        broken = "broke off its answer" if has_answered else "closed the connection without an answer"
        self.witness.failed(placement, Failing.RESET, f"it {broken}")
        if verdict is Verdict.CUT:
            exchange.client.cut(exchange)
        elif verdict is not Verdict.ELSEWHERE or not self._send_elsewhere(exchange, Failing.RESET):
            exchange.client.refused(exchange, 502, f"The instance {broken}.")

    def instance_failed(self, exchange: Exchange, status: int, text: str, how: Failing) -> None:
        """The exchange cannot go on, and its connection is gone."""
        assert exchange.placement is not None
        self.witness.failed(exchange.placement, how, text)
        self._end(exchange, status, text)

    def is_unwelcome(self, exchange: Exchange, status: int) -> bool:
        """
        An instance answered with a status of 500 or above; nothing of it has gone to the client.

        :returns: whether the request was sent to another instance instead; the answer is to be dropped then.
        """
        placement, instance = exchange.placement, exchange.instance
        assert placement is not None
        assert instance is not None
        if status not in self._failing_statuses:
            return False
        if status in self._rules.statuses:
            self.witness.failed(placement, Failing.STATUS, f"it answered with status {status}")
        else:
            self._score.failed(placement, Failing.STATUS)
        if status not in self._retrying.statuses or not exchange.may_go_elsewhere or not exchange.is_request_over:
            return False
        return self._send_elsewhere(exchange, Failing.STATUS)

    # Called by the service

    @property
    def idle(self) -> int:
        """Connections to instances that are kept for the next request."""
        return sum(pool.idle for pool in self._pools.values())

    def follow(self, snapshot: Snapshot, before_placing: Callable[[], None] = lambda: None) -> list[Load]:
        """
        Put a snapshot in force. What is in flight ends where it began.

        :param before_placing: called when it is in force, before anybody who waits is placed by it.
        :returns: the instances that left.
        """
        gone = self.router.follow(snapshot)
        for load in gone:
            pool = self._pools.pop(load, None)
            if pool is not None:
                pool.close()
        before_placing()
        if self.waiting.count:
            self.waiting.follow(self.router.plan)
        return gone

    def close(self) -> None:
        """Let go of all idle connections, and of those being made."""
        for pool in self._pools.values():
            pool.abort()

    # Sending

    def _send(self, exchange: Exchange, placement: Placement) -> None:
        load = placement.load
        if load.outstanding >= self._most:
            self.limited("requests-per-instance")
            self.waiting.add(exchange, placement)
            return
        exchange.placement = placement
        load.outstanding += 1
        pool = self._pools.get(load) or self._pool(load)
        request = exchange.request
        # A body that was sent is no longer here to be sent again, so it needs the same care as a POST.
        # What was known has no body, a method that can be repeated, and asks for no other protocol.
        upstream = pool.take(request.known is None and not request.can_be_sent_again)
        if upstream is not None:
            self._score.reused += 1
            upstream.start(exchange)
        else:
            self._connect(exchange, pool)

    def _pool(self, load: Load) -> Pool:
        pool = self._pools.get(load)
        if pool is None:
            pool = Pool(self._reactor, load, self, self.limits, self.deadlines, self._tls)
            if load in self.router.loads:
                self._pools[load] = pool
            else:
                pool.close()  # it left the snapshot since: one connection for this exchange, none kept
        return pool

    def _connect(self, exchange: Exchange, pool: Pool) -> None:
        maybeDeferred(pool.connect).addCallbacks(
            self._connected, self._unreachable, callbackArgs=(exchange, pool), errbackArgs=(exchange, pool)
        ).addErrback(self._bug, exchange)

    def _connected(self, upstream: Upstream, exchange: Exchange, pool: Pool) -> None:
        if pool.load.failures:
            self.witness.reached(pool.load)
        self._score.opened += 1
        if exchange.is_over:  # the client left meanwhile
            pool.give_back(upstream)
        else:
            upstream.start(exchange)

    def _unreachable(self, failure: Failure, exchange: Exchange, pool: Pool) -> None:
        placement = exchange.placement
        assert placement is not None
        self._blame(placement, failure)
        if exchange.is_over:
            return
        if exchange.was_sent_here:
            # A kept connection was closed under it, so this instance may have had it: the next is a second one.
            if not exchange.may_go_elsewhere:
                text = "The instance closed the connection without an answer, and takes no new one."
                exchange.client.refused(exchange, 502, text)
                return
            exchange.was_sent_here = False
            exchange.was_sent_again = True
        # Nothing was sent, or the budget was asked when it was to be sent here again: it has paid for one sending more.
        exchange.tried = (*exchange.tried, pool.load)
        try:
            again = self.router.place_again(placement, exchange.tried, self.deadlines.now)
        except NoInstance as none:
            self._refuse(exchange, none, timed_out=bool(failure.check(TimeoutError)))
            return
        self._move(exchange, placement, again, Failing.CONNECT)

    def _blame(self, placement: Placement, failure: Failure) -> None:
        if getattr(failure.value, "osError", None) in (errno.EMFILE, errno.ENFILE):
            self.limited("descriptors")  # that is our own trouble, and no reason to leave the instance alone
            return
        if failure.check(TimeoutError):
            self.limited("connect-seconds")
        if not failure.check(ConnectingCancelledError):
            self.witness.unreachable(placement, failure.value)

    def _send_elsewhere(self, exchange: Exchange, how: Failing) -> bool:
        """Send a request that an instance has had to another one, if there is one and the budget allows it."""
        placement = exchange.placement
        assert placement is not None
        tried = (*exchange.tried, placement.load)
        try:
            again = self.router.place_again(placement, tried, self.deadlines.now)
        except NoInstance:
            return False
        if not self.budget.spend():
            return False
        exchange.let_go()
        if placement.pin is not None:
            # One failure ends no pin: the client is served elsewhere this once, and told nothing of it.
            again.pin = Pin(again.fleet.version, again.load.instance)
        exchange.tried = tried
        exchange.was_sent_here = False
        exchange.was_sent_again = True
        self._move(exchange, placement, again, how)
        return True

    def _move(self, exchange: Exchange, before: Placement, again: Placement, why: Failing) -> None:
        """Send it to another instance; its place at the one before is free."""
        self._score.retried(why.value)
        before.load.outstanding -= 1
        exchange.retries += 1
        self._send(exchange, again)
        if self.waiting.count:
            self.waiting.serve(before.fleet.version.id)

    # What goes wrong

    def _refuse(self, exchange: Exchange, none: NoInstance, timed_out: bool) -> None:
        exchange.reason = none.reason
        if timed_out:
            text = f"No instance took the connection within {self.limits.connect_seconds:g} seconds."
            exchange.client.refused(exchange, 504, text)
        else:
            exchange.client.refused(exchange, 503, _NOBODY[none.reason])

    def _refuse_full(self, exchange: Exchange, limit: str) -> None:
        self.limited(limit)
        exchange.reason = Reason.FULL
        exchange.client.refused(exchange, 503, "This application is busy. Please try again in a few seconds.")

    def _bug(self, failure: Failure, exchange: Exchange) -> None:
        _log.failure("a request could not be sent", failure)
        if not exchange.is_over:
            self._end(exchange, 502, "The request could not be sent to an instance.")

    def _end(self, exchange: Exchange, status: int, text: str) -> None:
        if exchange.response is None:
            exchange.client.refused(exchange, status, text)
        else:
            exchange.client.cut(exchange)
