"""proxy.downstream: one client connection. Requests in, answers out, in their order; others decide what they mean."""

from __future__ import annotations

import enum
from collections.abc import Sequence
from time import perf_counter
from typing import TYPE_CHECKING, Any

from twisted.internet.interfaces import ISSLTransport
from twisted.internet.protocol import connectionDone
from twisted.python.failure import Failure

from rolling_router.proxy.answers import head_of, own_answer, persistence, phrase
from rolling_router.proxy.deadlines import NEVER
from rolling_router.proxy.exchange import Exchange
from rolling_router.proxy.headers import written_again
from rolling_router.proxy.reader import RequestReader
from rolling_router.proxy.refusal import Refusal
from rolling_router.proxy.request import Body, Request, chunk, last_chunk
from rolling_router.proxy.response import Response
from rolling_router.proxy.sending import has_unread
from rolling_router.proxy.side import Side
from rolling_router.proxy.tunnel import Tunnel
from rolling_router.routing.fleet import Load

if TYPE_CHECKING:
    from rolling_router.proxy.gate import Gate


_FIRST_SECONDS = 1.0
"""For the first request of a TLS connection that had not sent one when we began to drain."""


class _Wait(enum.Enum):
    """What the deadline is for."""

    HEAD = enum.auto()  # the head of a request: its first byte has come, or the connection is new
    IDLE = enum.auto()  # the next request
    BODY = enum.auto()  # more of a request's body
    INSTANCE = enum.auto()  # the answer: the connection to the instance keeps that deadline
    READER = enum.auto()  # the client, to take what is queued for it


# By names of this module: to look a member up in its class costs as much as a call, up to Python 3.11.
_HEAD, _IDLE, _BODY, _INSTANCE, _READER = _Wait
_, _KNOWN, _CHUNKED, _TO_CLOSE = Body


class Downstream(Side):
    """
    One client connection. It is the client's side of its exchanges, one at a time; see `proxy.exchange.ClientSide`.

    :ivar exchange: the request being answered.    :ivar deadline: see `proxy.deadlines`.
    """

    def __init__(self, gate: Gate) -> None:
        super().__init__(gate.deadlines, gate.limits, gate.dispatch.limited)
        self._gate = gate
        self._reader: RequestReader | None = None
        self.exchange: Exchange | None = None
        self._wait = _HEAD
        self._is_advancing = False
        self._is_held = False
        self._is_full = False  # the client takes no more of the answer for now
        self._closes = False
        self._chunks = False

    # Twisted's side

    def connectionMade(self) -> None:
        super().connectionMade()
        self._wait_for(_HEAD, self._limits.head_seconds)
        if not self._gate.opened(self, self.transport):
            self._is_over = True
            self.abort()
        elif self._gate.is_held:
            self._hold(True)
            self.deadline = NEVER

    def dataReceived(self, data: bytes) -> None:
        if self._is_over:
            if self._closing is not None:
                self._closing.heard()
            return
        if self._tunnel is not None:
            self._tunnel.from_client(data)
            return
        if self._reader is None:
            self._reader = self._gate.reader_of(self.transport)
        self._reader.feed(data)
        self._advance()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._gate.closed(self)
        self._lost()
        exchange, self.exchange = self.exchange, None
        if exchange is not None:
            exchange.client_lost()
            self._gate.dispatch.finish(exchange)

    def pauseProducing(self) -> None:
        super().pauseProducing()
        self._is_full = True
        self._wait = _READER
        if self.exchange is not None and self.exchange.instance is not None:
            self.exchange.instance.pause_answer()

    def resumeProducing(self) -> None:
        self._is_full = False
        if self.exchange is not None and self.exchange.instance is not None:
            self.exchange.instance.resume_answer()
        self._advance()

    def expire(self) -> None:
        limits = self._limits
        if self._wait is _HEAD and self._reader is not None and self._reader.is_inside_head:
            text = f"The request's head did not come within {limits.head_seconds:g} seconds."
            self._refuse(Refusal(408, text, "head-seconds"))
        elif self._wait is _BODY:
            text = f"The request's body fell silent for {limits.body_seconds:g} seconds."
            self._spoil(Refusal(408, text, "body-seconds"))
        elif self._has_taken_some():
            self._wait_for(self._wait, limits.body_seconds)  # slow, but it reads
        elif self._unsent:
            self._limited("body-seconds")
            self.abort()
        else:
            self._limited("head-seconds" if self._wait is _HEAD else "idle-seconds")
            self._close()

    # The service's side

    def release(self) -> None:
        """Begin to read, where `Gate.is_held` had kept us from it."""
        if self.exchange is None and not self._is_over:
            self._hold(False)
            self._wait_for(_HEAD, self._limits.head_seconds)

    def drain(self) -> None:
        """End after the requests in hand, the one included whose head is coming; at once if there are none."""
        if self.exchange is not None or self._is_over:
            return
        if self._reader is None and ISSLTransport.providedBy(self.transport):
            # Its first request may be under way behind the handshake, where nobody can look.
            self._wait_for(_HEAD, _FIRST_SECONDS)
        elif has_unread(self.transport):
            pass  # a request had come before we began to drain: it is read, served and told that it is the last
        elif not self._has_more:
            self._close()

    def stream_on(self) -> Load | None:
        """The instance of a stream that goes on until somebody ends it; ``None`` if this carries none."""
        stream = self._tunnel or self.exchange
        return None if stream is None else stream.stream_on()

    def end_stream(self) -> None:
        """End what `stream_on` told of as its protocol has it, so that the client knows to come back."""
        stream = self._tunnel or self.exchange
        assert stream is not None
        stream.end_stream()

    # Requests

    def _advance(self) -> None:
        """Do whatever can be done with what the reader has."""
        if self._is_advancing:
            return
        self._is_advancing = True
        reader = self._reader
        assert reader is not None, "nothing was queued for a client that has sent nothing"
        while not self._is_over:
            exchange = self.exchange
            if exchange is not None:
                if not exchange.is_request_over:
                    self._pass_body(exchange, reader)
                if self.exchange is not None:
                    break
            elif reader.waiting:
                if self._is_full:
                    break  # or the answers that it does not take would pile up here
                self._begin(reader.waiting.popleft())
            elif reader.refusal is not None:
                self._refuse(reader.refusal)
            else:
                break
        self._is_advancing = False
        self._settle()

    def _begin(self, request: Request) -> None:
        exchange = Exchange(request, self, perf_counter())
        self.exchange = exchange
        self._chunks = False
        if request.pieces:
            exchange.body_came(request.pieces)
            request.pieces = []
        self._gate.dispatch.begin(exchange)

    def _pass_body(self, exchange: Exchange, reader: RequestReader) -> None:
        request = exchange.request
        if request.pieces:
            pieces, request.pieces = request.pieces, []
            exchange.body_came(pieces)
        if request.is_complete:
            exchange.body_ended()
        elif reader.refusal is not None:
            self._spoil(reader.refusal)

    def _settle(self) -> None:
        """After every change: what is waited for now, and whether the client may send more."""
        if self._is_over or self._tunnel is not None:
            return
        reader, exchange, limits = self._reader, self.exchange, self._limits
        if exchange is not None:
            assert reader is not None
            if reader.waiting or reader.surplus or exchange.is_full or exchange.pending:
                self._hold(True)
            elif self._is_held:
                self._hold(False)
            if self._is_full:
                return  # the deadline is the reader's, whatever else the client sends
            if exchange.is_request_over or self._is_held:
                self._wait = _INSTANCE
                self.deadline = NEVER
            else:
                self._wait_for(_BODY, limits.body_seconds)
            return
        self._hold(reader is not None and bool(reader.waiting))
        if self._is_full:
            return
        if reader is not None and reader.is_inside_head:
            if self._wait is not _HEAD:
                self._wait_for(_HEAD, limits.head_seconds)
        elif self._wait is not _HEAD and self._wait is not _IDLE:  # empty lines win no time
            self._wait_for(_IDLE, limits.idle_seconds)

    def _wait_for(self, wait: _Wait, seconds: float) -> None:
        self._wait = wait
        self.deadline = self._deadlines.now + seconds

    def _hold(self, held: bool) -> None:
        """Read no more from the client, or read again."""
        if held is not self._is_held:
            self._is_held = held
            transport: Any = self.transport
            if held:
                transport.pauseProducing()
            else:
                transport.resumeProducing()

    # The client's side of an exchange

    def informed(self, exchange: Exchange, response: Response) -> None:
        if exchange.request.minor:
            self._send(self.transport, response.head() + b"\r\n")

    def answered(self, exchange: Exchange, head: Response | None, pieces: Sequence[bytes], is_over: bool) -> None:
        parts = [] if head is None else self._answer_head(exchange, head)
        if pieces:
            for piece in pieces:
                exchange.bytes_out += len(piece)
            parts += chunk(pieces) if self._chunks else pieces
        if is_over and self._chunks:
            parts.append(last_chunk(exchange.trailers))
        if parts:
            self._send(self.transport, parts[0] if len(parts) == 1 else b"".join(parts))
        if is_over:
            self._over(exchange)

    def switched(self, exchange: Exchange, head: Response, instance: Side, rest: bytes) -> Tunnel:
        exchange.status = head.status
        exchange.answered_at = perf_counter()
        fields = [*head.fields, (b"Connection", b"Upgrade"), (b"Upgrade", head.upgrade or b"")]
        self._send(self.transport, head_of(head.status, head.phrase, fields))
        self._hold(False)
        self.deadline = NEVER
        self._tunnel = Tunnel(exchange, self, instance, self._deadlines, self._limits.tunnel_seconds, self._limited)
        if rest:
            self._tunnel.from_instance(rest)
        if self._reader is not None and self._reader.surplus:
            self._tunnel.from_client(self._reader.surplus)
        return self._tunnel

    def tunnel_ended(self) -> None:
        exchange, self.exchange = self.exchange, None
        assert exchange is not None
        self._gate.dispatch.finish(exchange)
        super().tunnel_ended()

    def refused(self, exchange: Exchange, status: int, text: str) -> None:
        request, gate = exchange.request, self._gate
        fields, body = own_answer(status, text, request.id)
        is_last = gate.is_draining and not self._has_more
        self._closes = is_last or not (request.keep_alive and exchange.is_request_over)
        fields += [(b"Date", gate.date()), *persistence(request.minor, self._closes)]
        exchange.status = status
        exchange.answered_at = perf_counter()
        head = head_of(status, phrase(status), fields)
        if request.method != b"HEAD":
            exchange.bytes_out += len(body)
            head += body
        self._send(self.transport, head)
        self._over(exchange)

    def cut(self, exchange: Exchange) -> None:
        exchange.is_cut = True
        # Where only the end of the connection ends the answer, an ordinary end would look like success.
        looks_whole = not self._chunks and exchange.response is not None and exchange.response.body is not _KNOWN
        self.exchange = None
        self._gate.dispatch.finish(exchange)
        if looks_whole:
            self.abort()
        else:
            self._close()

    def pause_request(self) -> None:
        self._hold(True)
        if self._wait is _BODY:
            self._wait = _INSTANCE
            self.deadline = NEVER

    def resume_request(self) -> None:
        if self._is_held and not self._is_advancing:
            self._advance()

    # Answers

    def _answer_head(self, exchange: Exchange, head: Response) -> list[bytes]:
        request, gate = exchange.request, self._gate
        exchange.status = head.status
        exchange.answered_at = perf_counter()
        is_last = gate.is_draining and not self._has_more
        # An answer ahead of its request: what is left of the body may still come, or never.
        self._closes = is_last or not (request.keep_alive and exchange.is_request_over)
        extra = gate.dispatch.told(exchange, head)
        if head.body is _CHUNKED or head.body is _TO_CLOSE:
            if request.minor:
                self._chunks = True
                if head.body is _TO_CLOSE:
                    extra = (*extra, (b"Transfer-Encoding", b"chunked"))
            else:
                self._closes = True
        if not head.is_dated:  # RFC 9110 section 6.6.1
            extra = (*extra, (b"Date", gate.date()))
        if self._closes or not request.minor:
            extra = (*extra, *persistence(request.minor, self._closes))
        if request.minor:
            return [head.head(), written_again(tuple(extra)), b"\r\n"] if extra else [head.head(), b"\r\n"]
        fields = [field for field in head.fields if field[0].lower() != b"transfer-encoding"]
        return [head_of(head.status, head.phrase, [*fields, *extra])]

    @property
    def _has_more(self) -> bool:
        """Whether another request has come, or has begun to."""
        reader = self._reader
        return reader is not None and (bool(reader.waiting) or reader.is_inside_head)

    def _over(self, exchange: Exchange) -> None:
        """The client was given all there is."""
        self.exchange = None
        self._gate.dispatch.finish(exchange)
        reader = self._reader
        assert reader is not None
        if self._closes or not exchange.request.is_complete:
            if exchange.request.is_last:
                self._limited("requests-per-connection")
            self._close(lingers=not exchange.request.is_complete)
            return
        if reader.surplus is not None:
            reader.go_on()
        gate = self._gate
        if gate.is_draining and not gate.spares_idle and not self._has_more:  # the drain began behind the answer's head
            self._close()
        elif reader.waiting or reader.refusal is not None or reader.is_inside_head or self._is_held or self._is_full:
            self._advance()
        elif not self._is_advancing:  # there is nothing to do, as nearly always
            self._wait_for(_IDLE, self._limits.idle_seconds)

    def _refuse(self, refusal: Refusal) -> None:
        """Answer what is no request."""
        assert self._reader is not None
        request = Request(self._reader.peer)
        request.keep_alive = False
        self._gate.dispatch.refuse(request, self, refusal)

    def _spoil(self, refusal: Refusal) -> None:
        """The request went wrong in the middle of its body; part of it has gone to an instance."""
        exchange = self.exchange
        assert exchange is not None
        if refusal.limit:
            self._limited(refusal.limit)
        exchange.let_go()
        if exchange.response is None:
            self.refused(exchange, refusal.status, refusal.text)
        else:
            self.cut(exchange)

    def _close(self, lingers: bool = False) -> None:
        self._hold(False)
        super()._close(lingers)
