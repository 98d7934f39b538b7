"""
proxy.resource: the router as a `twisted.web` resource, to be mounted in any Site. The same exchange as `downstream`.

Also the door for HTTP/2, which twisted.web speaks over TLS where the package ``h2`` is installed. twisted.web collects
a request's body before it asks a resource; use the proxy port where uploads must be streamed, or for WebSockets.
"""

from __future__ import annotations

import re
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
from rolling_router.proxy.draining import Stream
from rolling_router.proxy.exchange import Exchange
from rolling_router.proxy.headers import KINDS, Field, Kind
from rolling_router.proxy.reader import RequestReader
from rolling_router.proxy.refusal import Refusal
from rolling_router.proxy.request import Body, Request
from rolling_router.proxy.response import Response
from rolling_router.proxy.side import Side
from rolling_router.proxy.trust import Trust
from rolling_router.proxy.tunnel import Tunnel
from rolling_router.routing.fleet import Load

_PIECE_BYTES = 65536
# twisted.web has taken the body out of its framing, and keeps its connection by itself; it has no tunnels.
_LEFT_OUT = (Kind.CONTENT_LENGTH, Kind.TRANSFER_ENCODING, Kind.CONNECTION, Kind.UPGRADE, Kind.EXPECT)
_ENDS_A_WORD = re.compile(rb"[\0- ]")
_ENDS_A_LINE = re.compile(rb"[\r\n\0]")


@implementer(IResource)
class RouterResource:
    """
    Splits the requests of a Site as the proxy port does.

    :param dispatch: has the router whose snapshot is followed.    :param trust: whose forwarded headers are believed.
    :param via: the name that this router goes by in ``Via``; none is added where it is empty.
    :param visits: has the requests in hand while they are, for `proxy.draining`.
    """

    isLeaf = True

    def __init__(
        self, dispatch: Dispatch, trust: Trust | None = None, via: bytes = b"", visits: set[Stream] | None = None
    ) -> None:
        self._dispatch = dispatch
        self._via = via
        self._visits: set[Stream] = set() if visits is None else visits
        self._trust = Trust() if trust is None else trust

    def getChildWithDefault(self, name: bytes, request: Any) -> RouterResource:
        return self

    def putChild(self, path: bytes, child: Any) -> None:
        raise TypeError("a RouterResource passes everything on; mount other resources beside it, not below it")

    def render(self, request: Any) -> int:
        visit = _Visit(request, self._dispatch, self._visits)
        peer = self._trust.peer(request.getClientAddress(), request.isSecure())
        dispatch = self._dispatch
        reader = RequestReader(peer, self._trust, dispatch.limits, dispatch.router.private_cookies, self._via)
        length = _length(request)
        refusal = getattr(request, "refusal", None) or _why_it_is_not_one_head(request)
        if refusal is None:
            reader.feed(_head(request, length))
            refusal = reader.refusal or _why_it_is_not_one_request(reader, length)
        if refusal is not None:
            asked = Request(peer)
            asked.protocol = _protocol(request)
            dispatch.refuse(asked, visit, refusal)
        else:
            asked = reader.waiting[0]
            asked.protocol = _protocol(request)
            if self._via and request.clientproto == b"HTTP/2":
                asked.forwarded = asked.forwarded.replace(b"\r\nVia: 1.1 ", b"\r\nVia: 2.0 ")
            visit.begin(asked)
        return NOT_DONE_YET


@implementer(IPushProducer)
class _Visit:
    """One request of the Site: the client's side of its exchange; see `proxy.exchange.ClientSide`."""

    def __init__(self, web: Any, dispatch: Dispatch, visits: set[Stream]) -> None:
        self._web = web
        self._dispatch = dispatch
        self._visits = visits
        self._exchange: Exchange | None = None
        self._is_pumping = False
        self._is_held = False
        web.defaultContentType = None  # what the instance says of its answer is all there is to say
        gone: Deferred[None] = web.notifyFinish()
        gone.addErrback(self._client_lost)

    def begin(self, request: Request) -> None:
        request.is_complete = True
        self._exchange = exchange = Exchange(request, self, perf_counter())
        self._visits.add(self)
        exchange.is_request_over = request.length == 0
        self._web.registerProducer(self, True)
        self._dispatch.begin(exchange)
        self.resume_request()

    # The client takes no more of the answer, or does again

    def pauseProducing(self) -> None:
        self._is_held = True
        self._hold()

    def _hold(self) -> None:
        """An answer that has not begun is waited for as any other; `answered` comes back to it."""
        exchange = self._exchange
        if exchange is not None and exchange.instance is not None and exchange.response is not None:
            exchange.instance.pause_answer()

    def resumeProducing(self) -> None:
        self._is_held = False
        if self._exchange is not None and self._exchange.instance is not None:
            self._exchange.instance.resume_answer()

    def stopProducing(self) -> None:
        """The connection is gone; `_client_lost` tells the rest."""

    # An event stream, when its instance has left; as in `Downstream`

    def stream_on(self) -> Load | None:
        return None if self._exchange is None else self._exchange.stream_on()

    def end_stream(self) -> None:
        assert self._exchange is not None
        self._exchange.end_stream()

    # The client's side of an exchange

    def informed(self, exchange: Exchange, response: Response) -> None:
        """twisted.web has no way to pass on an interim answer, and nobody may depend on one (RFC 9110 section 15.2)."""

    def answered(self, exchange: Exchange, head: Response | None, pieces: Sequence[bytes], is_over: bool) -> None:
        if head is not None:
            self._write_head(exchange, head.status, head.phrase, [*head.fields, *self._dispatch.told(exchange, head)])
        for piece in pieces:
            exchange.bytes_out += len(piece)
            self._web.write(piece)
        if is_over:
            self._finish(exchange)
            self._web.finish()
        elif self._is_held:
            self._hold()

    def switched(self, exchange: Exchange, head: Response, instance: Side, rest: bytes) -> Tunnel:
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
        # twisted.web's own; the instance has its say.
        self._web.responseHeaders.removeHeader(b"server")
        if any(KINDS[name] is Kind.DATE for name, _ in fields):
            self._web.responseHeaders.removeHeader(b"date")
        for name, value in fields:
            if KINDS[name] is not Kind.TRANSFER_ENCODING:
                self._web.responseHeaders.addRawHeader(name, value)

    def _client_lost(self, reason: Failure) -> None:
        exchange = self._exchange
        if exchange is not None:
            exchange.client_lost()
            self._finish(exchange)

    def _finish(self, exchange: Exchange) -> None:
        self._exchange = None
        self._visits.discard(self)
        if self._web.producer is self and self._web.channel is not None:  # it has none where the client left
            self._web.unregisterProducer()
        self._dispatch.finish(exchange)


def _protocol(web: Any) -> bytes:
    """As the access log has it, and other servers' logs; see `Request.protocol`."""
    protocol: bytes = web.clientproto
    return b"HTTP/2.0" if protocol == b"HTTP/2" else protocol


def _length(web: Any) -> int:
    """Bytes of its body, which is left at its beginning."""
    web.content.seek(0, 2)
    length: int = web.content.tell()
    web.content.seek(0)
    return length


def _head(web: Any, length: int) -> bytes:
    """The request as HTTP/1.1 has it: so that it passes the same rules as one from the proxy port."""
    lines = [b"%b %b HTTP/1.1\r\n" % (web.method, web.uri)]
    for name, values in web.requestHeaders.getAllRawHeaders():
        if KINDS[name] not in _LEFT_OUT:
            lines += [b"%b: %b\r\n" % (name, value) for value in values]
    if length or web.method in (b"POST", b"PUT", b"PATCH"):
        lines.append(b"Content-Length: %d\r\n" % length)
    return b"".join(lines) + b"\r\n"


def _why_it_is_not_one_head(web: Any) -> Refusal | None:
    """
    HTTP/2 carries any bytes, and up to h2 4.2 any came through (RFC 9113 sections 8.2.1 and 10.3).

    In HTTP/1.1 some of them end a line, and what follows would be a field, or a request, that nobody has looked at.
    """
    if _ENDS_A_WORD.search(web.method) or _ENDS_A_WORD.search(web.uri):
        return Refusal(400, "The request's method or address has a blank or a control character in it.")
    for name, values in web.requestHeaders.getAllRawHeaders():
        if b":" in name or _ENDS_A_WORD.search(name):
            return Refusal(400, "The name of a field of the request has a blank, a colon or a control character in it.")
        if any(map(_ENDS_A_LINE.search, values)):
            return Refusal(400, "A field of the request has a CR, LF or NUL in it.")
    return None


def _why_it_is_not_one_request(reader: RequestReader, length: int) -> Refusal | None:
    """What was read of `_head` is one request, whole but for this body; or this says why it is not passed on."""
    if len(reader.waiting) == 1 and not reader.is_inside_head and reader.surplus is None:
        request = reader.waiting[0]
        if request.length == length and not request.pieces and request.body is not Body.CHUNKED:
            return None
    return Refusal(400, "The request is more, or less, than one.")
