"""occs.emulator.deployment_routes: `/api/v2/deployments`, `/api/v2/containers` and the hosts. Shapes only."""

from __future__ import annotations

import hmac
import re
import uuid
from collections.abc import Callable
from typing import Any

from rolling_router.occs.emulator.asked import Answer, Ask, Refusal, unauthorized, wrong_method
from rolling_router.occs.emulator.container import DOCKER0, Container, State
from rolling_router.occs.emulator.deployment import Deployment
from rolling_router.occs.emulator.deployments import POOLS, Deployments
from rolling_router.occs.emulator.faults import Faults

_COLLECTION = re.compile(r"/api/v2/deployments/?")
_PART = re.compile(r"/api/v2/deployments/(?P<id>[^/]+)/(?P<part>start|stop|containers|webhook/restart)/?")
_ONE = re.compile(r"/api/v2/deployments/(?P<id>.+?)/?")
_CONTAINER = re.compile(r"/api/v2/containers/(?P<id>[^/]+)/(?P<what>stop|kill)/?")
_HOSTS = re.compile(r"/api/(?:hosts(?:/(?P<id>[^/]+))?|v2/pools/(?P<pool>[^/]+)/hosts)/?")
HOST_ID = "emulator"


class DeploymentRoutes:
    """Takes the calls apart."""

    def __init__(self, deployments: Deployments, faults: Callable[[], Faults], address: str) -> None:
        self._deployments = deployments
        self._faults = faults
        self._address = address

    def open_answer(self, ask: Ask) -> Answer | None:
        """
        The answer to a call that needs no bearer: a webhook's, which has a token of its own. ``None``: it is none.

        :raises Refusal: another token (401).
        """
        found = _PART.fullmatch(ask.path)
        if found is None or found["part"] != "webhook/restart" or ask.method != "POST":
            return None
        one = self._deployments[found["id"]]
        given = ask.query.get("token", "")
        if not one.is_webhook_enabled or not hmac.compare_digest(given.encode(), one.webhook.encode()):
            raise unauthorized()
        one.restart()
        return _told(one)

    def answer(self, ask: Ask) -> Answer:
        """:raises Refusal: whatever cannot be answered well."""
        if _COLLECTION.fullmatch(ask.path):
            return self._collection(ask)
        if found := _PART.fullmatch(ask.path):
            return self._part(ask, found["id"], found["part"])
        if found := _ONE.fullmatch(ask.path):
            return self._one(ask, found["id"])
        if found := _CONTAINER.fullmatch(ask.path):
            return self._container(ask, found["id"], found["what"])
        if found := _HOSTS.fullmatch(ask.path):
            return self._hosts(ask, found["id"], found["pool"])
        raise Refusal(404, "not found")

    def _collection(self, ask: Ask) -> Answer:
        if ask.method == "GET":
            return Answer.json({"deployments": [one.as_json() for one in self._deployments]})
        if ask.method == "POST":
            return _told(self._deployments.create(ask.json()))
        raise wrong_method(ask)

    def _one(self, ask: Ask, id_: str) -> Answer:
        if ask.method == "GET":
            return _told(self._deployments[id_])
        if ask.method == "PUT":
            return _told(self._deployments.change(id_, ask.json()))
        if ask.method == "DELETE":
            self._deployments.delete(id_)
            return Answer.json({"deleted": id_})
        raise wrong_method(ask)

    def _part(self, ask: Ask, id_: str, part: str) -> Answer:
        wanted = {"start": "POST", "stop": "POST", "containers": "GET", "webhook/restart": "PUT"}[part]
        if ask.method != wanted:
            raise wrong_method(ask)
        if part == "start":
            return _told(self._deployments.start_one(id_))
        if part == "stop":
            return _told(self._deployments.stop_one(id_))
        if part == "containers":
            return Answer.json({"containers": [_shown(one) for one in self._deployments[id_].containers()]})
        return self._webhook(ask, self._deployments[id_])

    def _webhook(self, ask: Ask, one: Deployment) -> Answer:
        told = ask.json()
        is_enabled = told.get("enabled") if isinstance(told, dict) else None
        if not isinstance(is_enabled, bool):
            raise Refusal(400, "the body must be {'enabled': true} or {'enabled': false}")
        one.enable_webhook(is_enabled)
        path = f"/api/v2/deployments/{one.id}/webhook/restart?token={one.webhook}"
        return Answer.json(
            {"deployment_id": one.id, "token": one.webhook, "enabled": is_enabled, "full_url_path": path}
        )

    def _container(self, ask: Ask, id_: str, what: str) -> Answer:
        if ask.method != "POST":
            raise wrong_method(ask)
        container = self._deployments.container(id_)
        container.kill() if what == "kill" else container.stop(self._faults().stop_seconds)
        return Answer.json({"task_id": str(uuid.uuid4())})

    def _hosts(self, ask: Ask, id_: str | None, pool: str | None) -> Answer:
        if ask.method != "GET":
            raise wrong_method(ask)
        interfaces = {"eth0": self._address, "docker0": DOCKER0, "public_ip": self._address}
        host = {"host_id": HOST_ID, "hostname": HOST_ID, "pool_id": POOLS[0], "interfaces": interfaces}
        if id_ is None:
            return Answer.json({"hosts": [host] if pool in (None, POOLS[0]) else []})
        if id_ != HOST_ID:
            raise Refusal(404, "host ID not found")
        return Answer.json({"host": host})


def _told(one: Deployment) -> Answer:
    return Answer.json({"deployment": one.as_json()})


def _shown(one: Container) -> dict[str, Any]:
    ports = [{"container_port": container, "host_port": port} for container, port in one.ports.items()]
    is_up = one.state is State.RUNNING
    return {
        "container_id": one.id,
        "container_name": one.name,
        "state": one.state.value,
        "ports": ports if is_up else [],
    }
