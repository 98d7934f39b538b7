"""occs.emulator.asked: a request and its answer as values, so that routes need no connection. Used by all routes."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import attrs

JSON = "application/json"
TEXT = "text/plain; charset=utf-8"
_FALSE = ("false", "0", "no")


@attrs.frozen
class Ask:
    """
    One request.

    :ivar path: decoded, with its first slash.    :ivar query: name to the last value that was given.
    :ivar authorization: that header, or the empty string.
    """

    method: str
    path: str
    query: Mapping[str, str] = attrs.field(factory=dict)
    body: bytes = b""
    authorization: str = ""

    def is_on(self, name: str) -> bool:
        """Whether a switch such as ``?recurse`` or ``?raw=true`` was given and not denied."""
        return name in self.query and self.query[name].lower() not in _FALSE

    def json(self) -> Any:
        """
        The body as JSON, whatever its media type claims: curl calls everything a form.

        :raises Refusal: it is none (400).
        """
        try:
            return json.loads(self.body)
        except (ValueError, RecursionError) as wrong:
            raise Refusal(400, f"the body is no JSON: {wrong}") from None


@attrs.frozen
class Answer:
    """One answer. `content_type` is ``None`` where there is no body to name."""

    status: int
    body: bytes
    content_type: str | None = JSON

    @classmethod
    def json(cls, value: Any, status: int = 200) -> Answer:
        return cls(status, json.dumps(value).encode("ascii"))


class Refusal(Exception):
    """An answer in the form that the original's errors have, `{"errors": [{"message": ...}]}`."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        # Deploy scripts pass replies through an HTML entity decoder; nothing in a text may turn into a quote there.
        plain = message.replace("&", "and").replace('"', "'")
        self.answer = Answer.json({"errors": [{"message": plain}]}, status)


UNAUTHORIZED = 401


def unauthorized() -> Refusal:
    return Refusal(UNAUTHORIZED, "Unauthorized")


def wrong_method(ask: Ask) -> Refusal:
    return Refusal(405, f"{ask.method} is not possible here")
