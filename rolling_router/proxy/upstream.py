"""proxy.upstream: one connection to an instance. Sends what the exchange gives, and hands it the answer as it comes."""

from __future__ import annotations

from collections.abc import Sequence
from socket import MSG_DONTWAIT, MSG_PEEK
from typing import TYPE_CHECKING, Any

from twisted.internet.error import ConnectionDone
from twisted.internet.protocol import Protocol
from twisted.python.failure import Failure

from rolling_router.proxy.deadlines import NEVER, Deadlines
from rolling_router.proxy.exchange import Exchange
from rolling_router.proxy.limits import Limits
from rolling_router.proxy.loop import sender_for
from rolling_router.proxy.request import Body, chunk, last_chunk
from rolling_router.proxy.response import Malformed, ResponseReader
from rolling_router.proxy.sending import unsent_bytes
from rolling_router.proxy.tunnel import Tunnel

if TYPE_CHECKING:
    from rolling_router.proxy.dispatch import Dispatch
    from rolling_router.proxy.pool import Pool


class Upstream(Protocol):
    """
    One connection to an instance; serves one exchange at a time, and waits in its pool between them.

    :ivar exchange: the one that it serves.    :ivar deadline: see `proxy.deadlines`.
    """

    def __init__(self, pool: Pool, dispatch: Dispatch, limits: Limits, deadlines: Deadlines) -> None:
        self._pool = pool
        self._dispatch = dispatch
        self._limits = limits
        self._deadlines = deadlines
        self._reader = ResponseReader(limits)
        self.exchange: Exchange | None = None
        self.deadline = NEVER
        self._tunnel: Tunnel | None = None
        self._served = 0
        self._has_answered = False
        self._is_paused = False
        self._is_closing = False
        self._unsent = 0

    # Twisted's side

    def connectionMade(self) -> None:
        transport: Any = self.transport
        self._send = sender_for(transport)
        transport.setTcpNoDelay(True)
        # The transport asks us to hold back while the instance does not take the request's body.
        transport.registerProducer(self, True)
        # Until it has an exchange it is idle; the client that it was made for may have left meanwhile.
        self.deadline = self._deadlines.now + self._limits.pool_seconds
        self._deadlines.add(self)

    def dataReceived(self, data: bytes) -> None:
        exchange = self.exchange
        if exchange is None:
            if self._tunnel is not None:
                self._tunnel.from_instance(data)
            else:
                self.close()  # nobody asked: what it is part of can only be guessed
            return
        self._has_answered = True
        reader = self._reader
        wrong = None
        try:
            reader.feed(data)
        except Malformed as malformed:
            wrong = malformed
        if reader.informational:
            for interim in reader.informational:
                exchange.client.informed(exchange, interim)
            reader.informational = []
        self._pass_on(exchange)
        if wrong is not None and self.exchange is exchange:
            self._fail(502, f"The instance's answer is not well-formed HTTP: {wrong}.")

    def connectionLost(self, reason: Failure = Failure(ConnectionError())) -> None:  # noqa: B008 (Twisted's signature)
        self._deadlines.discard(self)
        self._pool.lost(self)
        exchange = self.exchange
        if exchange is None:
            if self._tunnel is not None:
                self._tunnel.close()
            return
        response = exchange.response
        # A body that ends with the connection is whole only if the instance closed it in good order.
        if response is not None and response.body is Body.TO_CLOSE and reason.check(ConnectionDone):
            self._release(exchange)
            exchange.client.answered(exchange, None, (), True)
            return
        self.exchange = exchange.instance = None
        self._dispatch.instance_lost(exchange, self._served > 1, self._has_answered)

    def pauseProducing(self) -> None:
        """The instance takes no more of the request for now."""
        self._unsent = unsent_bytes(self.transport)
        self.deadline = self._deadlines.now + self._limits.body_seconds
        if self.exchange is not None:
            self.exchange.is_full = True
            self.exchange.client.pause_request()

    def resumeProducing(self) -> None:
        exchange = self.exchange
        if exchange is not None:
            exchange.is_full = False
            self._wait(exchange)
            exchange.client.resume_request()

    def stopProducing(self) -> None:
        """The transport is gone; `connectionLost` tells the rest."""

    def expire(self) -> None:
        exchange = self.exchange
        if exchange is None:
            if self._tunnel is not None and not self._tunnel.is_over:
                self.deadline = self._deadlines.now + self._limits.body_seconds
            elif self._is_closing or self._tunnel is not None:
                self.transport.abortConnection()  # type: ignore[union-attr]
            else:
                self.close()
        elif (unsent := unsent_bytes(self.transport)) and unsent != self._unsent:
            self._unsent = unsent  # slow, but it reads
            self.deadline = self._deadlines.now + self._limits.body_seconds
        elif exchange.response is None:
            self._fail(504, f"The instance did not answer within {self._limits.answer_seconds:g} seconds.")
        else:
            self._fail(504, f"The instance fell silent for {self._limits.body_seconds:g} seconds.")

    # The exchange's side

    def start(self, exchange: Exchange) -> None:
        """Send the request, and whatever of its body has come."""
        self.exchange = exchange
        exchange.instance = self
        request = exchange.request
        self._served += 1
        self._has_answered = False
        self._reader.expect(request.method == b"HEAD")
        head = request.head(self._pool.host)
        self._wait(exchange)
        if request.body is Body.NONE:
            self._send(self.transport, head)
            return
        pieces, exchange.pending = exchange.pending, ()
        exchange.sent_body = bool(pieces)
        if request.body is Body.CHUNKED:
            pieces = chunk(pieces) if pieces else []
            if exchange.is_request_over:
                pieces.append(last_chunk(request.trailers))
        self._send(self.transport, b"".join((head, *pieces)))
        exchange.client.resume_request()

    def send_body(self, pieces: Sequence[bytes]) -> None:
        exchange = self.exchange
        assert exchange is not None
        if exchange.request.body is Body.CHUNKED:
            self._send(self.transport, b"".join(chunk(pieces)))
        else:
            self._send(self.transport, pieces[0] if len(pieces) == 1 else b"".join(pieces))

    def send_end(self) -> None:
        exchange = self.exchange
        assert exchange is not None
        if exchange.request.body is Body.CHUNKED:
            self._send(self.transport, last_chunk(exchange.request.trailers))
        self._wait(exchange)

    def pause_answer(self) -> None:
        """The client takes no more for now; its own deadline rules meanwhile."""
        if not self._is_paused:
            self._is_paused = True
            self.deadline = NEVER
            self.transport.pauseProducing()  # type: ignore[union-attr]

    def resume_answer(self) -> None:
        if self._is_paused:
            self._is_paused = False
            if self.exchange is not None:
                self._wait(self.exchange)
            self.transport.resumeProducing()  # type: ignore[union-attr]

    def abandon(self) -> None:
        exchange, self.exchange = self.exchange, None
        if exchange is not None:
            exchange.instance = None
        self.transport.abortConnection()  # type: ignore[union-attr]

    @property
    def is_quiet(self) -> bool:
        """Whether an idle connection is open with nothing to read, asked of the kernel rather than the reactor."""
        try:
            self.transport.getHandle().recv(1, MSG_PEEK | MSG_DONTWAIT)  # type: ignore[union-attr]
        except BlockingIOError:
            return True
        except OSError:
            pass
        return False  # closed, or it holds bytes that nobody asked for

    def close(self) -> None:
        """Close after what is queued was sent; should the instance not take that, then without."""
        transport: Any = self.transport
        self._is_closing = True
        self.deadline = self._deadlines.now + self._limits.body_seconds
        transport.unregisterProducer()
        transport.loseConnection()

    def _wait(self, exchange: Exchange) -> None:
        """Set the instance's deadline. The client's own one rules while its body is coming, or it takes no more."""
        if self._is_paused or not exchange.is_request_over:
            self.deadline = NEVER
        elif exchange.response is None:
            self.deadline = self._deadlines.now + self._limits.answer_seconds
        else:
            self.deadline = self._deadlines.now + self._limits.body_seconds

    # The answer

    def _pass_on(self, exchange: Exchange) -> None:
        """Give the client what has come of the answer, in one go."""
        reader = self._reader
        head = None
        if exchange.response is None:
            head = reader.response
            if head is None:
                return
            if head.status == 101:
                self._switch(exchange)
                return
            exchange.response = head
        pieces, reader.pieces = reader.pieces, []
        if reader.is_over:
            self._release(exchange)
            exchange.client.answered(exchange, head, pieces, True)
            return
        self._wait(exchange)
        if pieces or head is not None:
            exchange.client.answered(exchange, head, pieces, False)

    def _release(self, exchange: Exchange) -> None:
        """The answer is complete: back to the pool, if the connection can be trusted with another request."""
        self.exchange = exchange.instance = None
        reader, response = self._reader, exchange.response
        assert response is not None
        if self._is_paused:
            self._is_paused = False
            self.transport.resumeProducing()  # type: ignore[union-attr]
        exchange.trailers = reader.trailers
        if not exchange.is_request_over:
            self.transport.abortConnection()  # type: ignore[union-attr]
        elif (
            response.keep_alive
            and response.body is not Body.TO_CLOSE
            and not reader.has_surplus
            and not exchange.is_full  # it answered before it had taken the request: the rest is still queued
        ):
            self.deadline = self._deadlines.now + self._limits.pool_seconds
            self._pool.give_back(self)
        else:
            self.close()

    def _switch(self, exchange: Exchange) -> None:
        reader = self._reader
        head = reader.response
        assert head is not None
        if exchange.request.upgrade is None:
            self._fail(502, "The instance changed the protocol without being asked to.")
            return
        exchange.response = head
        self.exchange = exchange.instance = None
        self.deadline = self._deadlines.now + self._limits.body_seconds
        self._tunnel = exchange.client.switched(exchange, head, self.transport, reader.rest)

    def _fail(self, status: int, text: str) -> None:
        exchange = self.exchange
        assert exchange is not None
        self.abandon()
        self._dispatch.instance_failed(exchange, status, text)
