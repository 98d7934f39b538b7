"""
probes: asks every instance how it is, again and again. Started by `traffic.engine`, told of each new plan by it.

What an answer means is decided in `health`; nothing here is on a request's way.
"""

from __future__ import annotations

import errno
from collections.abc import Callable
from typing import Any

from twisted.application.service import Service
from twisted.internet.defer import CancelledError, Deferred, maybeDeferred, succeed
from twisted.internet.defer import TimeoutError as TimedOut
from twisted.internet.error import ConnectionDone
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web._newclient import ParseError
from twisted.web.client import Agent, BrowserLikePolicyForHTTPS, HTTPConnectionPool
from twisted.web.http_headers import Headers

from rolling_router.endpoints import Endpoints, Named
from rolling_router.health import Check, Rules, distrust, newcomers, no_connection, probed, unasked
from rolling_router.rollout.model import Instance, Role
from rolling_router.routing.fleet import Load, Standing
from rolling_router.routing.plan import Plan

_log = Logger()

FIRST_ROUND_SECONDS = 5.0
"""How long clients wait at the start, at most, for the first word of every instance."""

UNPROVEN_SECONDS = 1.0
"""Between two questions to an instance that has not passed once, if not asked more often anyway: somebody waits."""

MOST_BODY_BYTES = 65536
"""Of the answer's body that is read before the connection is given up; the status has been seen by then."""

Ask = Callable[[Instance, Check], Deferred[str | None]]


class NotAsked(Exception):
    """The question could not be asked for want of something here; it says nothing of the instance."""


class Probes(Service):
    """
    The rounds of all instances in play, each at its own pace.

    :param clock: the reactor, or what turns in its place.
    :param ask: asks one instance; fires with what is wrong, or ``None``, or fails with `NotAsked`.
    :param check: as the options have it; the store may say otherwise.
    :param random: gives 0..1: routers that started together are not to ask together.
    :param counted: called with each outcome, whether it passed.
    """

    def __init__(
        self,
        clock: Any,
        ask: Ask,
        check: Check,
        rules: Rules,
        random: Callable[[], float],
        counted: Callable[[bool], None],
    ) -> None:
        self._clock = clock
        self._ask = ask
        self._options = check
        self._rules = rules
        self._random = random
        self._counted = counted
        self.check = _off(check)
        self._plan: Plan | None = None
        self._rounds: dict[Load, _Round] = {}
        self._first: set[Load] = set()
        self._settled: list[Deferred[None]] = []

    def follow(self, before: Plan, plan: Plan) -> None:
        """A snapshot came into force. New instances are distrusted before anybody is placed by it."""
        self._plan = plan
        check = self._options.overridden(plan.snapshot.health)
        changed, self.check = check != self.check, check
        if changed:
            _log.info("health probes: {check}", check=str(check))
        loads = {load for fleet in (plan.stable, plan.candidate) if fleet is not None for load in fleet.loads}
        if check.is_on:
            new = newcomers(before, plan)
            distrust(new)
            self._first.update(new)
        else:
            for load in unasked(loads):
                _log.info("{which} is no longer asked, and gets traffic", which=self._named(load))
        for load in list(self._rounds):
            if changed or load not in loads or load in self._first:
                self._rounds.pop(load).stop()
        self._first &= loads if check.is_on else set()
        if self.running and check.is_on:
            for load in loads - set(self._rounds):
                self._begin(load)
        self._look_whether_settled()

    def settled(self) -> Deferred[None]:
        """Fires when every instance that is new has been asked once, or has been waited for long enough."""
        settled: Deferred[None] = Deferred()
        self._settled.append(settled)
        self._look_whether_settled()
        if not settled.called:
            settled.addTimeout(FIRST_ROUND_SECONDS, self._clock).addErrback(lambda failure: failure.trap(TimedOut))
        return settled.addCallback(lambda _: None)

    def startService(self) -> None:
        super().startService()
        if self.check.is_on and self._plan is not None:
            for fleet in (self._plan.stable, self._plan.candidate):
                for load in () if fleet is None else fleet.loads:
                    if load not in self._rounds:
                        self._begin(load)

    def stopService(self) -> Deferred[None]:
        super().stopService()
        rounds, self._rounds = self._rounds, {}
        for one in rounds.values():
            one.stop()
        return succeed(None)

    def _begin(self, load: Load) -> None:
        self._rounds[load] = one = _Round()
        # A known one need not be asked at once, and all of them not at one time.
        delay = 0.0 if load in self._first else self._random() * self.check.interval_seconds
        one.call = self._clock.callLater(delay, self._question, load, one)

    def _question(self, load: Load, one: _Round) -> None:
        one.call = None
        one.asking = asking = maybeDeferred(self._ask, load.instance, self.check)
        asking.addCallbacks(self._answered, self._not_asked, callbackArgs=(load, one), errbackArgs=(load, one))
        asking.addErrback(lambda failure: _log.failure("a health probe went wrong", failure))

    def _answered(self, trouble: str | None, load: Load, one: _Round) -> None:
        if one.is_over:
            return
        self._counted(trouble is None)
        if probed(load, trouble, self.check, self._clock.seconds(), self._rules):
            self._say(load)
        self._go_on(load, one)

    def _not_asked(self, failure: Failure, load: Load, one: _Round) -> None:
        if one.is_over:
            return
        if not failure.check(NotAsked):
            _log.failure("instance {instance} could not be asked for its health", failure, instance=str(load.instance))
        self._go_on(load, one)

    def _go_on(self, load: Load, one: _Round) -> None:
        one.asking = None
        seconds = self.check.interval_seconds
        if load.standing is Standing.UNPROVEN:
            seconds = min(seconds, UNPROVEN_SECONDS)
        one.call = self._clock.callLater(seconds * (0.9 + 0.2 * self._random()), self._question, load, one)
        self._first.discard(load)
        self._look_whether_settled()

    def _look_whether_settled(self) -> None:
        if self._first:
            return
        settled, self._settled = self._settled, []
        for one in settled:
            if not one.called:
                one.callback(None)

    def _say(self, load: Load) -> None:
        """Once for each change."""
        role, version = self._whose(load)
        named = {"role": role.word, "version": version, "instance": str(load.instance)}
        if load.standing is Standing.TRUSTED:
            _log.info("{role} {version}: instance {instance} passes its health probe and gets traffic", **named)
        elif load.standing is Standing.UNPROVEN:
            _log.error(
                "{role} {version}: new instance {instance} does not pass its health probe and gets no traffic: {why}",
                why=load.why,
                **named,
            )
        else:
            _log.error(
                "{role} {version}: instance {instance} failed {fails} health probes in a row, gets no traffic: {why}",
                fails=load.fails,
                why=load.why,
                **named,
            )

    def _named(self, load: Load) -> str:
        role, version = self._whose(load)
        return f"{role.word} {version}: instance {load.instance}"

    def _whose(self, load: Load) -> tuple[Role, str]:
        whose = None if self._plan is None else self._plan.whose(load)
        return (Role.STABLE, "?") if whose is None else (whose[0], whose[1].id)


class _Round:
    """What is under way for one instance."""

    def __init__(self) -> None:
        self.call: Any = None
        self.asking: Deferred[Any] | None = None
        self.is_over = False

    def stop(self) -> None:
        self.is_over = True
        if self.call is not None:
            self.call.cancel()
        if self.asking is not None:
            self.asking.cancel()


def _off(check: Check) -> Check:
    """The same check, not in force."""
    return Check("off", check.interval_seconds, check.timeout_seconds, check.rise, check.fall)


# Asking


class Asker:
    """
    Asks one instance, by HTTP or by connecting to it. An `Ask`.

    A connection of its own for each question: a kept one would not notice an instance that takes no new ones. No
    redirect is followed, no cookie kept.
    """

    def __init__(self, reactor: Any, tls: Any = None) -> None:
        """:param tls: whose certificates to believe: an `IPolicyForHTTPS`; by default, the system's authorities'."""
        self._reactor = reactor
        tls = tls or BrowserLikePolicyForHTTPS()
        pool = HTTPConnectionPool(reactor, persistent=False)
        self._agent = Agent.usingEndpointFactory(reactor, Endpoints(reactor, tls), pool)

    def __call__(self, instance: Instance, check: Check) -> Deferred[str | None]:
        asking = self._connect(instance) if check.path == "tcp" else self._get(instance, check.path)
        return (
            Deferred.fromCoroutine(asking)
            .addTimeout(check.timeout_seconds, self._reactor, lambda result, _: Failure(TimedOut()))
            .addErrback(_trouble, check.timeout_seconds)
        )

    async def _connect(self, instance: Instance) -> None:
        factory = Factory.forProtocol(Protocol)
        factory.noisy = False
        endpoint = Named(self._reactor, instance.host, instance.port)
        made: Any = await endpoint.connect(factory)
        made.transport.abortConnection()

    async def _get(self, instance: Instance, path: str) -> str | None:
        headers = Headers({"User-Agent": ["rolling-router"], "Accept-Encoding": ["identity"]})
        response = await self._agent.request(b"GET", f"{instance.origin}{path}".encode("ascii"), headers)
        body = _Body()
        response.deliverBody(body)
        await body.over
        return None if 200 <= response.code < 400 else f"GET {path} was answered by status {response.code}"


class _Body(Protocol):
    """Reads over an answer's body, within reason."""

    def __init__(self) -> None:
        self.over: Deferred[None] = Deferred(lambda _: self._leave())
        self._left = MOST_BODY_BYTES

    def dataReceived(self, data: bytes) -> None:
        self._left -= len(data)
        if self._left < 0:
            self._leave()
            self._end()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._end()

    def _leave(self) -> None:
        self.transport.loseConnection()  # type: ignore[union-attr]

    def _end(self) -> None:
        if not self.over.called:
            self.over.callback(None)


def _trouble(failure: Failure, seconds: float) -> str:
    """:raises NotAsked: it says nothing of the instance."""
    if failure.check(TimedOut):
        return f"it did not answer within {seconds:g} seconds"
    if failure.check(CancelledError) or getattr(failure.value, "osError", None) in (errno.EMFILE, errno.ENFILE):
        raise NotAsked
    reasons = getattr(failure.value, "reasons", None)  # twisted.web's wrapping of what really happened
    why = (reasons or [failure])[0]
    if why.check(ConnectionDone):
        return "it closed the connection without an answer"
    if why.check(ParseError):
        return "its answer is no HTTP"
    return no_connection(why.value)
