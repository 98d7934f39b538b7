"""proxy.answers: what the router says in its own name. Short, plain, and of use to whoever reads it. Pure."""

from __future__ import annotations

from http import HTTPStatus

from rolling_router.proxy.headers import Field

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
    if status == HTTPStatus.METHOD_NOT_ALLOWED:
        fields.append((b"Allow", b"GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"))
    return fields, encoded


def phrase(status: int) -> bytes:
    return HTTPStatus(status).phrase.encode("ascii")
