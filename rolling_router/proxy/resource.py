"""
proxy.resource: the router as a `twisted.web` resource, to be mounted in any Site. The same exchange as `downstream`.

Also the door for HTTP/2, which twisted.web speaks over TLS where the package ``h2`` is installed. twisted.web collects
a request's body before it asks a resource; use the proxy port where uploads must be streamed, or for WebSockets.
"""

from __future__ import annotations

from collections.abc import Sequence
from time import perf_counter
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IPushProducer
from twisted.python.failure import Failure
from twisted.web.resource import IResource
from twisted.web.server import NOT_DONE_YET
from zope.interface import implementer

from rolling_router.proxy.answers import own_answer, phrase
from rolling_router.proxy.dispatch import Dispatch
from rolling_router.proxy.exchange import Exchange
from rolling_router.proxy.headers import KINDS, Field, Kind
from rolling_router.proxy.reader import Refusal, RequestReader
from rolling_router.proxy.request import Request, new_request_id
from rolling_router.proxy.response import Response
from rolling_router.proxy.trust import Peer, Trust
from rolling_router.proxy.tunnel import Tunnel
from rolling_router.routing.place import Reason

_PIECE_BYTES = 65536
# twisted.web has taken the body out of its framing, and keeps its connection by itself; it has no tunnels.
_LEFT_OUT = (Kind.CONTENT_LENGTH, Kind.TRANSFER_ENCODING, Kind.CONNECTION, Kind.UPGRADE, Kind.EXPECT)


@implementer(IResource)
class RouterResource:
    """
    Splits the requests of a Site as the proxy port does.

    :param dispatch: has the router whose snapshot is followed.    :param trust: whose forwarded headers are believed.
    """

    isLeaf = True

    def __init__(self, dispatch: Dispatch, trust: Trust | None = None) -> None:
        self._dispatch = dispatch
        self._trust = Trust() if trust is None else trust

    def getChildWithDefault(self, name: bytes, request: Any) -> RouterResource:
        return self

    def putChild(self, path: bytes, child: Any) -> None:
        raise TypeError("a RouterResource passes everything on; mount other resources beside it, not below it")

    def render(self, request: Any) -> int:
        visit = _Visit(request, self._dispatch)
        address = getattr(request.getClientAddress(), "host", None) or ""
        peer = Peer(address, request.isSecure(), self._trust.covers(address))
        reader = RequestReader(peer, self._trust, self._dispatch.limits, self._dispatch.router.private_cookies)
        reader.feed(_head(request))
        if reader.refusal is not None:
            visit.refuse(Request(peer), reader.refusal)
        else:
            visit.begin(reader.waiting[0])
        return NOT_DONE_YET


@implementer(IPushProducer)
class _Visit:
    """One request of the Site: the client's side of its exchange; see `proxy.exchange.ClientSide`."""

    def __init__(self, web: Any, dispatch: Dispatch) -> None:
        self._web = web
        self._dispatch = dispatch
        self._exchange: Exchange | None = None
        self._is_pumping = False
        web.defaultContentType = None  # what the instance says of its answer is all there is to say
        gone: Deferred[None] = web.notifyFinish()
        gone.addErrback(self._client_lost)

    def begin(self, request: Request) -> None:
        request.is_complete = True
        self._exchange = exchange = Exchange(request, self, perf_counter())
        exchange.is_request_over = request.length == 0
        self._web.registerProducer(self, True)
        self._dispatch.begin(exchange)
        self.resume_request()

    def refuse(self, request: Request, refusal: Refusal) -> None:
        request.id = new_request_id()
        self._exchange = exchange = Exchange(request, self, perf_counter())
        exchange.reason = Reason.REFUSED
        self.refused(exchange, refusal.status, refusal.text)

    # The client takes no more of the answer, or does again

    def pauseProducing(self) -> None:
        if self._exchange is not None and self._exchange.instance is not None:
            self._exchange.instance.pause_answer()

    def resumeProducing(self) -> None:
        if self._exchange is not None and self._exchange.instance is not None:
            self._exchange.instance.resume_answer()

    def stopProducing(self) -> None:
        """The connection is gone; `_client_lost` tells the rest."""

    # The client's side of an exchange

    def informed(self, exchange: Exchange, response: Response) -> None:
        """twisted.web has no way to pass on an interim answer, and nobody may depend on one (RFC 9110 section 15.2)."""

    def answered(self, exchange: Exchange, head: Response | None, pieces: Sequence[bytes], is_over: bool) -> None:
        if head is not None:
            self._write_head(exchange, head.status, head.phrase, head.fields + self._dispatch.told(exchange, head))
        for piece in pieces:
            exchange.bytes_out += len(piece)
            self._web.write(piece)
        if is_over:
            self._finish(exchange)
            self._web.finish()

    def switched(self, exchange: Exchange, head: Response, instance: Any, rest: bytes) -> Tunnel:
        raise NotImplementedError("no Upgrade is ever sent from here")

    def refused(self, exchange: Exchange, status: int, text: str) -> None:
        fields, body = own_answer(status, text, exchange.request.id)
        self._write_head(exchange, status, phrase(status), fields)
        exchange.bytes_out += len(body)
        self._web.write(body)
        self._finish(exchange)
        self._web.finish()

    def cut(self, exchange: Exchange) -> None:
        exchange.is_cut = True
        self._finish(exchange)
        # HTTP/2 resets the stream, HTTP/1.1 can only end the connection.
        channel = self._web.channel
        getattr(channel, "abortConnection", channel.loseConnection)()

    def pause_request(self) -> None:
        """`resume_request` looks by itself whether it may go on."""

    def resume_request(self) -> None:
        """Send more of the body, as much as the instance takes."""
        exchange = self._exchange
        if exchange is None or self._is_pumping:
            return
        self._is_pumping = True
        while not exchange.is_over and not exchange.is_request_over and not exchange.must_wait:
            piece = self._web.content.read(_PIECE_BYTES)
            if piece:
                exchange.body_came([piece])
            if len(piece) < _PIECE_BYTES:
                exchange.body_ended()
        self._is_pumping = False

    def _write_head(self, exchange: Exchange, status: int, words: bytes, fields: Sequence[Field]) -> None:
        exchange.status = status
        exchange.answered_at = perf_counter()
        self._web.setResponseCode(status, words)
        for name in (b"server", b"date"):
            self._web.responseHeaders.removeHeader(name)  # twisted.web's own; the instance has its say
        for name, value in fields:
            if KINDS[name] is not Kind.TRANSFER_ENCODING:
                self._web.responseHeaders.addRawHeader(name, value)

    def _client_lost(self, reason: Failure) -> None:
        exchange = self._exchange
        if exchange is None:
            return
        exchange.is_cut = True
        if exchange.instance is not None:
            exchange.instance.abandon()
        self._finish(exchange)

    def _finish(self, exchange: Exchange) -> None:
        self._exchange = None
        if self._web.producer is self:
            self._web.unregisterProducer()
        self._dispatch.finish(exchange)


def _head(web: Any) -> bytes:
    """The request as HTTP/1.1 has it: so that it passes the same rules as one from the proxy port."""
    lines = [b"%b %b HTTP/1.1\r\n" % (web.method, web.uri)]
    for name, values in web.requestHeaders.getAllRawHeaders():
        if KINDS[name] not in _LEFT_OUT:
            lines += [b"%b: %b\r\n" % (name, value) for value in values]
    web.content.seek(0, 2)
    length = web.content.tell()
    web.content.seek(0)
    if length or web.method in (b"POST", b"PUT", b"PATCH"):
        lines.append(b"Content-Length: %d\r\n" % length)
    return b"".join(lines) + b"\r\n"
