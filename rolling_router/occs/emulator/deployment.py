"""occs.emulator.deployment: one deployment: what was asked for, and the places that bring it about."""

from __future__ import annotations

import re
import secrets
import string
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

import attrs
from twisted.internet.defer import Deferred, DeferredList

from rolling_router.occs.emulator import service_yaml, templates
from rolling_router.occs.emulator.container import Container, Machine
from rolling_router.occs.emulator.place import Place
from rolling_router.occs.emulator.service_yaml import ServiceSpec

STOPPED, RUNNING = 0, 1

_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,199}")

MOST_CONTAINERS = 100
"""Of one service in one deployment: they are processes of this machine."""


@attrs.frozen
class Wanted:
    """
    What a person asked for, checked.

    :ivar stack: as it was sent.    :ivar services: its content, understood.
    """

    id: str
    name: str
    pool: str
    stack: Mapping[str, Any]
    quantities: Mapping[str, int]
    services: Mapping[str, ServiceSpec]


def check(told: Any) -> Wanted:
    """
    The deployment that a JSON object asks for.

    :raises ValueError: a part of it is missing or cannot be meant; the text names it.
    """
    if not isinstance(told, dict):
        raise ValueError("the deployment must be an object")
    id_ = told.get("deployment_id")
    if not isinstance(id_, str) or not _ID.fullmatch(id_):
        raise ValueError(f"deployment_id is {id_!r}; it must be letters, digits, '-', '_' and '.', at most 200 of them")
    name = told.get("deployment_name", id_)
    if not isinstance(name, str):
        raise ValueError("deployment_name must be a text")
    placement = told.get("placement")
    pool = placement.get("pool_id", "default") if isinstance(placement, dict) else "default"
    stack = told.get("stack")
    if not isinstance(stack, dict) or not isinstance(stack.get("content"), str):
        raise ValueError("stack.content must be the YAML of the deployment, as one text")
    services = service_yaml.parse(stack["content"])
    return Wanted(id_, name, str(pool), stack, _quantities(told.get("quantities") or {}, services), services)


def _quantities(told: Any, services: Mapping[str, ServiceSpec]) -> dict[str, int]:
    if not isinstance(told, dict):
        raise ValueError("quantities must be an object")
    for service, count in told.items():
        if service not in services:
            raise ValueError(f"quantities names the service {service!r}; there are: {', '.join(services)}")
        if not isinstance(count, int) or isinstance(count, bool) or not 0 <= count <= MOST_CONTAINERS:
            raise ValueError(f"quantities has {count!r} for {service!r}; it must be from 0 to {MOST_CONTAINERS}")
    return {service: told.get(service, 1) for service in services}


@attrs.define(eq=False)
class Deployment:
    """
    One of them. Its places exist while it is to run, and until they are empty after that.

    :ivar refusals: how many more times DELETE is refused.    :ivar webhook: its restart webhook's token, if it has one.
    """

    wanted: Wanted
    created_by: str
    created_on: str
    machine: Machine = attrs.field(repr=False)
    bearer: Callable[[], str] = attrs.field(repr=False)
    desired: int = STOPPED
    changed_at: str = ""
    generation: int = 1
    creation_generation: int = 1
    webhook: str = ""
    is_webhook_enabled: bool = False
    refusals: int = 0
    places: dict[str, list[Place]] = attrs.field(factory=dict, init=False)
    _leaving: list[Place] = attrs.field(factory=list, init=False)
    _reached: int = attrs.field(default=STOPPED, init=False)

    # What it is

    @property
    def id(self) -> str:
        return self.wanted.id

    @property
    def current(self) -> int:
        """Running when every container that is wanted runs; stopped when none is left."""
        if self.desired == STOPPED:
            return RUNNING if self._leaving else STOPPED
        return RUNNING if all(place.is_running for place in self._all_places()) else STOPPED

    def as_json(self) -> dict[str, Any]:
        """As a live system has it, in that order."""
        return {
            "deployment_id": self.id,
            "placement": {"pool_id": self.wanted.pool},
            "created_by": self.created_by,
            "created_on": self.created_on,
            "stack": dict(self.wanted.stack),
            "creation_info_generation": self.creation_generation,
            "deployment_name": self.wanted.name,
            "quantities": dict(self.wanted.quantities),
            "desired_state": self.desired,
            "desired_state_changed_at": self.changed_at,
            "generation": self.generation,
            "current_state": self.current,
            "pending_state": self.desired,
        }

    def kept(self) -> dict[str, Any]:
        """For the disk, and `from_kept`."""
        return {**self.as_json(), "webhook": self.webhook, "is_webhook_enabled": self.is_webhook_enabled}

    def containers(self) -> list[Container]:
        return [place.container for place in (*self._all_places(), *self._leaving) if place.container is not None]

    # What is done with it

    def start(self) -> None:
        """Let it run."""
        self._desire(RUNNING)
        self._fill()

    def stop(self) -> None:
        """Let it run no more."""
        self._desire(STOPPED)
        self.refusals = self.machine.faults().delete_refusals
        for places in self.places.values():
            for place in places:
                self._give_up(place)
        self.places.clear()

    def change(self, wanted: Wanted) -> None:
        """Other quantities, and another name; another stack, for containers that begin from now on."""
        self.wanted = wanted
        self.generation += 1
        self.creation_generation = self.generation
        if self.desired == RUNNING:
            self._fill()

    def restart(self) -> None:
        """Each container anew, under another id."""
        self.generation += 1
        for place in self._all_places():
            place.restart()

    def enable_webhook(self, is_enabled: bool) -> None:
        self.webhook = self.webhook or "".join(secrets.choice(string.ascii_lowercase) for _ in range(8))
        self.is_webhook_enabled = is_enabled

    def over(self) -> Deferred[Any]:
        """After `stop`: fires when nothing is left."""
        return DeferredList([place.stop() for place in self._leaving])

    # Places

    def _desire(self, state: int) -> None:
        self.desired = state
        self.generation += 1
        self.changed_at = nanoseconds(self.machine.reactor.seconds())

    def _all_places(self) -> list[Place]:
        return [place for places in self.places.values() for place in places]

    def _fill(self) -> None:
        for service, count in self.wanted.quantities.items():
            places = self.places.setdefault(service, [])
            while len(places) > count:
                self._give_up(places.pop())
            while len(places) < count:
                places.append(self._place(service, len(places)))
        for service in set(self.places) - set(self.wanted.quantities):
            for place in self.places.pop(service):
                self._give_up(place)

    def _place(self, service: str, index: int) -> Place:
        def spec() -> ServiceSpec:
            return self.wanted.services[service]

        return Place(self.machine, self.id, service, index, spec, self.environment, self._settle)

    def environment(self, spec: ServiceSpec) -> dict[str, str]:
        """:raises BadYaml: a template in it cannot be expanded."""
        machine = self.machine
        functions = templates.functions_for(
            self.id, self.wanted.services, self.bearer(), machine.address, machine.ports.fixed
        )
        return {name: templates.expand(text, functions) for name, text in spec.environment.items()}

    def _give_up(self, place: Place) -> None:
        self._leaving.append(place)

        def left(_: None) -> None:
            self._leaving.remove(place)
            self._settle()

        place.stop().addCallback(left)

    def _settle(self) -> None:
        """Count a change of the state that was reached."""
        if self._reached != self.current:
            self._reached = self.current
            self.generation += 1


def from_kept(told: Mapping[str, Any], machine: Machine, bearer: Callable[[], str]) -> Deployment:
    """
    What `kept` gave, stopped: its containers are gone with the process that had them.

    :raises ValueError: it cannot be meant; the text names it.
    """
    try:
        wanted = check(dict(told))
        return Deployment(
            wanted,
            str(told["created_by"]),
            str(told["created_on"]),
            machine,
            bearer,
            changed_at=str(told["desired_state_changed_at"]),
            generation=int(told["generation"]),
            creation_generation=int(told["creation_info_generation"]),
            webhook=str(told["webhook"]),
            is_webhook_enabled=bool(told["is_webhook_enabled"]),
        )
    except KeyError as missing:
        raise ValueError(f"a deployment has no {missing}") from None
    except TypeError as wrong:
        raise ValueError(f"a deployment cannot be meant: {wrong}") from None


def whole_seconds(now: float) -> str:
    """RFC 3339, UTC."""
    return datetime.fromtimestamp(now, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def nanoseconds(now: float) -> str:
    """RFC 3339, UTC, with nine digits."""
    return f"{datetime.fromtimestamp(now, UTC).strftime('%Y-%m-%dT%H:%M:%S')}.{int(now % 1 * 1e9):09}Z"
