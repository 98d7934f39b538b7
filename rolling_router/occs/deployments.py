"""occs.deployments: what runs on the platform. Called by the store plugin and by the deploy step."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import attrs

from rolling_router.occs.calls import Answer, Calls, Refused

_COLLECTION = ("api", "v2", "deployments")

STOPPED, RUNNING = 0, 1
"""The numbers of the states."""


@attrs.frozen
class Deployment:
    """
    One deployment.

    :ivar document: all that the manager said of it, for `Deployments.put`.
    """

    id: str
    name: str
    desired_state: int
    current_state: int
    document: Mapping[str, Any] = attrs.field(repr=False, eq=False)

    def is_in(self, state: int) -> bool:
        """Whether it is wanted in this state and has reached it."""
        return self.current_state == self.desired_state == state


@attrs.frozen
class Container:
    """One container of a deployment.    :ivar state: ``Running`` when it is up."""

    id: str
    name: str
    state: str


class Deployments:
    """
    The deployments of one manager.

    All raise `StoreLost` without a usable answer, and `Refused` where the manager says no. Only what is harmless is
    asked more than once: after a `StoreLost` of `create`, `start` or `stop`, look what became of it.
    """

    def __init__(self, calls: Calls) -> None:
        self._calls = calls

    async def all(self) -> Sequence[Deployment]:
        answer = await self._calls.ask("GET", (*_COLLECTION, ""))
        return self._read(answer, "deployments", _deployments)

    async def get(self, id: str) -> Deployment | None:
        """``None``: there is none of that id."""
        answer = await self._calls.ask("GET", (*_COLLECTION, *id.split("/")))
        return None if answer.status == 404 else self._read(answer, "deployment", _deployment)

    async def create(self, document: Mapping[str, Any]) -> Deployment:
        """
        :param document: with ``deployment_id``, ``deployment_name``, ``desired_state``, ``placement``, ``quantities``
            and ``stack``; it starts at once where ``desired_state`` is 1.
        """
        answer = await self._calls.ask("POST", (*_COLLECTION, ""), body=_json(document), may_repeat=False)
        return self._read(answer, "deployment", _deployment)

    async def put(self, id: str, document: Mapping[str, Any]) -> Deployment:
        """Change it, e.g. its quantities, by sending the whole document back."""
        answer = await self._calls.ask("PUT", (*_COLLECTION, id), body=_json(document))
        return self._read(answer, "deployment", _deployment)

    async def start(self, id: str) -> Deployment:
        """Start it again after a stop."""
        answer = await self._calls.ask("POST", (*_COLLECTION, id, "start"), may_repeat=False)
        return self._read(answer, "deployment", _deployment)

    async def stop(self, id: str) -> None:
        """Have its containers ended; it has stopped when `Deployment.is_in` says so."""
        answer = await self._calls.ask("POST", (*_COLLECTION, id, "stop"), may_repeat=False)
        self._check(answer)

    async def delete(self, id: str) -> None:
        """
        Remove it. Of a deployment that is not there, this is no error.

        :raises Refused: it has not stopped, or not long enough ago; try again.
        """
        answer = await self._calls.ask("DELETE", (*_COLLECTION, id))
        if answer.status != 404:
            self._check(answer)

    async def containers(self, id: str) -> Sequence[Container]:
        answer = await self._calls.ask("GET", (*_COLLECTION, id, "containers", ""))
        return self._read(answer, "containers", _containers)

    def _read(self, answer: Answer, field: str, make: Callable[[Any], Any]) -> Any:
        """What `make` makes of that field; a reply without such a wrapper is taken for the thing itself."""
        self._check(answer)
        found = answer.json()
        try:
            return make(found.get(field, found))
        except (AttributeError, KeyError, TypeError, ValueError):
            raise answer.odd(f"no {field}") from None

    def _check(self, answer: Answer) -> None:
        """:raises Refused: the manager says no.    :raises StoreLost: it says nothing that we understand."""
        messages = _messages(answer.body)
        if messages or 400 <= answer.status < 500:
            said = self._calls.hide("; ".join(messages) or f"status {answer.status}")
            raise Refused(f"{answer.call} was refused: {said[:500]}", answer.status >= 500)
        if not answer.is_ok:
            raise answer.odd("no word why")


def _json(document: Mapping[str, Any]) -> bytes:
    return json.dumps(document).encode()


def _messages(body: bytes) -> list[str]:
    """The manager's own words, where it says what is wrong."""
    try:
        found = json.loads(body)
    except (ValueError, RecursionError):
        return []
    errors = found.get("errors") if isinstance(found, dict) else None
    if not isinstance(errors, list):
        return []
    return [str(one.get("message", one) if isinstance(one, dict) else one) for one in errors] or ["no reason given"]


def _deployments(found: Any) -> tuple[Deployment, ...]:
    return tuple(_deployment(one) for one in found or ())


def _deployment(found: Any) -> Deployment:
    id, desired, current = found["deployment_id"], found["desired_state"], found["current_state"]
    if not (isinstance(id, str) and id and isinstance(desired, int) and isinstance(current, int)):
        raise ValueError(id)
    name = found.get("deployment_name")
    return Deployment(id, name if isinstance(name, str) else id, desired, current, found)


def _containers(found: Any) -> tuple[Container, ...]:
    return tuple(Container(str(one["container_id"]), str(one["container_name"]), str(one["state"])) for one in found)
