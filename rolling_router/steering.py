"""
steering: how one watches and steers the router: the settings port, put together, and the endpoints it listens on.

Made by `service`, in the process that has the settings port; workers have none. No rule of the rollout lives here.
"""

from __future__ import annotations

import random
import secrets
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThreadPool

from rolling_router.admin.origins import Origins
from rolling_router.admin.port import Access, SettingsPort, address_of
from rolling_router.admin.view import About
from rolling_router.interfaces import IStore
from rolling_router.observe.figures import Figures
from rolling_router.observe.report import Report
from rolling_router.occs_sign_in import manager_for
from rolling_router.options import Settings
from rolling_router.rollout.control import Control
from rolling_router.rollout.history import History
from rolling_router.rollout.model import Snapshot
from rolling_router.rollout.watcher import Watcher
from rolling_router.traffic.callers import Callers
from rolling_router.traffic.ports import Port
from rolling_router.traffic.sockets import Sockets


class Steering:
    """Started and stopped by `service`, in the order of its methods."""

    def __init__(
        self,
        settings: Settings,
        reactor: Any,
        environ: Mapping[str, str],
        sockets: Sockets,
        store: IStore,
        strategies: Sequence[str],
        watcher: Watcher,
        snapshot: Callable[[], Snapshot],
        figures: Callable[[], Deferred[Figures]],
    ) -> None:
        """
        :param strategies: names of those in use, the default one first.    :param snapshot: gives the one in force.
        :param figures: gives those of all processes.
        :raises SettingError: an endpoint, an origin or a token cannot be used.
        """
        aside = partial(deferToThreadPool, reactor, reactor.getThreadPool())
        history = None if settings.state_dir is None else History(settings.state_dir, settings.app, aside)

        def control(of: IStore) -> Control:
            return Control(
                settings.app,
                of,
                strategies=strategies,
                default=strategies[0],
                clock=reactor,
                random=random.random,
                history=history,
            )

        about = About(
            settings.app,
            secrets.token_hex(4),
            reactor.seconds(),
            settings.workers,
            settings.store.partition(":")[0],
            tuple(strategies),
            history is not None,
        )
        origins = Origins.parse(settings.admin_origins)
        access = Access(
            origins,
            settings.state_dir,
            environ,
            aside,
            address_of(settings.admin, origins),
            is_metrics_open=not settings.metrics_need_token,
            manager=manager_for(reactor, settings.app, settings.store, {**environ, **settings.store_environ}, control),
        )
        report = Report(lambda: watcher.state, snapshot, reactor.seconds)
        self._settings_port = SettingsPort(reactor, about, report, watcher, control(store), figures, access)
        self._callers = Callers(self._settings_port.site, reactor)
        self._ports = [Port(text, "admin", self._callers, reactor, sockets) for text in settings.admin]

    def bind(self) -> None:
        """:raises SettingError: a port cannot be had."""
        for port in self._ports:
            port.bind()

    def open(self) -> None:
        """Accept callers."""
        for port in self._ports:
            port.open()

    def start(self) -> None:
        self._settings_port.startService()

    def reload(self) -> None:
        """Read certificates again, if there are any."""
        for port in self._ports:
            port.reload()

    async def stop(self) -> None:
        """Accept no more, end what is open, and let go of it."""
        for port in self._ports:
            await port.stop()
        await self._settings_port.stopService()
        await self._callers.hang_up()
