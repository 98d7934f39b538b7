"""traffic.engine: all that one process needs to carry traffic: ports, connections, routing and its score."""

from __future__ import annotations

import random
from typing import Any

import attrs
from twisted.internet.defer import Deferred, maybeDeferred, succeed
from twisted.internet.defer import TimeoutError as TimedOut
from twisted.logger import Logger

from rolling_router.observe.access_log import AccessLog, AccessLogService, make_access_log
from rolling_router.observe.counts import Counts
from rolling_router.observe.figures import Ailment, Figures, Leaving, earliest
from rolling_router.observe.log_file import STDOUT
from rolling_router.observe.score import Score
from rolling_router.options import Settings
from rolling_router.probes import Asker, Probes
from rolling_router.proxy.deadlines import Deadlines
from rolling_router.proxy.dispatch import Dispatch
from rolling_router.proxy.gate import Gate
from rolling_router.proxy.instance_tls import InstanceTls
from rolling_router.proxy.limits import ACTING
from rolling_router.proxy.loop import Loop
from rolling_router.proxy.secured import PROTOCOLS, SecuredGate
from rolling_router.rollout.model import Role, Snapshot
from rolling_router.routing.fleet import Load, Standing
from rolling_router.routing.router import Router
from rolling_router.traffic.descriptors import Watch, is_one_of_the_last, most_connections
from rolling_router.traffic.ports import Port, Secured
from rolling_router.traffic.sockets import Sockets

_log = Logger()

LAST_SECONDS = 1.0
"""Of the time for draining, when this process's place was taken: idle clients that did not come back until then go."""


class Engine:
    """
    Carries the traffic in this process. Started and stopped by `service`, in the order of its methods.

    :param loop: looks after the connections; the ports are opened on it.
    """

    def __init__(self, settings: Settings, router: Router, reactor: Any, loop: Loop, sockets: Sockets) -> None:
        """:raises SettingError: an endpoint or the access log cannot be meant."""
        self._drain_seconds = settings.drain_seconds
        self._reactor = reactor
        self._router = router
        self._loop = loop
        limits = settings.limits
        if not limits.connections_most:
            limits = attrs.evolve(limits, connections_most=most_connections())
        self._counts = Counts(settings.app)
        self._counts.limits.update(dict.fromkeys(ACTING, 0))  # from the start, so that the first one shows
        self._revision: str | None = None  # of the settings in force
        self._access_log = _access_log(settings, reactor)
        self._log_service = None if self._access_log is None else AccessLogService(reactor, self._access_log)
        self._score = Score(self._counts, self._access_log)
        self._deadlines = Deadlines(reactor)
        self._tls = InstanceTls(settings.upstream_ca, settings.upstream_name)
        self._dispatch = Dispatch(
            loop, router, limits, self._deadlines, self._score, settings.rules, settings.retrying, self._tls
        )
        self._probes = Probes(
            reactor, Asker(reactor, self._tls), settings.check, settings.rules, random.random, self._score.probed
        )
        self._gate = Gate(
            self._dispatch,
            settings.trust,
            limits,
            self._deadlines,
            settings.via.encode("ascii"),
            settings.drain_seconds,
            is_one_of_the_last,
        )
        self._watch = Watch(reactor, loop, self._score.limited)
        secured = Secured(SecuredGate(self._gate, reactor), PROTOCOLS)
        self._ports = [Port(text, "listen", self._gate, loop, sockets, secured) for text in settings.listen]

    def bind(self) -> None:
        """
        Take the ports, while the process may still be root.

        :raises SettingError: a port cannot be had.
        """
        self._loop.open()
        self._gate.hold()
        for port in self._ports:
            port.bind()

    def open(self) -> None:
        """Accept clients. They are kept waiting until `release`."""
        for port in self._ports:
            port.open()

    def start(self) -> None:
        if self._log_service is not None:
            self._log_service.startService()
        self._deadlines.startService()
        self._watch.startService()
        self._probes.startService()

    def release(self) -> Deferred[None]:
        """What the store tells of the app is known: serve, as soon as every instance was asked. Fires then."""
        return self._probes.settled().addCallback(lambda _: self._gate.release())

    def reload(self) -> None:
        """Read again what may have changed, and open anew what may have been moved."""
        if self._access_log is not None:
            self._access_log.file.reopen()
        for port in self._ports:
            port.reload()
        self._tls.reload()

    def follow(self, snapshot: Snapshot) -> None:
        """Put a snapshot in force."""
        before = self._router.plan
        gone = self._dispatch.follow(snapshot, lambda: self._probes.follow(before, self._router.plan))
        self._gate.draining.left(gone, before, self._router.plan)
        self._revision = snapshot.revision
        self._counts.in_play([version.id for role in Role if (version := snapshot.version(role))])

    def figures(self) -> Deferred[Figures]:
        return succeed(self.figures_now())

    def figures_now(self) -> Figures:
        counts, now = self._counts, self._deadlines.now
        counts.clients_accepted, counts.clients_open = self._gate.accepted, self._gate.open
        counts.handshakes, counts.failed_handshakes = self._gate.handshakes, self._gate.failed_handshakes
        counts.streams_ended = self._gate.draining.ended
        counts.retries_refused = self._dispatch.budget.refused
        counts.upstream_opened, counts.upstream_reused = self._score.opened, self._score.reused
        counts.upstream_idle = self._dispatch.idle
        return Figures(
            counts,
            {str(load.instance): load.outstanding for load in self._router.loads},
            {str(load.instance): _ailment(load) for load in self._router.loads if load.out_until > now},
            self._gate.is_draining,
            0 if self._access_log is None else self._access_log.file.dropped,
            self._revision,
            [
                Leaving(left.version, str(load.instance), load.outstanding)
                for load, left in self._gate.draining.what_is_left().items()
            ],
            self._dispatch.waiting.counts(),
            certificates=earliest(port.expiries() for port in self._ports),
        )

    async def stop(self, is_succeeded: bool = False) -> None:
        """
        Accept no more, let what is in flight end within the time for it, and let go of everything.

        :param is_succeeded: another process accepts on the same sockets. Idle clients are not hung up on then: each is
            told with its next answer, so that no request crosses the end of its connection.
        """
        await maybeDeferred(self._watch.stopService)
        self._loop.catch_up()  # who is in the queue of a listening socket would be reset with it
        for port in self._ports:
            await port.stop()
        await self._drain(is_succeeded)
        await maybeDeferred(self._probes.stopService)
        self._dispatch.close()
        self._deadlines.stopService()
        self._loop.close()
        if self._log_service is not None:
            await maybeDeferred(self._log_service.stopService)

    async def _drain(self, is_succeeded: bool) -> None:
        seconds = self._drain_seconds
        drained = self._gate.drain(spares_idle=is_succeeded)
        if not drained.called:
            _log.info("draining {open} client connections, at most {most:g} s", open=self._gate.open, most=seconds)
        last = self._reactor.callLater(max(0.0, seconds - LAST_SECONDS), self._gate.close_idle)
        try:
            await drained.addTimeout(seconds, self._reactor)
        except TimedOut:
            _log.warn("{cut} client connections were cut at the end of the drain", cut=self._gate.abort())
        if last.active():
            last.cancel()


def _ailment(load: Load) -> Ailment:
    is_trusted = load.standing is Standing.TRUSTED
    return Ailment("ejected" if is_trusted else load.standing.value, load.why)


def check_access_log(settings: Settings, reactor: Any) -> None:
    """
    For the parent of workers: one that cannot write the log ends, and so would whoever takes its place, for ever.

    :raises SettingError: it cannot be written.
    """
    log = _access_log(settings, reactor)
    if log is not None and log.file.path != STDOUT:
        log.file.open()
        log.file.close()


def _access_log(settings: Settings, reactor: Any) -> AccessLog | None:
    if settings.access_log is None:
        return None
    return make_access_log(
        settings.access_log_form,
        settings.access_log,
        reactor.seconds,
        mask_addresses=not settings.log_whole_addresses,
        keep_query=not settings.log_no_query,
    )
