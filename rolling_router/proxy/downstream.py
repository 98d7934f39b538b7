"""proxy.downstream: one client connection. Requests in, answers out, in their order; others decide what they mean."""

from __future__ import annotations

import enum
from collections.abc import Sequence
from time import perf_counter
from typing import TYPE_CHECKING, Any

from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.interfaces import ISSLTransport
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure

from rolling_router.proxy.answers import own_answer, phrase
from rolling_router.proxy.deadlines import NEVER
from rolling_router.proxy.exchange import Exchange
from rolling_router.proxy.headers import Field
from rolling_router.proxy.loop import sender_for
from rolling_router.proxy.reader import Refusal, RequestReader
from rolling_router.proxy.request import Body, Request, chunk, last_chunk, new_request_id
from rolling_router.proxy.response import Response
from rolling_router.proxy.sending import unsent_bytes
from rolling_router.proxy.trust import Peer
from rolling_router.proxy.tunnel import Tunnel
from rolling_router.routing.place import Reason

if TYPE_CHECKING:
    from rolling_router.proxy.gate import Gate


class _Wait(enum.Enum):
    """What the deadline is for."""

    HEAD = enum.auto()  # the head of a request: its first byte has come, or the connection is new
    IDLE = enum.auto()  # the next request
    BODY = enum.auto()  # more of a request's body
    INSTANCE = enum.auto()  # the answer: the connection to the instance keeps that deadline
    READER = enum.auto()  # the client, to take what is queued for it
    LINGER = enum.auto()  # the client's last words, so that it can hear ours


class Downstream(Protocol):
    """
    One client connection. It is the client's side of its exchanges, one at a time; see `proxy.exchange.ClientSide`.

    :ivar exchange: the request being answered.    :ivar deadline: see `proxy.deadlines`.
    """

    def __init__(self, gate: Gate) -> None:
        self._gate = gate
        self._reader: RequestReader | None = None
        self._tunnel: Tunnel | None = None
        self.exchange: Exchange | None = None
        self.deadline = NEVER
        self._wait = _Wait.HEAD
        self._unsent = 0
        self._is_advancing = False
        self._is_held = False
        self._is_full = False  # the client takes no more of the answer for now
        self._is_closing = False
        self._closes = False
        self._chunks = False

    # Twisted's side

    def connectionMade(self) -> None:
        transport: Any = self.transport
        self._send = sender_for(transport)
        if isinstance(transport.getHost(), (IPv4Address, IPv6Address)):
            transport.setTcpNoDelay(True)  # an event stream's small writes must not wait for each other
        # The transport asks us to hold back while the client does not take the answer.
        transport.registerProducer(self, True)
        self._wait_for(_Wait.HEAD, self._gate.limits.head_seconds)
        self._gate.opened(self)
        if self._gate.is_held:
            self._hold(True)

    def dataReceived(self, data: bytes) -> None:
        if self._tunnel is not None:
            self._tunnel.from_client(data)
            return
        if self._is_closing:
            return
        if self._reader is None:
            self._reader = self._make_reader()
        self._reader.feed(data)
        self._advance()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._gate.closed(self)
        self._is_closing = True
        if self._tunnel is not None:
            self._tunnel.close()
            return
        exchange, self.exchange = self.exchange, None
        if exchange is not None:
            exchange.is_cut = True
            if exchange.instance is not None:
                exchange.instance.abandon()
            self._gate.dispatch.finish(exchange)

    def pauseProducing(self) -> None:
        """The client takes no more of the answer for now."""
        self._is_full = True
        self._unsent = unsent_bytes(self.transport)
        self._wait_for(_Wait.READER, self._gate.limits.body_seconds)
        if self.exchange is not None and self.exchange.instance is not None:
            self.exchange.instance.pause_answer()

    def resumeProducing(self) -> None:
        self._is_full = False
        if self.exchange is not None and self.exchange.instance is not None:
            self.exchange.instance.resume_answer()
        self._advance()

    def stopProducing(self) -> None:
        """The transport is gone; `connectionLost` tells the rest."""

    def expire(self) -> None:
        limits = self._gate.limits
        if self._wait is _Wait.HEAD and self._reader is not None and self._reader.is_inside_head:
            self._refuse(Refusal(408, f"The request's head did not come within {limits.head_seconds:g} seconds."))
        elif self._wait is _Wait.BODY:
            self._spoil(Refusal(408, f"The request's body fell silent for {limits.body_seconds:g} seconds."))
        elif (unsent := unsent_bytes(self.transport)) == 0 and self._wait in (_Wait.HEAD, _Wait.IDLE):
            self._close(lingers=False)
        elif unsent and unsent != self._unsent:
            self._unsent = unsent  # slow, but it reads
            self._wait_for(self._wait, limits.body_seconds)
        else:
            self.abort()

    # The service's side

    def release(self) -> None:
        """Begin to read, where `Gate.is_held` had kept us from it."""
        if self.exchange is None and not self._is_closing:
            self._hold(False)

    def drain(self) -> None:
        """End after the requests in hand, the one included whose head is coming; at once if there are none."""
        if self.exchange is not None or self._tunnel is not None or self._is_closing:
            return
        if self._reader is None or not (self._reader.is_inside_head or self._reader.waiting):
            self._close(lingers=False)

    def abort(self) -> None:
        """End now, whatever is going on."""
        if self._tunnel is not None:
            self._tunnel.close()
        self.transport.abortConnection()  # type: ignore[union-attr]

    # Requests

    def _make_reader(self) -> RequestReader:
        """Made with the first bytes: only then does a connection by the PROXY protocol know who its client is."""
        gate, transport = self._gate, self.transport
        address = getattr(transport.getPeer(), "host", None) or ""  # type: ignore[union-attr]
        peer = Peer(address, ISSLTransport.providedBy(transport), gate.trust.covers(address))
        return RequestReader(peer, gate.trust, gate.limits, gate.dispatch.router.private_cookies)

    def _advance(self) -> None:
        """Do whatever can be done with what the reader has."""
        if self._is_advancing:
            return
        self._is_advancing = True
        reader = self._reader
        assert reader is not None, "nothing was queued for a client that has sent nothing"
        while not self._is_closing:
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
        exchange.is_request_over = request.is_complete
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
        if self._is_closing or self._tunnel is not None:
            return
        reader, exchange, limits = self._reader, self.exchange, self._gate.limits
        if exchange is not None:
            assert reader is not None
            self._hold(bool(reader.waiting or reader.surplus) or exchange.must_wait)
            if self._is_full:
                return  # the deadline is the reader's, whatever else the client sends
            if exchange.is_request_over or self._is_held:
                self._wait = _Wait.INSTANCE
                self.deadline = NEVER
            else:
                self._wait_for(_Wait.BODY, limits.body_seconds)
            return
        self._hold(reader is not None and bool(reader.waiting))
        if self._is_full:
            return
        if reader is not None and reader.is_inside_head:
            if self._wait is not _Wait.HEAD:
                self._wait_for(_Wait.HEAD, limits.head_seconds)
        else:
            self._wait_for(_Wait.IDLE, limits.idle_seconds)

    def _wait_for(self, wait: _Wait, seconds: float) -> None:
        self._wait = wait
        self.deadline = self._gate.deadlines.now + seconds

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
            self._send(self.transport, _head(response.status, response.phrase, response.fields))

    def answered(self, exchange: Exchange, head: Response | None, pieces: Sequence[bytes], is_over: bool) -> None:
        parts = [] if head is None else [self._answer_head(exchange, head)]
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

    def switched(self, exchange: Exchange, head: Response, instance: Any, rest: bytes) -> Tunnel:
        exchange.status = head.status
        exchange.answered_at = perf_counter()
        fields = [*head.fields, (b"Connection", b"Upgrade"), (b"Upgrade", head.upgrade or b"")]
        self._send(self.transport, _head(head.status, head.phrase, fields) + rest)
        reader = self._reader
        assert reader is not None
        self._hold(False)
        self.deadline = NEVER
        self._tunnel = tunnel = Tunnel(self.transport, instance, lambda: self._tunnel_ended(exchange))
        if reader.surplus:
            tunnel.from_client(reader.surplus)
        return tunnel

    def refused(self, exchange: Exchange, status: int, text: str) -> None:
        request = exchange.request
        fields, body = own_answer(status, text, request.id)
        self._closes = not request.keep_alive or not exchange.is_request_over or self._is_last
        fields += self._connection_fields(request)
        exchange.status = status
        exchange.answered_at = perf_counter()
        head = _head(status, phrase(status), fields)
        if request.method != b"HEAD":
            exchange.bytes_out += len(body)
            head += body
        self._send(self.transport, head)
        self._over(exchange)

    def cut(self, exchange: Exchange) -> None:
        exchange.is_cut = True
        # Where only the end of the connection ends the answer, an ordinary end would look like success.
        looks_whole = not self._chunks and exchange.response is not None and exchange.response.body is not Body.KNOWN
        self.exchange = None
        self._gate.dispatch.finish(exchange)
        if looks_whole:
            self.abort()
        else:
            self._close(lingers=False)

    def pause_request(self) -> None:
        self._hold(True)
        self._settle_held()

    def resume_request(self) -> None:
        if self._is_held and not self._is_advancing:
            self._advance()

    def _settle_held(self) -> None:
        if self._wait is _Wait.BODY:
            self._wait = _Wait.INSTANCE
            self.deadline = NEVER

    # Answers

    def _answer_head(self, exchange: Exchange, head: Response) -> bytes:
        request, fields = exchange.request, head.fields
        exchange.status = head.status
        exchange.answered_at = perf_counter()
        # An answer ahead of its request: what is left of the body may still come, or never.
        self._closes = not request.keep_alive or not exchange.is_request_over or self._is_last
        extra = self._gate.dispatch.told(exchange, head)
        if head.body is Body.CHUNKED or head.body is Body.TO_CLOSE:
            if request.minor:
                self._chunks = True
                if head.body is Body.TO_CLOSE:
                    extra.append((b"Transfer-Encoding", b"chunked"))
            else:
                self._closes = True
        if not request.minor:
            fields = [field for field in fields if field[0].lower() != b"transfer-encoding"]
        if self._closes or not request.minor:
            extra += self._connection_fields(request)
        return _head(head.status, head.phrase, fields + extra if extra else fields)

    def _connection_fields(self, request: Request) -> list[Field]:
        if self._closes:
            return [(b"Connection", b"close")]
        return [] if request.minor else [(b"Connection", b"keep-alive")]

    @property
    def _is_last(self) -> bool:
        """Whether the connection ends after the exchange in hand, for the gate is draining."""
        if not self._gate.is_draining:
            return False
        reader = self._reader
        return reader is None or not (reader.waiting or reader.is_inside_head)

    def _over(self, exchange: Exchange) -> None:
        """The client was given all there is."""
        self.exchange = None
        self._gate.dispatch.finish(exchange)
        reader = self._reader
        assert reader is not None
        if self._closes or not exchange.request.is_complete:
            self._close(lingers=not exchange.request.is_complete)
            return
        if reader.surplus is not None:
            reader.go_on()
        if self._is_last:  # the drain began behind the answer's head
            self._close(lingers=False)
        else:
            self._advance()

    def _tunnel_ended(self, exchange: Exchange) -> None:
        tunnel = self._tunnel
        assert tunnel is not None
        exchange.bytes_in += tunnel.bytes_in
        exchange.bytes_out += tunnel.bytes_out
        self.exchange = None
        self._gate.dispatch.finish(exchange)
        self._is_closing = True
        self._unsent = unsent_bytes(self.transport)
        self._wait_for(_Wait.READER, self._gate.limits.body_seconds)

    def _refuse(self, refusal: Refusal) -> None:
        """Answer what is no request."""
        reader = self._reader
        assert reader is not None
        request = Request(reader.peer)
        request.id = new_request_id()
        request.keep_alive = False
        exchange = Exchange(request, self, perf_counter())
        exchange.reason = Reason.REFUSED
        self.exchange = exchange
        self.refused(exchange, refusal.status, refusal.text)

    def _spoil(self, refusal: Refusal) -> None:
        """The request went wrong in the middle of its body; part of it has gone to an instance."""
        exchange = self.exchange
        assert exchange is not None
        if exchange.instance is not None:
            exchange.instance.abandon()
        if exchange.response is None:
            self.refused(exchange, refusal.status, refusal.text)
        else:
            self.cut(exchange)

    def _close(self, lingers: bool) -> None:
        """
        Close after what is queued was sent.

        :param lingers: the client may still be sending. A socket that is closed with unread input resets the
            connection, and the client may never see our answer; so we only stop writing, and read on for a while.
        """
        transport: Any = self.transport
        self._is_closing = True
        transport.unregisterProducer()
        self._hold(False)
        limits = self._gate.limits
        if lingers and self._gate.can_half_close(transport):
            self._wait_for(_Wait.LINGER, limits.linger_seconds)
            transport.loseWriteConnection()
        else:
            self._wait_for(_Wait.READER, limits.body_seconds)
            self._unsent = unsent_bytes(transport)
            transport.loseConnection()


def _head(status: int, reason: bytes, fields: Sequence[Field]) -> bytes:
    lines = [b"%b: %b\r\n" % field for field in fields]
    return b"HTTP/1.1 %d %b\r\n%b\r\n" % (status, reason, b"".join(lines))
