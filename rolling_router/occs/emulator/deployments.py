"""occs.emulator.deployments: all of them. Asked by `deployment_routes`, started and ended by `service`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import attrs
from twisted.internet.defer import DeferredList

from rolling_router.occs.emulator.asked import Refusal
from rolling_router.occs.emulator.container import Container, Machine
from rolling_router.occs.emulator.deployment import (
    RUNNING,
    STOPPED,
    Deployment,
    check,
    from_kept,
    whole_seconds,
)

POOLS = ("default", "Development", "Production")
"""Those that a new system has."""


class Deployments:
    """By id."""

    def __init__(self, machine: Machine, user: str, bearer: Callable[[], str]) -> None:
        """:param bearer: of the user who deploys, as it is now."""
        self._machine = machine
        self._user = user
        self._bearer = bearer
        self._by_id: dict[str, Deployment] = {}
        self._starting: list[Deployment] = []

    def load(self, kept: Iterable[Mapping[str, Any]]) -> None:
        """
        Take what the disk had. Those that ran start again with `start`.

        :raises ValueError: one of them cannot be meant.
        """
        for told in kept:
            made = from_kept(told, self._machine, self._bearer)
            self._by_id[made.id] = made
            if told["desired_state"] == RUNNING:
                self._starting.append(made)

    def start(self) -> None:
        """After `load`, when the doors are open."""
        for one in self._starting:
            one.start()
        self._starting.clear()

    async def stop(self) -> None:
        """End all containers, and be back when none is left. What was to run is kept as that."""
        running = [one for one in self if one.desired == RUNNING]
        for one in running:
            one.stop()
        await DeferredList([one.over() for one in self])
        for one in running:
            one.desired = RUNNING

    def kept(self) -> list[dict[str, Any]]:
        return [one.kept() for one in self]

    def __iter__(self) -> Iterator[Deployment]:
        """By name, as the console lists them."""
        return iter(sorted(self._by_id.values(), key=lambda one: (one.wanted.name, one.id)))

    def __getitem__(self, id_: str) -> Deployment:
        """:raises Refusal: 404."""
        found = self._by_id.get(id_)
        if found is None:
            raise Refusal(404, "deployment ID not found")
        return found

    # What is asked for

    def create(self, told: Any) -> Deployment:
        """
        Make one, and start it if it says so.

        :raises Refusal: it cannot be meant (400), or its id is taken (409).
        """
        try:
            wanted = check(told)
            _check_pool(wanted.pool)
            made = Deployment(
                wanted,
                self._user,
                whole_seconds(self._machine.reactor.seconds()),
                self._machine,
                self._bearer,
                changed_at=whole_seconds(self._machine.reactor.seconds()),
            )
            for spec in wanted.services.values():
                made.environment(spec)  # what cannot be expanded is told now
        except ValueError as wrong:
            raise Refusal(400, str(wrong)) from None
        if wanted.id in self._by_id:
            raise Refusal(409, f"the deployment ID {wanted.id} is in use")
        self._by_id[made.id] = made
        if told.get("desired_state") == RUNNING:
            made.start()
        return made

    def change(self, id_: str, told: Any) -> Deployment:
        """
        Put what a deployment, or the whole answer to a GET, says otherwise.

        :raises Refusal: there is none (404), or it cannot be meant (400).
        """
        one = self[id_]
        told = told.get("deployment", told) if isinstance(told, dict) else told
        if not isinstance(told, dict):
            raise Refusal(400, "the deployment must be an object")
        try:
            wanted = check({**one.as_json(), **told, "deployment_id": id_})
            _check_pool(wanted.pool)
            for spec in wanted.services.values():
                attrs.evolve(one, wanted=wanted).environment(spec)
        except ValueError as wrong:
            raise Refusal(400, str(wrong)) from None
        one.change(wanted)
        desired = told.get("desired_state", one.desired)
        if desired != one.desired and desired in (STOPPED, RUNNING):
            one.start() if desired == RUNNING else one.stop()
        return one

    def start_one(self, id_: str) -> Deployment:
        """:raises Refusal: there is none (404), or it is not stopped (409)."""
        one = self[id_]
        if (one.desired, one.current) != (STOPPED, STOPPED):
            raise Refusal(409, f"the deployment {id_} is not stopped")
        one.start()
        return one

    def stop_one(self, id_: str) -> Deployment:
        """A stopped one stays as it is.    :raises Refusal: there is none (404)."""
        one = self[id_]
        if one.desired == RUNNING:
            one.stop()
        return one

    def delete(self, id_: str) -> None:
        """:raises Refusal: there is none (404), or it is not stopped, or not yet to be deleted (409)."""
        one = self[id_]
        if (one.desired, one.current) != (STOPPED, STOPPED):
            raise Refusal(409, f"the deployment {id_} must be stopped before it is deleted")
        if one.refusals > 0:
            one.refusals -= 1
            raise Refusal(409, f"the deployment {id_} cannot be deleted yet")
        del self._by_id[id_]

    def container(self, id_: str) -> Container:
        """:raises Refusal: 404."""
        for one in self:
            for container in one.containers():
                if container.id == id_:
                    return container
        raise Refusal(404, "container ID not found")


def _check_pool(pool: str) -> None:
    if pool not in POOLS:
        raise ValueError(f"there is no pool {pool!r}; there are: {', '.join(POOLS)}")
