"""
hello_world.app: the resources, and the site that they make. Served by `__main__`; knows nothing of the router.

Beside the page there is one resource for each kind of traffic that a proxy has to carry well:
slow answers, endless ones, large ones, large requests, and WebSockets.
"""

from __future__ import annotations

import hashlib
import html
import itertools
import os
import secrets
from collections import OrderedDict
from collections.abc import Coroutine, Iterable
from typing import Any

from twisted.internet import task
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IPullProducer
from twisted.protocols.basic import FileSender
from twisted.python.failure import Failure
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Request, Site
from twisted.web.websocket import WebSocketResource, WebSocketTransport
from zope.interface import implementer

SESSION_COOKIE = b"hello_session"
_SESSIONS_KEPT = 10_000
_CHUNK = b"0123456789abcdef" * 4096

_PAGE = """\
<!doctype html>
<html lang="en">
<head><meta charset="utf-8"><title>Hello World {version}</title></head>
<body style="background: {colour}; font-family: sans-serif; text-align: center; padding-top: 20vh">
<h1>Running Hello World v. {version}</h1>
<p>Visits in this session: {visits}</p>
</body>
</html>
"""


def make_site(clock: Any, version: str, colour: str) -> Site:
    """
    Make the whole application.

    :param clock: the reactor, for `/slow` and `/events`.
    :param colour: of the page's background, in any spelling that CSS knows.
    """
    root = Resource()
    root.putChild(b"", Page(version, colour))
    root.putChild(b"healthz", Health())
    root.putChild(b"slow", Slow(clock))
    root.putChild(b"events", Events(clock, version))
    root.putChild(b"bytes", Bytes())
    root.putChild(b"echo", Echo())
    root.putChild(b"ws", WebSocketResource(EchoFactory()))
    return Site(root)


class Visits:
    """Counts visits by session, in memory: a client that is sent to another instance starts over, visibly."""

    def __init__(self, kept: int = _SESSIONS_KEPT):
        self._kept = kept
        self._counts: OrderedDict[bytes, int] = OrderedDict()

    def count(self, session: bytes | None) -> tuple[bytes, int]:
        """Count one visit. An unknown session gets a new name: to adopt a client's own would let others choose it."""
        if session is None or session not in self._counts:
            session = secrets.token_hex(16).encode("ascii")
        self._counts[session] = self._counts.pop(session, 0) + 1
        while len(self._counts) > self._kept:
            self._counts.popitem(last=False)
        return session, self._counts[session]


class Page(Resource):
    """The page: which version this is, in its colour, and how often this session has seen it."""

    def __init__(self, version: str, colour: str):
        super().__init__()
        self._version, self._colour = html.escape(version), html.escape(colour)
        self._visits = Visits()

    def render_GET(self, request: Request) -> bytes:
        sent = request.getCookie(SESSION_COOKIE)
        session, visits = self._visits.count(sent)
        if session != sent:
            request.addCookie(SESSION_COOKIE, session, path=b"/", httpOnly=True, sameSite=b"lax")
        request.setHeader(b"content-type", b"text/html; charset=utf-8")
        request.setHeader(b"cache-control", b"no-store")
        page = _PAGE.format(version=self._version, colour=self._colour, visits=visits)
        return page.encode("utf-8")


class Health(Resource):
    """`/healthz`: this instance can serve."""

    def render_GET(self, request: Request) -> bytes:
        return _plain(request, 200, "ok")


class Slow(Resource):
    """`/slow?seconds=2`: one answer, late."""

    def __init__(self, clock: Any):
        super().__init__()
        self._clock = clock

    def render_GET(self, request: Request) -> bytes | int:
        try:
            seconds = _number(request, b"seconds", most=600)
        except ValueError as wrong:
            return _plain(request, 400, str(wrong))
        return _answer(request, self._wait(request, 2 if seconds is None else seconds))

    async def _wait(self, request: Request, seconds: int) -> None:
        await task.deferLater(self._clock, seconds)
        request.write(_plain(request, 200, f"{seconds} seconds later"))
        request.finish()


class Events(Resource):
    """`/events?count=`: Server-Sent Events, one a second, until `count` of them were sent or the client leaves."""

    def __init__(self, clock: Any, version: str):
        super().__init__()
        self._clock, self._version = clock, version

    def render_GET(self, request: Request) -> bytes | int:
        try:
            count = _number(request, b"count", most=10**9)
        except ValueError as wrong:
            return _plain(request, 400, str(wrong))
        return _answer(request, self._feed(request, itertools.count(1) if count is None else range(1, count + 1)))

    async def _feed(self, request: Request, numbers: Iterable[int]) -> None:
        request.setHeader(b"content-type", b"text/event-stream")
        request.setHeader(b"cache-control", b"no-store")
        for number in numbers:
            if number > 1:
                await task.deferLater(self._clock, 1.0)
            request.write(f"id: {number}\ndata: {number} from {self._version}\n\n".encode())
        request.finish()


class Bytes(Resource):
    """`/bytes?n=`: n bytes of known length, as fast as the client takes them."""

    def render_GET(self, request: Request) -> bytes | int:
        try:
            length = _number(request, b"n", most=10**12)
        except ValueError as wrong:
            return _plain(request, 400, str(wrong))
        length = 1024 if length is None else length
        request.setHeader(b"content-type", b"application/octet-stream")
        request.setHeader(b"content-length", b"%d" % length)
        if request.method == b"HEAD":
            return b""
        request.registerProducer(_Filling(request, length), False)
        return NOT_DONE_YET


@implementer(IPullProducer)
class _Filling:
    """Writes a chunk whenever the connection has room for one."""

    def __init__(self, request: Request, left: int):
        self._request, self._left = request, left

    def resumeProducing(self) -> None:
        chunk = _CHUNK[: self._left]
        self._left -= len(chunk)
        self._request.write(chunk)
        if not self._left:
            self._request.unregisterProducer()
            self._request.finish()

    def stopProducing(self) -> None:
        """The client has left; there is nothing to let go of."""


class Echo(Resource):
    """
    `/echo`: what was posted or put, back, with its digest.

    twisted.web keeps a request's body, a large one on disk, before it calls: so the digest can go ahead as a header.
    """

    def render_POST(self, request: Request) -> int:
        body = request.content
        length = body.seek(0, os.SEEK_END)
        body.seek(0)
        request.setHeader(b"content-type", request.getHeader(b"content-type") or b"application/octet-stream")
        request.setHeader(b"content-length", b"%d" % length)
        request.setHeader(b"x-sha256", hashlib.file_digest(body, "sha256").hexdigest().encode("ascii"))
        body.seek(0)
        sending = FileSender().beginFileTransfer(body, request)
        sending.addCallbacks(lambda _: _end(request), lambda _: None)  # it fails when the client has left
        return NOT_DONE_YET

    render_PUT = render_POST


class EchoFactory:
    """Makes an `EchoProtocol` for each WebSocket."""

    def buildProtocol(self, request: Request) -> EchoProtocol:
        return EchoProtocol()


class EchoProtocol:
    """`/ws`: every message back as it came, text as text and bytes as bytes."""

    def negotiationStarted(self, transport: WebSocketTransport) -> None:
        self._transport = transport

    def negotiationFinished(self) -> None:
        """Nothing to say before the client speaks."""

    def textMessageReceived(self, message: str) -> None:
        self._transport.sendTextMessage(message)

    def bytesMessageReceived(self, data: bytes | bytearray) -> None:
        self._transport.sendBytesMessage(bytes(data))

    def pongReceived(self, payload: bytes) -> None:
        """No pings are sent, so none is awaited."""

    def connectionLost(self, reason: Failure) -> None:
        """Nothing is held for a connection."""


def _number(request: Request, name: bytes, most: int) -> int | None:
    """
    Read a whole number from the query; ``None`` where it is not given.

    :raises ValueError: it is no number, or too large; the text says what would do.
    """
    texts = request.args.get(name)
    if not texts:
        return None
    if not texts[-1].isdigit() or len(texts[-1]) > 15 or int(texts[-1]) > most:
        raise ValueError(f"{name.decode()} must be a whole number from 0 to {most}")
    return int(texts[-1])


def _plain(request: Request, code: int, text: str) -> bytes:
    request.setResponseCode(code)
    request.setHeader(b"content-type", b"text/plain; charset=utf-8")
    return text.encode("utf-8") + b"\n"


def _answer(request: Request, answering: Coroutine[Any, Any, None]) -> int:
    """Let a coroutine answer, for as long as the client is there."""
    running = Deferred.fromCoroutine(answering)
    running.addErrback(lambda failure: failure.trap(CancelledError))
    request.notifyFinish().addErrback(lambda _: running.cancel())
    return NOT_DONE_YET


def _end(request: Request) -> None:
    request.unregisterProducer()
    request.finish()
