"""service: settings -> the running service. The one place where all rooms are put together."""

from __future__ import annotations

import os
import random
import signal
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import Any

from twisted.application.service import IService, Service
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.error import ReactorNotRunning
from twisted.internet.threads import deferToThreadPool
from twisted.logger import Logger
from twisted.web.server import Site

from rolling_router import registry
from rolling_router.admin.api import Api
from rolling_router.errors import SettingError
from rolling_router.interfaces import IStrategy, StoreContext
from rolling_router.observe.report import Report
from rolling_router.options import RouterOptions, Settings, read_settings
from rolling_router.proxy.loop import Loop
from rolling_router.rollout.model import Role, Snapshot
from rolling_router.rollout.saved import Saved
from rolling_router.rollout.watcher import Watcher
from rolling_router.routing.router import Router
from rolling_router.traffic.crew import Crew, handed_down
from rolling_router.traffic.engine import Engine, Port
from rolling_router.traffic.sockets import InheritedLoop
from rolling_router.traffic.worker import Teller

_log = Logger()

HOLD_SECONDS = 5.0
"""How long clients wait for the first snapshot after the start, before they are told that there is none."""


class RouterService(Service):
    """
    The router: one process, or a parent with its workers, or one of those. Starts all parts, and stops them in an order
    in which no request is lost.

    Ports are bound in `privilegedStartService`, before twistd gives up root.
    """

    def __init__(
        self, settings: Settings, reactor: Any, environ: Mapping[str, str], arguments: Sequence[str] = ()
    ) -> None:
        """
        :param arguments: the command line, for workers.
        :raises SettingError: something named in the settings is not there or cannot be meant.
        """
        self._settings = settings
        self._reactor = reactor
        strategies = make_strategies(settings)
        self._router = Router(settings.app, strategies)
        self._snapshot = Snapshot(settings.app)
        descriptors = handed_down(environ)
        self._is_worker = descriptors is not None
        self._traffic: Engine | Crew
        if descriptors is not None:
            self._traffic = Engine(settings, self._router, reactor, InheritedLoop(reactor, descriptors))
        elif settings.workers > 1:
            self._traffic = Crew(settings, reactor, arguments, environ)
        else:
            self._traffic = Engine(settings, self._router, reactor, Loop(reactor))
        self._watcher = Watcher(
            reactor,
            settings.app,
            registry.open_store(settings.store, StoreContext(reactor, settings.app, environ)),
            self._follow,
            strategies=tuple(strategies),
            default=next(iter(strategies)),
            random=random.random,
            saved=_saved(settings, reactor),
        )
        self._admin_ports = [] if self._is_worker else self._make_admin_ports()

    def _make_admin_ports(self) -> list[Port]:
        report = Report(lambda: self._watcher.state, lambda: self._snapshot, self._reactor.seconds)
        site = _QuietSite(Api(report, self._traffic.figures).resource())
        site.noisy = False
        site.displayTracebacks = False
        return [Port(text, "admin", site, self._reactor) for text in self._settings.admin]

    def privilegedStartService(self) -> None:
        super().privilegedStartService()
        self._traffic.bind()  # first: who finds the settings port there may take the proxy ports to be there too
        for port in self._admin_ports:
            port.bind()

    def startService(self) -> None:
        super().startService()
        settings = self._settings
        self._watcher.startService()
        self._traffic.start()
        for port in self._admin_ports:
            port.start()
        self._release_when_known()
        if self._is_worker:
            assert isinstance(self._traffic, Engine)
            Teller(self._traffic.figures_now, partial(_stop_reactor, self._reactor)).listen(self._reactor)
            return
        _log.info(
            "{app}: routing on {listen}; settings port on {admin}; store {store}",
            app=settings.app,
            listen=", ".join(settings.listen),
            admin=", ".join(settings.admin),
            store=self._watcher.state.store,
        )

    def _release_when_known(self) -> None:
        """Clients that come before the first snapshot wait for it, within reason."""
        held = self._reactor.callLater(HOLD_SECONDS, self._traffic.release)

        def release(_: None) -> None:
            if held.active():
                held.cancel()
                self._traffic.release()

        self._watcher.first.addCallback(release)

    def stopService(self) -> Deferred[None]:
        super().stopService()
        return Deferred.fromCoroutine(self._stop())

    async def _stop(self) -> None:
        await self._traffic.stop()
        await maybeDeferred(self._watcher.stopService)
        for port in self._admin_ports:
            await port.stop()
        _log.info("{app}: stopped", app=self._settings.app)

    def _follow(self, snapshot: Snapshot) -> None:
        self._snapshot = snapshot
        self._traffic.follow(snapshot)
        _log.info(
            "{app}: stable {stable}, candidate {candidate}, blend {blend}, stickiness {stickiness}",
            app=snapshot.app,
            stable=_words(snapshot, Role.STABLE),
            candidate=_words(snapshot, Role.CANDIDATE),
            blend=snapshot.blend,
            stickiness=snapshot.stickiness or "off",
        )


class _QuietSite(Site):
    """A site that does not log each request: they are probes and scrapes, and their lines would bury the rest."""

    def log(self, request: Any) -> None:
        """Nothing."""


def make_service(options: RouterOptions) -> IService:
    """
    For twistd.

    :raises SystemExit: with one line and status 1, where the options cannot be used.
    """
    from twisted.internet import reactor

    try:
        service = _OneLine(RouterService(read_settings(options, os.environ), reactor, os.environ, options.arguments))
    except SettingError as wrong:
        raise _exit(wrong) from None
    reactor.callWhenRunning(_end_well_by_sigterm, reactor)
    return service


def _end_well_by_sigterm(reactor: Any) -> None:
    """To be told to end is no failure: exit status 0, where twistd would end by the signal once more."""

    signal.signal(signal.SIGTERM, lambda number, frame: reactor.callFromThread(_stop_reactor, reactor))


def _stop_reactor(reactor: Any) -> None:
    with suppress(ReactorNotRunning):  # told twice
        reactor.stop()


class _OneLine(Service):
    """Turns the refusals of a start into one line and exit status 1; twistd would print a traceback."""

    def __init__(self, inner: RouterService) -> None:
        self.inner = inner

    def privilegedStartService(self) -> None:
        try:
            self.inner.privilegedStartService()
        except SettingError as wrong:
            raise _exit_from_log(wrong) from None

    def startService(self) -> None:
        super().startService()
        try:
            self.inner.startService()
        except SettingError as wrong:
            raise _exit_from_log(wrong) from None

    def stopService(self) -> Deferred[None]:
        super().stopService()
        return self.inner.stopService()


def _exit(wrong: SettingError) -> SystemExit:
    return SystemExit(f"rolling-router: {wrong}")


def _exit_from_log(wrong: SettingError) -> SystemExit:
    """The log has begun, and twistd has put it in the place of standard error: say it in both."""
    _log.critical("{wrong}", wrong=wrong)
    print(f"rolling-router: {wrong}", file=sys.__stderr__, flush=True)
    return SystemExit(1)


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


def _saved(settings: Settings, reactor: Any) -> Saved | None:
    if settings.state_dir is None:
        return None
    try:
        os.makedirs(settings.state_dir, mode=0o700, exist_ok=True)
    except OSError as wrong:
        raise SettingError(f"--state-dir {settings.state_dir} cannot be made: {_short(wrong)}") from None
    return Saved(settings.state_dir, settings.app, partial(deferToThreadPool, reactor, reactor.getThreadPool()))


def _short(wrong: Exception) -> str:
    cause = getattr(wrong, "socketError", wrong)
    return getattr(cause, "strerror", None) or str(cause)


def _words(snapshot: Snapshot, role: Role) -> str:
    version = snapshot.version(role)
    return "none" if version is None else f"{version.id} ({len(version.instances)} instances)"
