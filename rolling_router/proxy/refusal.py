"""proxy.refusal: a request that is not passed on, and what its client is told. Raised by `reader` and its parts."""

from __future__ import annotations

from httptools import HttpParserInvalidMethodError

from rolling_router.proxy.limits import Limits


class Refusal(Exception):
    """
    A request that is not passed on. `status` and the text are what the client gets.

    :ivar limit: the name of the limit that acted, as in `proxy.limits.ACTING`; empty where it was none.
    """

    def __init__(self, status: int, text: str, limit: str = "") -> None:
        super().__init__(text)
        self.status = status
        self.text = text
        self.limit = limit


def target_too_long(limits: Limits) -> Refusal:
    return Refusal(414, f"The request's address is longer than {limits.line_bytes} bytes.", "line-bytes")


def head_too_long(limits: Limits) -> Refusal:
    return Refusal(431, f"The request's head is longer than {limits.head_bytes} bytes.", "head-bytes")


def body_too_long(limits: Limits) -> Refusal:
    return Refusal(413, f"The request's body is longer than {limits.body_bytes} bytes.", "body-bytes")


def collected_too_long(most_bytes: int) -> Refusal:
    """For bodies that are collected before they are sent on."""
    return Refusal(413, f"The request's body is longer than {most_bytes} bytes.", "body-bytes")


def why(wrong: Exception) -> Refusal:
    """What ended llhttp's reading -> what to tell the client. A refusal of ours within a callback is behind it."""
    if isinstance(wrong, Refusal):
        return wrong
    if isinstance(wrong, HttpParserInvalidMethodError):
        return Refusal(501, "The request's method is not one of HTTP.")
    cause = wrong.__context__
    if isinstance(cause, Refusal):
        return cause
    return Refusal(400, f"The request is not well-formed HTTP: {wrong}.")
