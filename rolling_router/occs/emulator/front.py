"""
occs.emulator.front: one door's twisted.web resource. Turns requests into `Ask`s, `Answer`s into answers, and does what
the faults say on the way. Knows no route.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import unquote_to_bytes

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import deferLater
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Request, Site

from rolling_router.occs.emulator.asked import Answer, Ask, Refusal
from rolling_router.occs.emulator.faults import Outage

_log = Logger()

Route = Callable[[Ask], Awaitable[Answer]]


class Front(Resource):
    """Everything below one port."""

    isLeaf = True

    def __init__(self, clock: Any, route: Route, outage: Callable[[], Outage], latency: Callable[[], float]) -> None:
        """:param outage: asked at each request, as is `latency` (seconds)."""
        super().__init__()
        self._clock = clock
        self._route = route
        self._outage = outage
        self._latency = latency

    def render(self, request: Request) -> int:
        running = Deferred.fromCoroutine(self._serve(request))
        running.addErrback(_trouble, request)
        request.notifyFinish().addErrback(lambda _: running.cancel())
        return NOT_DONE_YET

    async def _serve(self, request: Request) -> None:
        try:
            ask = _ask(request)
            await deferLater(self._clock, self._latency())
            answer = await self._answer(ask, request)
        except Refusal as refusal:
            answer = refusal.answer
        if answer is not None:
            _write(request, answer)

    async def _answer(self, ask: Ask, request: Request) -> Answer | None:
        """``None``: there is nobody left to answer."""
        outage = self._outage()
        if outage is Outage.HANG:
            await Deferred()  # until the client leaves
        if outage is Outage.REFUSE:  # a connection from before, or one that waited in between
            connection: Any = request.transport
            connection.abortConnection()
            return None
        if outage is Outage.ERROR:
            raise Refusal(500, "Internal Server Error")
        return await self._route(ask)


class QuietSite(Site):
    """A site that logs no request: tokens of webhooks are in their lines, and polls would bury the rest."""

    noisy = False
    displayTracebacks = False

    def __init__(self, resource: Resource, reactor: Any) -> None:
        super().__init__(resource, timeout=60, reactor=reactor)

    def acceptableProtocols(self) -> list[bytes]:
        """HTTP/1.1 as the original, also where h2 is installed."""
        return [b"http/1.1"]

    def log(self, request: Any) -> None:
        """Nothing."""


def _ask(request: Request) -> Ask:
    path, _, query = request.uri.partition(b"?")
    assert request.content is not None
    return Ask(
        request.method.decode("latin-1"),
        _text(path),
        {_text(name): _text(value) for name, value in _pairs(query)},
        request.content.read(),
        (request.getHeader(b"authorization") or b"").decode("latin-1"),
    )


def _pairs(query: bytes) -> list[tuple[bytes, bytes]]:
    parts = (part.partition(b"=") for part in query.split(b"&") if part)
    return [(name, value.replace(b"+", b" ")) for name, _, value in parts]


def _text(raw: bytes) -> str:
    try:
        return unquote_to_bytes(raw).decode("utf-8")
    except UnicodeDecodeError:
        raise Refusal(400, "the address is not UTF-8") from None


def _write(request: Request, answer: Answer) -> None:
    request.setResponseCode(answer.status)
    if answer.content_type is not None:
        request.setHeader(b"Content-Type", answer.content_type.encode("ascii"))
    request.setHeader(b"Content-Length", b"%d" % len(answer.body))
    if request.method != b"HEAD":
        request.write(answer.body)
    request.finish()


def _trouble(failure: Failure, request: Request) -> None:
    if failure.check(CancelledError):
        return  # the client has left
    _log.failure("a request could not be answered", failure)
    _write(request, Refusal(500, "Internal Server Error").answer)
