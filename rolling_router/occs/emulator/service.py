"""occs.emulator.service: settings -> the running emulator. The one place where its rooms are put together."""

from __future__ import annotations

import datetime
import json
import os
from contextlib import suppress
from functools import partial
from importlib.util import find_spec
from typing import Any

import attrs
from twisted.application.service import IService, Service
from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThreadPool
from twisted.logger import Logger
from twisted.protocols.tls import TLSMemoryBIOFactory

from rolling_router.disk import replace
from rolling_router.errors import SettingError
from rolling_router.occs.emulator import disk, kv_routes, state
from rolling_router.occs.emulator.accounts import Accounts, Secrets
from rolling_router.occs.emulator.asked import Answer, Ask
from rolling_router.occs.emulator.certificate import Certificate
from rolling_router.occs.emulator.checks import Checks
from rolling_router.occs.emulator.children import Children
from rolling_router.occs.emulator.container import Machine, own_environment
from rolling_router.occs.emulator.control import Control
from rolling_router.occs.emulator.deployment_routes import DeploymentRoutes
from rolling_router.occs.emulator.deployments import Deployments
from rolling_router.occs.emulator.door import Door
from rolling_router.occs.emulator.faults import Faults, Outage
from rolling_router.occs.emulator.front import Front, QuietSite, Route
from rolling_router.occs.emulator.host_ports import HostPorts
from rolling_router.occs.emulator.keyvalues import KeyValues, Worker
from rolling_router.occs.emulator.manager import Manager
from rolling_router.occs.emulator.options import EmulatorOptions, Settings, read_settings
from rolling_router.starting import start_well

_log = Logger()


class EmulatorService(Service):
    """The emulator: three doors, one store, and what is on disk."""

    def __init__(self, settings: Settings, reactor: Any) -> None:
        """:raises SettingError: what is on disk, or an endpoint, cannot be used. Nothing has been changed then."""
        self._settings = settings
        self._reactor = reactor
        self._faults = settings.faults
        self._lock = disk.open_directory(settings.state_dir)
        kept = state.load(settings.state_dir / "state.json") or state.State(
            Secrets.new(settings.user, reactor.seconds())
        )
        self._accounts = Accounts(kept.secrets, reactor, lambda: self._faults.token_seconds)
        self._entries = KeyValues()
        self._entries.load(dict(kept.keys), kept.index)
        self._worker = Worker(self._entries, reactor, lambda: self._faults.node_delay_seconds)
        self._children = Children(reactor, self._hide)
        self._certificate = Certificate(settings.state_dir)
        self._deployments = Deployments(self._machine(), kept.secrets.user, lambda: self._accounts.kept.bearer)
        try:
            self._deployments.load(kept.deployments)
        except ValueError as wrong:
            raise SettingError(state.unreadable(settings.state_dir / "state.json", str(wrong))) from None
        aside = partial(deferToThreadPool, reactor, reactor.getThreadPool())
        self._writer = disk.Writer(settings.state_dir / "state.json", self._content, aside)
        if self._certificate.see_to([settings.address], datetime.datetime.now(datetime.UTC)):
            _log.info("made a certificate for {address}", address=settings.address)
        self._make_doors()

    def _machine(self) -> Machine:
        settings = self._settings
        ports = HostPorts(settings.address, settings.publishing)
        ports.check()
        return Machine(
            self._reactor,
            settings.address,
            self._children,
            ports,
            Checks(self._reactor, settings.address),
            self._entries,
            settings.images,
            lambda: self._faults,
            lambda: (_host(self._node, settings.address), self._node.port),
            own_environment(),
            str(self._certificate.path),
        )

    def _hide(self, text: str) -> str:
        """What a container prints goes into our log, and it has the token."""
        return text.replace(self._accounts.kept.bearer, "***")

    def _make_doors(self) -> None:
        settings = self._settings
        routes = DeploymentRoutes(self._deployments, lambda: self._faults, settings.address)
        manager = Manager(self._accounts, self._entries, routes, lambda: self._faults, self._save)
        site = self._site(manager.route, lambda: self._faults.outage, lambda: self._faults.latency_seconds)
        tls = TLSMemoryBIOFactory(self._certificate.options(), False, site)
        tls.noisy = False
        self._manager = Door(settings.manager, "manager", tls, self._reactor)
        self._node = Door(
            settings.node,
            "node",
            self._site(self._node_route, lambda: self._faults.node_outage, lambda: self._faults.node_latency_seconds),
            self._reactor,
        )
        self._control: Door | None = None
        if settings.control is not None:
            control = Control(lambda: self._faults, self._put_faults, self._accounts)
            site = self._site(control.route, lambda: Outage.NONE, lambda: 0.0)
            self._control = Door(settings.control, "control", site, self._reactor)

    def _site(self, route: Route, outage: Any, latency: Any) -> QuietSite:
        return QuietSite(Front(self._reactor, route, outage, latency), self._reactor)

    async def _node_route(self, ask: Ask) -> Answer:
        return kv_routes.node_answer(ask, self._worker, lambda: self._faults.missing)

    # Life

    @property
    def _doors(self) -> list[Door]:
        return [door for door in (self._manager, self._node, self._control) if door is not None]

    def privilegedStartService(self) -> None:
        """:raises SettingError: a port cannot be had, or the disk does not take what must be there."""
        super().privilegedStartService()
        for door in self._doors:
            door.bind()
        try:
            replace(self._writer.path, self._content())
            self._tell_secrets()
        except OSError as wrong:
            raise SettingError(f"--state-dir {self._settings.state_dir} cannot be written: {wrong.strerror}") from None

    def startService(self) -> None:
        super().startService()
        self._put_faults(self._faults)
        self._children.start()
        self._deployments.start()
        told = self._told()
        if self._settings.ready_file is not None:
            try:
                replace(self._settings.ready_file, json.dumps(told, indent=1).encode() + b"\n")
            except OSError as wrong:
                raise SettingError(
                    f"--ready-file {self._settings.ready_file} cannot be written: {wrong.strerror}"
                ) from None
        _log.info("the manager is at {manager}, the node's keys at {node}", **told)
        _log.info("the worker's address is {address}", **told)
        _log.info("clients can pin {ca_file}; the bearer token is in {token_file}", **told)
        if self._control is not None:
            _log.warn("whoever reaches {control} can set faults", **told)

    def stopService(self) -> Deferred[None]:
        super().stopService()
        return Deferred.fromCoroutine(self._stop())

    async def _stop(self) -> None:
        for door in self._doors:
            await door.close()
        self._faults = attrs.evolve(self._faults, stop_seconds=0.0)
        await self._deployments.stop()
        self._children.stop()
        try:
            await self._writer.save()
        except OSError as wrong:
            _log.error("the state cannot be saved: {wrong}", wrong=wrong)
        if self._settings.ready_file is not None:
            with suppress(OSError):
                self._settings.ready_file.unlink()
        os.close(self._lock)
        _log.info("stopped")

    # Faults

    def _put_faults(self, faults: Faults) -> None:
        self._faults = faults
        for door, outage in ((self._manager, faults.outage), (self._node, faults.node_outage)):
            if outage is Outage.REFUSE:
                door.shut()
            else:
                door.open()

    # The disk

    def _content(self) -> bytes:
        return state.State(
            self._accounts.kept, self._entries.index, dict(self._entries), self._deployments.kept()
        ).to_bytes()

    def _save(self) -> Deferred[None]:
        return self._writer.save().addCallback(lambda _: self._tell_secrets())

    def _tell_secrets(self) -> None:
        """Keep the files that people and scripts read their secrets from."""
        kept = self._accounts.kept
        for name, text in (("token", kept.bearer), ("password", kept.password)):
            path = self._settings.state_dir / name
            content = text.encode("ascii") + b"\n"
            if not path.exists() or path.read_bytes() != content:
                replace(path, content)

    def _told(self) -> dict[str, Any]:
        settings = self._settings
        return {
            "manager": f"https://{_reachable(self._manager, settings.address)}",
            "node": f"http://{_reachable(self._node, settings.address)}",
            "control": None if self._control is None else f"http://{_reachable(self._control, settings.address)}",
            "ca_file": str(self._certificate.path),
            "token_file": str(settings.state_dir / "token"),
            "password_file": str(settings.state_dir / "password"),
            "user": self._accounts.kept.user,
            "address": settings.address,
            "pid": os.getpid(),
        }


def _host(door: Door, address: str) -> str:
    """What clients write; a door that listens everywhere is named by the worker's address."""
    return address if door.host in ("0.0.0.0", "::") else door.host


def _reachable(door: Door, address: str) -> str:
    host = _host(door, address)
    return f"[{host}]:{door.port}" if ":" in host else f"{host}:{door.port}"


def make_service(options: EmulatorOptions) -> IService:
    """
    For twistd.

    :raises SystemExit: with one line and status 1, where the options cannot be used.
    """
    from twisted.internet import reactor

    if find_spec("yaml") is None:
        raise SystemExit("occs-emulator: PyYAML is not installed; pip install 'rolling-router[emulator]'")
    return start_well(
        "occs-emulator", lambda: EmulatorService(read_settings(options, os.environ), reactor), reactor, options.parent
    )
