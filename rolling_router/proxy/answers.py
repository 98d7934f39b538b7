"""proxy.answers: heads as clients get them, and what the router says in its own name: short and plain. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from http import HTTPStatus

from rolling_router.proxy.headers import Field, written

RETRY_AFTER_SECONDS = 5


def own_answer(status: int, text: str, request_id: bytes) -> tuple[list[Field], bytes]:
    """
    Head fields and body of an answer of our own.

    :param text: a sentence for the person who reads it; it must show nothing that another client sent.
    """
    body = f"{status} {phrase(status).decode('ascii')}\n\n{text}\n"
    if request_id:
        body += f"\nRequest: {request_id.decode('ascii')}\n"
    encoded = body.encode("utf-8")
    fields: list[Field] = [
        (b"Content-Type", b"text/plain; charset=utf-8"),
        (b"Content-Length", b"%d" % len(encoded)),
        (b"Cache-Control", b"no-store"),
        (b"X-Content-Type-Options", b"nosniff"),
    ]
    if request_id:
        fields.append((b"X-Request-ID", request_id))
    if status == HTTPStatus.SERVICE_UNAVAILABLE:
        fields.append((b"Retry-After", b"%d" % RETRY_AFTER_SECONDS))
    if status in (HTTPStatus.OK, HTTPStatus.METHOD_NOT_ALLOWED):  # the former to OPTIONS, in place of an instance
        fields.append((b"Allow", b"GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"))
    return fields, encoded


def head_of(status: int, reason: bytes, fields: Sequence[Field]) -> bytes:
    """A whole head, the empty line included."""
    return b"HTTP/1.1 %d %b\r\n%b\r\n" % (status, reason, written(fields))


def persistence(minor: int, closes: bool) -> Sequence[Field]:
    """
    What tells a client whether its connection stays (RFC 9112 section 9.3).

    :param minor: of its HTTP version.    :param closes: whether the connection ends with this answer.
    """
    if closes:
        return ((b"Connection", b"close"),)
    return () if minor else ((b"Connection", b"keep-alive"),)


def phrase(status: int) -> bytes:
    return HTTPStatus(status).phrase.encode("ascii")
