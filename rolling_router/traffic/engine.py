"""traffic.engine: all that one process needs to carry traffic: ports, connections, routing and its score."""

from __future__ import annotations

from typing import Any

from twisted.application.internet import StreamServerEndpointService
from twisted.application.strports import service as endpoint_service
from twisted.internet.defer import Deferred, maybeDeferred, succeed
from twisted.internet.defer import TimeoutError as TimedOut
from twisted.internet.error import CannotListenError
from twisted.logger import Logger

from rolling_router.errors import SettingError
from rolling_router.observe.access_log import AccessLog, AccessLogService, make_access_log
from rolling_router.observe.counts import Counts
from rolling_router.observe.figures import Figures
from rolling_router.observe.score import Score
from rolling_router.options import Settings
from rolling_router.proxy.deadlines import Deadlines
from rolling_router.proxy.dispatch import Dispatch
from rolling_router.proxy.gate import Gate
from rolling_router.proxy.loop import Loop
from rolling_router.rollout.model import Role, Snapshot
from rolling_router.routing.router import Router

_log = Logger()

BACKLOG = 1024
"""Connections that the kernel keeps for us. Beyond Twisted's 50, a burst of clients waits a second to try again."""


class Engine:
    """
    Carries the traffic in this process. Started and stopped by `service`, in the order of its methods.

    :param loop: looks after the sockets; the ports are opened on it.
    """

    def __init__(self, settings: Settings, router: Router, reactor: Any, loop: Loop) -> None:
        """:raises SettingError: an endpoint or the access log cannot be meant."""
        self._drain_seconds = settings.drain_seconds
        self._reactor = reactor
        self._router = router
        self._loop = loop
        self._counts = Counts(settings.app)
        self._access_log = _access_log(settings, reactor)
        self._log_service = None if self._access_log is None else AccessLogService(reactor, self._access_log)
        self._score = Score(self._counts, self._access_log)
        self._deadlines = Deadlines(reactor)
        self._dispatch = Dispatch(loop, router, settings.limits, self._deadlines, self._score)
        self._gate = Gate(self._dispatch, settings.trust, settings.limits, self._deadlines)
        self._ports = [Port(text, "listen", self._gate, loop) for text in settings.listen]

    def bind(self) -> None:
        """
        Take the ports, while the process may still be root. Clients that come are kept waiting until `release`.

        :raises SettingError: a port cannot be had.
        """
        self._loop.open()
        self._gate.hold()
        for port in self._ports:
            port.bind()

    def start(self) -> None:
        if self._log_service is not None:
            self._log_service.startService()
        self._deadlines.startService()
        for port in self._ports:
            port.start()

    def release(self) -> None:
        """What can be known of the app at the start is known: serve."""
        self._gate.release()

    def follow(self, snapshot: Snapshot) -> None:
        """Put a snapshot in force."""
        self._dispatch.follow(snapshot)
        self._counts.in_play([version.id for role in Role if (version := snapshot.version(role))])

    def figures(self) -> Deferred[Figures]:
        return succeed(self.figures_now())

    def figures_now(self) -> Figures:
        counts, now = self._counts, self._deadlines.now
        counts.clients_accepted, counts.clients_open = self._gate.accepted, self._gate.open
        counts.upstream_opened, counts.upstream_reused = self._score.opened, self._score.reused
        return Figures(
            counts,
            {str(load.instance): load.outstanding for load in self._router.loads},
            frozenset(str(load.instance) for load in self._router.loads if load.out_until > now),
            self._gate.is_draining,
            0 if self._access_log is None else self._access_log.file.dropped,
        )

    async def stop(self) -> None:
        """Accept no more, let what is in flight end within the time for it, and let go of everything."""
        for port in self._ports:
            await port.stop()
        await self._drain()
        self._dispatch.close()
        self._deadlines.stopService()
        self._loop.close()
        if self._log_service is not None:
            await maybeDeferred(self._log_service.stopService)

    async def _drain(self) -> None:
        seconds = self._drain_seconds
        drained = self._gate.drain()
        if not drained.called:
            _log.info("draining {open} client connections, at most {most:g} s", open=self._gate.open, most=seconds)
        try:
            await drained.addTimeout(seconds, self._reactor)
        except TimedOut:
            _log.warn("{cut} client connections were cut at the end of the drain", cut=self._gate.abort())


class Port:
    """One listening endpoint, with refusals that name it."""

    def __init__(self, text: str, option: str, factory: Any, reactor: Any) -> None:
        """:raises SettingError: the text is no endpoint."""
        self._text = text
        takes_backlog = text.removeprefix("haproxy:").startswith(("tcp:", "tcp6:", "ssl:", "tls:", "unix:"))
        backlog = f":backlog={BACKLOG}" if takes_backlog and "backlog=" not in text else ""
        try:
            self._service: StreamServerEndpointService = endpoint_service(text + backlog, factory, reactor=reactor)
        except Exception as wrong:  # endpoint parsers raise whatever their parts raise
            raise SettingError(f"--{option} is {text!r}: {wrong}; write an endpoint, such as tcp:8000") from None

    def bind(self) -> None:
        """:raises SettingError: the port cannot be had."""
        try:
            self._service.privilegedStartService()
        except (CannotListenError, OSError, OverflowError) as wrong:  # the last: a port above 65535
            cause = getattr(wrong, "socketError", wrong)
            why = getattr(cause, "strerror", None) or str(cause)
            raise SettingError(f"cannot listen on {self._text}: {why}") from None

    def start(self) -> None:
        self._service.startService()

    def stop(self) -> Deferred[Any]:
        return maybeDeferred(self._service.stopService)


def _access_log(settings: Settings, reactor: Any) -> AccessLog | None:
    if settings.access_log is None:
        return None
    masks = not settings.log_whole_addresses
    return make_access_log(settings.access_log_form, settings.access_log, reactor.seconds, mask_addresses=masks)
