"""service: settings -> the running service. The one place where all rooms are put together."""

from __future__ import annotations

import os
import random
import signal
from collections.abc import Mapping
from contextlib import suppress
from functools import partial
from typing import Any

from twisted.application.internet import StreamServerEndpointService
from twisted.application.service import IService, Service
from twisted.application.strports import service as endpoint_service
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.defer import TimeoutError as TimedOut
from twisted.internet.error import CannotListenError, ReactorNotRunning
from twisted.internet.threads import deferToThreadPool
from twisted.logger import Logger
from twisted.web.server import Site

from rolling_router import registry
from rolling_router.admin.api import Api
from rolling_router.errors import SettingError
from rolling_router.interfaces import IStrategy, StoreContext
from rolling_router.observe.access_log import AccessLogService, make_access_log
from rolling_router.observe.counts import Counts
from rolling_router.observe.report import Report
from rolling_router.observe.score import Score
from rolling_router.options import RouterOptions, Settings, read_settings
from rolling_router.proxy.deadlines import Deadlines
from rolling_router.proxy.dispatch import Dispatch
from rolling_router.proxy.gate import Gate
from rolling_router.proxy.loop import Loop
from rolling_router.rollout.model import Role, Snapshot
from rolling_router.rollout.saved import Saved
from rolling_router.rollout.watcher import Watcher
from rolling_router.routing.router import Router

_log = Logger()

HOLD_SECONDS = 5.0
"""How long clients wait for the first snapshot after the start, before they are told that there is none."""


class RouterService(Service):
    """
    The router of one process. Starts all parts, and stops them in an order in which no request is lost.

    Ports are bound in `privilegedStartService`, before twistd gives up root.
    """

    def __init__(self, settings: Settings, reactor: Any, environ: Mapping[str, str]) -> None:
        """:raises SettingError: something named in the settings is not there or cannot be meant."""
        self._settings = settings
        self._reactor = reactor
        strategies = make_strategies(settings)
        self.router = Router(settings.app, strategies)
        self.counts = Counts(settings.app)
        log = _access_log(settings, reactor)
        score = Score(self.counts, log)
        self._deadlines = Deadlines(reactor)
        self._loop = Loop(reactor)
        self.dispatch = Dispatch(self._loop, self.router, settings.limits, self._deadlines, score)
        self.gate = Gate(self.dispatch, settings.trust, settings.limits, self._deadlines)
        self.watcher = Watcher(
            reactor,
            settings.app,
            registry.open_store(settings.store, StoreContext(reactor, settings.app, environ)),
            self._follow,
            strategies=tuple(strategies),
            default=next(iter(strategies)),
            random=random.random,
            saved=_saved(settings, reactor),
        )
        report = Report(
            self.router,
            self.counts,
            score,
            self.gate,
            state=lambda: self.watcher.state,
            now=reactor.seconds,
            coarse=lambda: self._deadlines.now,
            lines_dropped=lambda: 0 if log is None else log.file.dropped,
        )
        self._log_service = None if log is None else AccessLogService(reactor, log)
        self._ports = [_port(text, "listen", self.gate, self._loop) for text in settings.listen]
        site = Site(Api(report).resource())
        site.noisy = False
        site.displayTracebacks = False
        self._admin_ports = [_port(text, "admin", site, reactor) for text in settings.admin]

    def privilegedStartService(self) -> None:
        super().privilegedStartService()
        self._loop.open()
        self.gate.hold()
        for text, port in zip(
            (*self._settings.admin, *self._settings.listen), (*self._admin_ports, *self._ports), strict=True
        ):
            try:
                port.privilegedStartService()
            except (CannotListenError, OSError) as wrong:
                raise SettingError(f"cannot listen on {text}: {_short(wrong)}") from None

    def startService(self) -> None:
        super().startService()
        settings = self._settings
        if self._log_service is not None:
            self._log_service.startService()
        self._deadlines.startService()
        self.watcher.startService()
        for port in (*self._admin_ports, *self._ports):
            port.startService()
        self._hold_until_first()
        _log.info(
            "{app}: routing on {listen}; settings port on {admin}; store {store}",
            app=settings.app,
            listen=", ".join(settings.listen),
            admin=", ".join(settings.admin),
            store=self.watcher.state.store,
        )

    def _hold_until_first(self) -> None:
        """Clients that come before the first snapshot wait for it, within reason."""
        held = self._reactor.callLater(HOLD_SECONDS, self.gate.release)

        def release(_: None) -> None:
            if held.active():
                held.cancel()
                self.gate.release()

        self.watcher.first.addCallback(release)

    def stopService(self) -> Deferred[None]:
        super().stopService()
        return Deferred.fromCoroutine(self._stop())

    async def _stop(self) -> None:
        for port in self._ports:
            await maybeDeferred(port.stopService)
        await self._drain()
        self.dispatch.close()
        await maybeDeferred(self.watcher.stopService)
        for port in self._admin_ports:
            await maybeDeferred(port.stopService)
        self._deadlines.stopService()
        self._loop.close()
        if self._log_service is not None:
            await maybeDeferred(self._log_service.stopService)
        _log.info("{app}: stopped", app=self._settings.app)

    async def _drain(self) -> None:
        seconds = self._settings.drain_seconds
        drained = self.gate.drain()
        if not drained.called:
            _log.info("draining {open} client connections, at most {seconds:g} s", open=self.gate.open, seconds=seconds)
        try:
            await drained.addTimeout(seconds, self._reactor)
        except TimedOut:
            _log.warn("{cut} client connections were cut at the end of the drain", cut=self.gate.abort())

    def _follow(self, snapshot: Snapshot) -> None:
        self.dispatch.follow(snapshot)
        self.counts.in_play([version.id for role in Role if (version := snapshot.version(role))])
        _log.info(
            "{app}: stable {stable}, candidate {candidate}, blend {blend}, stickiness {stickiness}",
            app=snapshot.app,
            stable=_words(snapshot, Role.STABLE),
            candidate=_words(snapshot, Role.CANDIDATE),
            blend=snapshot.blend,
            stickiness=snapshot.stickiness or "off",
        )


def make_service(options: RouterOptions) -> IService:
    """
    For twistd.

    :raises SystemExit: with one line and status 1, where the options cannot be used.
    """
    from twisted.internet import reactor

    try:
        service = _OneLine(RouterService(read_settings(options, os.environ), reactor, os.environ))
    except SettingError as wrong:
        raise _exit(wrong) from None
    reactor.callWhenRunning(_end_well_by_sigterm, reactor)
    return service


def _end_well_by_sigterm(reactor: Any) -> None:
    """To be told to end is no failure: exit status 0, where twistd would end by the signal once more."""

    def stop() -> None:
        with suppress(ReactorNotRunning):  # told twice
            reactor.stop()

    signal.signal(signal.SIGTERM, lambda number, frame: reactor.callFromThread(stop))


class _OneLine(Service):
    """Turns the refusals of a start into one line and exit status 1; twistd would print a traceback."""

    def __init__(self, inner: RouterService) -> None:
        self.inner = inner

    def privilegedStartService(self) -> None:
        try:
            self.inner.privilegedStartService()
        except SettingError as wrong:
            raise _exit(wrong) from None

    def startService(self) -> None:
        super().startService()
        try:
            self.inner.startService()
        except SettingError as wrong:
            raise _exit(wrong) from None

    def stopService(self) -> Deferred[None]:
        super().stopService()
        return self.inner.stopService()


def _exit(wrong: SettingError) -> SystemExit:
    return SystemExit(f"rolling-router: {wrong}")


def make_strategies(settings: Settings) -> dict[str, IStrategy]:
    """
    All strategies that ``stickyness`` may name: those of the options first, then every other one that is installed.

    :raises SettingError: one of the options' cannot be made.
    """
    made = dict(registry.make_strategy(text, settings.app) for text in settings.strategies)
    for name in registry.strategy_plugins():
        if name not in made:
            try:
                made.update([registry.make_strategy(name, settings.app)])
            except Exception as wrong:  # a third party's plugin that nobody asked for must not stop the start
                _log.warn("strategy {name} cannot be used: {wrong}", name=name, wrong=wrong)
    return made


def _access_log(settings: Settings, reactor: Any) -> Any:
    if settings.access_log is None:
        return None
    masks = not settings.log_whole_addresses
    return make_access_log(settings.access_log_form, settings.access_log, reactor.seconds, mask_addresses=masks)


def _saved(settings: Settings, reactor: Any) -> Saved | None:
    if settings.state_dir is None:
        return None
    try:
        os.makedirs(settings.state_dir, mode=0o700, exist_ok=True)
    except OSError as wrong:
        raise SettingError(f"--state-dir {settings.state_dir} cannot be made: {_short(wrong)}") from None
    return Saved(settings.state_dir, settings.app, partial(deferToThreadPool, reactor, reactor.getThreadPool()))


BACKLOG = 1024
"""Connections that the kernel keeps for us. Beyond Twisted's 50, a burst of clients waits a second to try again."""


def _port(text: str, option: str, factory: Any, reactor: Any) -> StreamServerEndpointService:
    takes_backlog = text.removeprefix("haproxy:").startswith(("tcp:", "tcp6:", "ssl:", "unix:"))
    backlog = f":backlog={BACKLOG}" if takes_backlog and "backlog=" not in text else ""
    try:
        return endpoint_service(text + backlog, factory, reactor=reactor)
    except Exception as wrong:  # endpoint parsers raise whatever their parts raise
        raise SettingError(f"--{option} is {text!r}: {wrong}; write an endpoint, such as tcp:8000") from None


def _short(wrong: Exception) -> str:
    cause = getattr(wrong, "socketError", wrong)
    return getattr(cause, "strerror", None) or str(cause)


def _words(snapshot: Snapshot, role: Role) -> str:
    version = snapshot.version(role)
    return "none" if version is None else f"{version.id} ({len(version.instances)} instances)"
