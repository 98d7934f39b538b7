"""
occs.emulator.container: one container: a process, its discovery keys, its health, from its start to its end.
Made by `place`, which makes another one when it is over.
"""

from __future__ import annotations

import enum
import os
import secrets
from collections.abc import Callable, Mapping
from typing import Any

import attrs
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import deferLater
from twisted.logger import Logger

from rolling_router.occs.emulator.checks import Checks
from rolling_router.occs.emulator.children import Child, Children
from rolling_router.occs.emulator.faults import Faults
from rolling_router.occs.emulator.host_ports import HostPorts
from rolling_router.occs.emulator.images import Image
from rolling_router.occs.emulator.keyvalues import KeyValues
from rolling_router.occs.emulator.service_yaml import ServiceSpec
from rolling_router.occs.emulator.templates import containers_path

_log = Logger()

CHECK_SECONDS = 0.2
"""How often a container that has just begun is asked."""

FAILED_CHECKS = 3
"""After so many failed health checks in a row, a container is replaced."""

DOCKER0 = "172.17.0.1"
"""What containers know their worker by."""

PASSED_ON = ("PATH", "HOME", "USER", "LANG", "LC_ALL", "TZ", "TMPDIR", "PYTHONPATH", "VIRTUAL_ENV")
"""Of our own environment, all that a container gets."""


@attrs.frozen
class Machine:
    """
    What all containers share.

    :ivar address: the worker's.    :ivar node: host and port of the node endpoint, for `KV_IP` and `KV_PORT`; known
        when it listens.    :ivar environ: our own.    :ivar ca_file: what the manager is trusted by.
    """

    reactor: Any
    address: str
    children: Children
    ports: HostPorts
    checks: Checks
    entries: KeyValues
    images: tuple[Image, ...]
    faults: Callable[[], Faults]
    node: Callable[[], tuple[str, int]]
    environ: Mapping[str, str]
    ca_file: str


class State(enum.Enum):
    """In their order; a container never goes back."""

    STARTING = "Starting"
    RUNNING = "Running"
    STOPPING = "Stopping"
    ENDED = "Ended"


class Container:
    """
    One incarnation.

    :ivar id: 64 hexadecimal digits.    :ivar ports: container port to the machine's.
    :ivar over: fires with how the process ended.
    """

    def __init__(self, machine: Machine, name: str, deployment_id: str, spec: ServiceSpec, changed: Callable[[], None]):
        """
        :param name: its host name, ``INDEX.SERVICE.DEPLOYMENT_ID``.    :param changed: called when `state` has.
        """
        self.id = secrets.token_hex(32)
        self.name = name
        self.state = State.STARTING
        self.ports: Mapping[int, int] = {}
        self.over: Deferred[str] = Deferred()
        self._machine = machine
        self._deployment_id = deployment_id
        self._spec = spec
        self._changed = changed
        self._child: Child | None = None
        self._watching: Deferred[None] | None = None
        self._ending: Any = None

    def start(self, image: Image, environment: Mapping[str, str]) -> None:
        """
        :param environment: of its service, templates expanded.
        :raises PortTaken: a port cannot be had.    :raises OSError: there is no more process to be had.
        """
        spec, machine = self._spec, self._machine
        self.ports = machine.ports.take(spec.ports)
        first = self.ports[spec.ports[0].container] if spec.ports else None
        try:
            self._child = machine.children.spawn(
                f"{self.name} {self.id[:8]}",
                image.argv(spec.image, spec.command, first),
                self._environ(image, environment, first),
            )
        except BaseException:
            machine.ports.release(self.ports)
            raise
        self._child.gone.addCallback(self._gone)
        self._watching = Deferred.fromCoroutine(self._watch())
        self._watching.addErrback(lambda failure: failure.trap(CancelledError))
        self._watching.addErrback(
            lambda failure: _log.failure("{name}: its health is unknown", failure, name=self.name)
        )

    def stop(self, after: float) -> None:
        """End it: its keys at once, then, so many seconds later, the process. Saying it again can make it sooner."""
        reactor = self._machine.reactor
        if self._ending is not None:
            if self._ending.active() and self._ending.getTime() > reactor.seconds() + after:
                self._ending.reset(after)
        elif self.state in (State.STARTING, State.RUNNING):
            self._leave(State.STOPPING)
            assert self._child is not None
            self._ending = reactor.callLater(after, self._child.end)

    def kill(self) -> None:
        """End the process now, by SIGKILL. Its keys go when it has."""
        if self._child is not None:
            self._child.kill()

    def addresses(self) -> dict[int, str]:
        """Container port to ``host:port``, as the discovery keys have it."""
        host = f"[{self._machine.address}]" if ":" in self._machine.address else self._machine.address
        return {container: f"{host}:{port}" for container, port in self.ports.items()}

    def _environ(self, image: Image, environment: Mapping[str, str], first: int | None) -> dict[str, str]:
        machine = self._machine
        own = {name: machine.environ[name] for name in PASSED_ON if name in machine.environ}
        ports = {f"PORT_{container}": str(port) for container, port in self.ports.items()}
        return {
            **own,
            "HOSTNAME": self.name,
            "HOST": machine.address,
            "OCCS_SERVICE_ID": self._spec.name,
            "OCCS_HOSTIP": machine.address,
            # Nobody can put a file into a container of ours. Who checks nothing needs none.
            **({} if "OCCS_INSECURE" in environment else {"OCCS_CA": machine.ca_file}),
            **image.variables(machine.address, self.ports),
            **_reaching(environment, *machine.node()),
            **({} if first is None else {"PORT": str(first)}),
            **ports,
        }

    # From the start to the end

    async def _watch(self) -> None:
        while not await self._is_well():
            await deferLater(self._machine.reactor, CHECK_SECONDS)
        self.state = State.RUNNING
        for container, address in self.addresses().items():
            self._machine.entries.put(self._key(container), address.encode(), is_lasting=False)
        at = ", ".join(f"{container} at {address}" for container, address in self.addresses().items())
        _log.info("{name} {id} runs: {at}", name=self.name, id=self.id[:8], at=at or "no ports")
        self._changed()
        if self._spec.health is not None:
            await self._watch_health(self._spec.health.interval_seconds)

    async def _watch_health(self, seconds: float) -> None:
        failed = 0
        while failed < FAILED_CHECKS:
            await deferLater(self._machine.reactor, seconds)
            failed = 0 if await self._is_well() else failed + 1
        _log.warn("{name}: {failed} health checks in a row failed; it is replaced", name=self.name, failed=failed)
        self._watching = None  # so that nobody cancels what is running here
        self.stop(0.0)

    async def _is_well(self) -> bool:
        checks = self._machine.checks
        if self._spec.health is not None:
            return await checks.passes(self._spec.health, self.ports)
        # A container without a check counts as running when it listens: a process begins to, a little after its start.
        tcp = [self.ports[one.container] for one in self._spec.ports if one.protocol == "tcp"]
        return await checks.listens(tcp)

    def _gone(self, how: str) -> None:
        was = self.state
        self._leave(State.ENDED)
        if self._ending is not None and self._ending.active():
            self._ending.cancel()
        self._machine.ports.release(self.ports)
        if was is State.STOPPING:
            _log.info("{name} {id} ended", name=self.name, id=self.id[:8])
        else:
            _log.warn("{name} {id} ended by itself: {how}", name=self.name, id=self.id[:8], how=how)
        self.over.callback(how)

    def _leave(self, state: State) -> None:
        self.state = state
        for container in self.ports:
            self._machine.entries.remove(self._key(container))
        watching, self._watching = self._watching, None
        if watching is not None:
            watching.cancel()
        self._changed()

    def _key(self, container_port: int) -> str:
        return f"{containers_path(self._spec.name, self._deployment_id, container_port)}/{self.id}"


def _reaching(environment: Mapping[str, str], host: str, port: int) -> dict[str, str]:
    """The environment with the worker's address as it is here, where it was written as it is on a real one."""
    told = {name: text.replace(f"{DOCKER0}:9109", f"{host}:{port}") for name, text in environment.items()}
    if told.get("KV_IP") == DOCKER0:
        told["KV_IP"] = host
        if told.get("KV_PORT") == "9109":
            told["KV_PORT"] = str(port)
    return told


def own_environment() -> Mapping[str, str]:
    """For `Machine.environ`."""
    return {name: os.environ[name] for name in PASSED_ON if name in os.environ}
