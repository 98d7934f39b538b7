"""admin.problems: what the settings port answers when it refuses, as RFC 9457 has it. Raised anywhere in `admin`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

import attrs
from twisted.web.http import Request

CONTENT_TYPE = b"application/problem+json"

TITLES = {
    "bad-field": "A field cannot be used",
    "bad-json": "The body is not JSON",
    "bad-request": "The request cannot be understood",
    "bearer-refused": "No connection could be made",
    "busy": "Others change the settings at the same time",
    "cross-site": "This did not come from the settings page",
    "history-unreadable": "The history cannot be read",
    "host-refused": "The admin host cannot be used",
    "host-silent": "No connection could be made",
    "if-match-needed": "The revision is missing",
    "method-not-allowed": "This cannot be done here",
    "mistake": "The router made a mistake",
    "not-found": "There is nothing here",
    "not-json": "The body must be JSON",
    "operator-needed": "Only operators may do this",
    "operator-token-needed": "Sign in with an operator token first",
    "other-app": "This router serves another application",
    "refused": "This cannot be done",
    "sign-in-failed": "Sign-in failed",
    "sign-in-needed": "Sign in first",
    "slow-down": "Too many failed sign-ins",
    "stale": "The settings were changed meanwhile",
    "store-lost": "The store did not answer",
    "too-large": "The body is too large",
    "too-many-listeners": "Too many pages are open",
    "unfinished": "The store left in the middle of the change",
    "wrong-host": "The router is not known by this name",
}


@attrs.define(eq=False)
class Problem(Exception):
    """
    A refusal, on its way to the client.

    :ivar code: a key of `TITLES`, for programs.    :ivar detail: a sentence for people, without secrets.
    :ivar more: further members of the object.    :ivar headers: further fields of the answer.
    """

    status: int
    code: str
    detail: str
    more: Mapping[str, Any] = attrs.field(factory=dict)
    headers: Mapping[str, str] = attrs.field(factory=dict)

    def __str__(self) -> str:
        return f"{self.status} {self.code}: {self.detail}"

    def answer(self, request: Request) -> bytes:
        """Set status and fields; gives the body."""
        request.setResponseCode(self.status, HTTPStatus(self.status).phrase.encode("ascii"))  # twisted lacks some
        request.setHeader(b"Content-Type", CONTENT_TYPE)
        for name, value in self.headers.items():
            request.setHeader(name, value)
        return sized(request, self.body())

    def body(self) -> bytes:
        shown = {
            "type": f"urn:rolling-router:{self.code}",
            "code": self.code,
            "status": self.status,
            "title": TITLES[self.code],
            "detail": self.detail,
            **self.more,
        }
        return as_json(shown)


def sized(request: Request, body: bytes) -> bytes:
    """Say how long the answer is, which is known here; it would be sent in chunks otherwise."""
    request.setHeader(b"Content-Length", b"%d" % len(body))
    return body


def bad_field(field: str, detail: str) -> Problem:
    return Problem(422, "bad-field", detail, {"field": field})


def as_json(value: Any) -> bytes:
    """JSON in ASCII, so that no text in it can end a line or a frame around it, whatever the reader takes as one."""
    return json.dumps(value, ensure_ascii=True, allow_nan=False, separators=(",", ":")).encode("ascii") + b"\n"
