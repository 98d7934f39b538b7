"""A manager that answers as a test tells it to, in memory, and a client of it whose clock is turned by hand."""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Mapping
from typing import Any
from urllib.parse import unquote

import attrs
from treq.testing import RequestTraversalAgent
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET

from rolling_router.occs.client import OccsClient
from rolling_router.occs.keys import MANAGER_FORMS
from rolling_router.occs.token import Token

SECRET = "6e0b6f4c1f0c4f0e"


@attrs.frozen
class Asked:
    """One request that came."""

    method: str
    target: str
    authorization: str | None
    body: bytes


class OddManager(Resource):
    """Answers with the next of `answers`, and with the last of them from then on; ``None`` is no answer at all."""

    isLeaf = True

    def __init__(self, *answers: tuple[int, bytes] | None) -> None:
        super().__init__()
        self.answers = list(answers)
        self.asked: list[Asked] = []

    def render(self, request: Any) -> Any:
        authorization = request.getHeader("Authorization")
        self.asked.append(Asked(request.method.decode(), request.uri.decode(), authorization, request.content.read()))
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if answer is None:
            return NOT_DONE_YET
        request.setResponseCode(answer[0])
        return answer[1]


class Bench:
    """An `OddManager` and a client of it."""

    def __init__(
        self, *answers: tuple[int, bytes] | None, token: Token | None = None, forms: Any = MANAGER_FORMS
    ) -> None:
        self.manager = OddManager(*answers)
        self.clock = Clock()
        self.client = OccsClient(
            self.clock,
            RequestTraversalAgent(self.manager),
            "https://manager.example",
            token or Token(SECRET),
            forms=forms,
        )

    def ended(self, call: Any, seconds: float = 0.0) -> Any:
        """What this coroutine gives or raises within so many seconds."""
        results: list[Any] = []
        Deferred.fromCoroutine(call).addBoth(results.append)
        self.clock.pump([0.05] * round(seconds / 0.05))
        assert results, f"not ended within {seconds} seconds"
        if isinstance(results[0], Failure):
            results[0].raiseException()
        return results[0]


def said(document: Any, status: int = 200) -> tuple[int, bytes]:
    return status, json.dumps(document).encode()


class KeysManager(Resource):
    """
    A manager that has keys, and does nothing else.

    :ivar keys: change them at will.    :ivar status: of every answer.    :ivar asked: what was asked for, in order.
    """

    isLeaf = True

    def __init__(self, keys: Mapping[str, str]) -> None:
        super().__init__()
        self.keys = dict(keys)
        self.status = 200
        self.asked: list[str] = []

    def render(self, request: Any) -> bytes:
        key = unquote(request.path.decode()).removeprefix("/api/kv/")
        method = request.method.decode()
        self.asked.append(f"{method} {key}")
        request.setResponseCode(self.status)
        if self.status != 200:
            return b"<html>"
        if method == "PUT":
            self.keys[key] = request.content.read().decode()
        elif method == "DELETE":
            self.keys.pop(key, None)
        if method != "GET":
            return b"true"
        is_recursive = request.uri.endswith(b"?recurse")
        found = sorted(one for one in self.keys if (one.startswith(key) if is_recursive else one == key))
        values = [{"Key": one, "Value": b64encode(self.keys[one].encode()).decode()} for one in found]
        return json.dumps(values).encode()
