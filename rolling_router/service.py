"""service: settings -> the running service. The one place where all rooms are put together."""

from __future__ import annotations

import os
import random
import signal
from collections.abc import Callable, Mapping, MutableMapping, Sequence
from functools import partial
from typing import Any

from twisted.application.service import IService, Service
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.threads import deferToThreadPool
from twisted.logger import Logger
from twisted.python.failure import Failure

from rolling_router import registry
from rolling_router.departure import Departure
from rolling_router.environment import unknown_variables, with_options_file
from rolling_router.errors import SettingError, naming
from rolling_router.interfaces import StoreContext
from rolling_router.observe.figures import Figures
from rolling_router.options import RouterOptions, Settings, read_settings
from rolling_router.proxy.loop import Loop
from rolling_router.rollout.model import Role, Snapshot
from rolling_router.rollout.saved import Saved
from rolling_router.rollout.watcher import Watcher
from rolling_router.routing.router import Router
from rolling_router.starting import hear, start_well, stop_reactor
from rolling_router.steering import Steering
from rolling_router.traffic.crew import Crew, worker_kind
from rolling_router.traffic.engine import Engine, check_access_log
from rolling_router.traffic.notify import Notify
from rolling_router.traffic.sockets import Sockets, handed_to
from rolling_router.traffic.succession import NotReady, Predecessor, hand_over, successor_command
from rolling_router.traffic.worker import Teller

_log = Logger()

HOLD_SECONDS = 5.0
"""How long clients wait for the first snapshot after the start, before they are told that there is none."""


class RouterService(Service):
    """
    The router: one process, or a parent with its workers, or one of those. Starts all parts, and stops them in an order
    in which no request is lost.

    Ports are bound in `privilegedStartService`, before twistd gives up root.

    :ivar says_otherwise: whether the options, read again, are others than those in force.
    :ivar is_worker: whether this is a parent's worker, which does as that says.
    """

    def __init__(
        self,
        settings: Settings,
        reactor: Any,
        environ: Mapping[str, str],
        arguments: Sequence[str] = (),
        twistd: MutableMapping[str, Any] | None = None,
    ) -> None:
        """
        :param arguments: the command line, for workers and for the process that takes this one's place.
        :param twistd: twistd's own options; without them nobody can take this process's place.
        :raises SettingError: something named in the settings is not there or cannot be meant.
        """
        self._settings = settings
        self._reactor = reactor
        with naming(settings.said["strategy"]):
            strategies = registry.make_strategies(settings.strategies, settings.app)
        self._snapshot = Snapshot(settings.app)
        self.says_otherwise: Callable[[], bool] = lambda: False
        self._arguments = arguments
        self._twistd = twistd
        worker = worker_kind(environ)
        self.is_worker = bool(worker)
        self._predecessor = Predecessor(environ)
        # Somebody serves until we know what to.
        self._is_late = worker == "late" or self._predecessor.is_there
        self._handing: Deferred[None] | None = None
        self._is_accepting = self._is_succeeded = self._is_stopping = False
        self._departure = Departure(settings.shutdown_delay_seconds, reactor)
        self._notify = Notify({} if self.is_worker else environ)
        self._sockets = sockets = Sockets(handed_to(environ), is_owner=not self.is_worker)
        self._traffic: Engine | Crew
        if settings.workers > 1 and not self.is_worker:
            self._traffic = Crew(settings, reactor, arguments, environ, sockets, self._is_late)
        else:
            self._traffic = Engine(settings, Router(settings.app, strategies), reactor, Loop(reactor), sockets)
        context = StoreContext(reactor, settings.app, {**environ, **settings.store_environ})
        with naming(settings.said["store"]):
            store = registry.open_store(settings.store, context)
        self._watcher = Watcher(
            reactor,
            settings.app,
            store,
            self._follow,
            strategies=tuple(strategies),
            default=next(iter(strategies)),
            random=random.random,
            saved=_saved(settings, reactor),
        )
        self._steering: Steering | None = None
        if not self.is_worker:
            self._steering = Steering(
                settings,
                reactor,
                environ,
                sockets,
                store,
                tuple(strategies),
                self._watcher,
                lambda: self._snapshot,
                self._figures,
            )

    def _figures(self) -> Deferred[Figures]:
        return self._traffic.figures().addCallback(self._departure.seen_in)

    def privilegedStartService(self) -> None:
        super().privilegedStartService()
        self._traffic.bind()
        if self._steering is not None:
            self._steering.bind()
        self._sockets.forget_the_rest()
        if not self._is_late:
            self._open()

    def _open(self) -> None:
        """Accept clients."""
        self._is_accepting = True
        self._traffic.open()  # first: who finds the settings port there may take the proxy ports to be there too
        if self._steering is not None:
            self._steering.open()

    def startService(self) -> None:
        super().startService()
        settings = self._settings
        if isinstance(self._traffic, Crew):
            check_access_log(settings, self._reactor)
        self._watcher.startService()
        self._traffic.start()
        if self._steering is not None:
            self._steering.start()
        released = self._release_when_known()
        if self.is_worker:
            assert isinstance(self._traffic, Engine)
            teller = Teller(self._traffic.figures_now, self._traffic.reload, self._leave)
            teller.listen(self._reactor)
            released.addCallback(lambda _: teller.ready())
            return
        released.addCallback(lambda _: self._serves())
        _log.info(
            "{app}: routing on {listen}; settings port on {admin}; store {store}",
            app=settings.app,
            listen=", ".join(settings.listen),
            admin=", ".join(settings.admin),
            store=self._watcher.state.store,
        )

    def _release_when_known(self) -> Deferred[None]:
        """
        Clients that come before the first snapshot wait for it, within reason. Where somebody else serves them, none
        is accepted before there is one. Fires when they are served.
        """
        released: Deferred[None] = Deferred()

        def serve(_: None) -> None:
            if self._is_late:
                self._open()

        def release() -> None:
            self._traffic.release().addCallback(serve).chainDeferred(released)

        if self._is_late:
            self._watcher.known.addCallback(lambda _: release())
            return released
        held = self._reactor.callLater(HOLD_SECONDS, release)

        def release_now(_: None) -> None:
            if held.active():
                held.cancel()
                release()

        self._watcher.first.addCallback(release_now)
        return released

    def _serves(self) -> None:
        if self._predecessor.is_there:
            if self._twistd is not None:
                self._twistd["pidfile"] = self._predecessor.pidfile  # which twistd removes at the end
            self._predecessor.tell()
            _log.info("process {pid} serves now, in the place of the one that started it", pid=os.getpid())
        else:
            self._notify.ready(f"routing {self._settings.app}")

    def reload(self) -> None:
        """
        Read again what may have changed on disk; where that is the options, have a new process take over. For SIGHUP.
        """
        _log.info("files are read again")
        try:
            if self.says_otherwise():
                self.hand_over()
                return
        except SettingError as wrong:
            _log.error("{wrong}. What was read before stays in force", wrong=wrong)
        self._notify.reloading("files are read again")
        self._traffic.reload()
        if self._steering is not None:
            self._steering.reload()
        self._notify.ready(f"routing {self._settings.app}")

    def hand_over(self) -> None:
        """Start a process that takes the place of this one, and go when it has. Called by SIGUSR2."""
        if self._twistd is None or self._handing is not None or self._is_ending:
            _log.warn("there is no handing over now: it is under way, or this process is ending")
            return
        if os.getpid() == 1:
            _log.error("this is process 1: the container would end with it, so nobody can take its place; it goes on")
            return
        self._notify.reloading("a new process is started to take over")
        command = successor_command(self._twistd, self._arguments)
        pidfile = self._twistd["pidfile"] and os.path.abspath(self._twistd["pidfile"])
        _log.info("a new process is started to take over")
        self._handing = hand_over(self._reactor, command, os.environ, self._sockets, pidfile).addCallbacks(
            self._succeeded, self._not_succeeded
        )

    def _succeeded(self, pid: int) -> None:
        assert self._twistd is not None
        _log.info("process {pid} has taken over; this one takes no more, and drains", pid=pid)
        self._notify.succeeded_by(pid)
        self._twistd["pidfile"] = ""  # it has the other one's pid by now
        self._leave(True)

    def _not_succeeded(self, failure: Failure) -> None:
        self._handing = None
        if self._is_ending:
            return
        why = str(failure.value) if failure.check(NotReady) else failure.getErrorMessage()
        _log.error("the new process could not take over: {why}. This one goes on", why=why)
        self._notify.ready(f"the new process could not take over: {why}")

    def _leave(self, is_succeeded: bool) -> None:
        if is_succeeded:
            self._is_succeeded = True
            self._sockets.is_owner = False
        stop_reactor(self._reactor)

    def end(self) -> None:
        """
        Be told to end: at once, or where a departure is wanted after that. For SIGTERM.

        Who has not taken over yet, or has been succeeded, has nobody to wait for; a worker has its parent's word.
        """
        if self._is_stopping or self.is_worker or not self._is_accepting or not self._departure.begin():
            stop_reactor(self._reactor)
            return
        self._notify.stopping()
        if self._handing is not None:
            self._handing.cancel()

    @property
    def _is_ending(self) -> bool:
        return self._is_stopping or self._departure.is_on

    def stopService(self) -> Deferred[None]:
        super().stopService()
        return Deferred.fromCoroutine(self._stop())

    async def _stop(self) -> None:
        self._is_stopping = True
        if not self._is_succeeded and not self.is_worker:
            self._notify.stopping()
            if self._handing is not None:
                self._handing.cancel()
        draining = Deferred.fromCoroutine(self._traffic.stop(self._is_succeeded))
        if not self._is_succeeded:
            await draining
        if self._steering is not None:
            await self._steering.stop()  # a page that is open reaches the other process from now on, if there is one
        await draining
        await maybeDeferred(self._watcher.stopService)
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


def make_service(options: RouterOptions) -> IService:
    """
    For twistd.

    :raises SystemExit: with one line and status 1, where the options cannot be used.
    """
    from twisted.internet import reactor

    def make() -> RouterService:
        environ = with_options_file(options, os.environ)
        settings = read_settings(options, environ)
        router = RouterService(settings, reactor, environ, options.arguments, options.parent)
        if not router.is_worker:  # its parent has said so
            for unknown in unknown_variables(os.environ):
                _log.warn("{unknown}; it is ignored", unknown=unknown)
        router.says_otherwise = lambda: with_options_file(options, os.environ) != environ
        reactor.callWhenRunning(_hear_signals, reactor, router)
        return router

    return start_well("rolling-router", make, reactor, options.parent, RouterService.end)


def _hear_signals(reactor: Any, router: RouterService) -> None:
    if router.is_worker:  # it has its parent's word
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        signal.signal(signal.SIGUSR2, signal.SIG_IGN)
    else:
        hear(reactor, signal.SIGHUP, router.reload)
        hear(reactor, signal.SIGUSR2, router.hand_over)


def _saved(settings: Settings, reactor: Any) -> Saved | None:
    if settings.state_dir is None:
        return None
    try:
        os.makedirs(settings.state_dir, mode=0o700, exist_ok=True)
    except OSError as wrong:
        raise SettingError(
            f"{settings.said['state-dir']} is {settings.state_dir}, which cannot be made: {wrong.strerror}; "
            f"name a directory that the user {os.geteuid()}, as whom the router runs, can make or write to"
        ) from None
    return Saved(settings.state_dir, settings.app, partial(deferToThreadPool, reactor, reactor.getThreadPool()))


def _words(snapshot: Snapshot, role: Role) -> str:
    version = snapshot.version(role)
    if version is None:
        return "none"
    number = len(version.instances)
    return f"{version.id} ({number} instance{'' if number == 1 else 's'})"
