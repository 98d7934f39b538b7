"""proxy.upstream: one connection to an instance. Sends what the exchange gives, and hands it the answer as it comes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from twisted.internet.error import ConnectionDone
from twisted.python.failure import Failure

from rolling_router.health import Failing
from rolling_router.proxy.deadlines import NEVER, Deadlines
from rolling_router.proxy.exchange import Exchange
from rolling_router.proxy.headers import tokens
from rolling_router.proxy.limits import Limits
from rolling_router.proxy.request import Body, chunk, last_chunk
from rolling_router.proxy.response import Malformed, ResponseReader
from rolling_router.proxy.sending import is_quiet
from rolling_router.proxy.side import Side

if TYPE_CHECKING:
    from rolling_router.proxy.dispatch import Dispatch
    from rolling_router.proxy.pool import Pool

# By names of this module: to look a member up in its class costs as much as a call, up to Python 3.11.
_NONE, _KNOWN, _CHUNKED, _TO_CLOSE = Body


class Upstream(Side):
    """
    One connection to an instance; serves one exchange at a time, and waits in its pool between them.

    :ivar exchange: the one that it serves.    :ivar deadline: see `proxy.deadlines`.
    :ivar is_doubtful: its last answer had no body; an instance that sends one all the same must be found out.
    """

    def __init__(self, pool: Pool, dispatch: Dispatch, limits: Limits, deadlines: Deadlines) -> None:
        super().__init__(deadlines, limits, dispatch.limited)
        self._pool = pool
        self._load = pool.load
        self._dispatch = dispatch
        self._reader = ResponseReader(limits, dispatch.known)
        self.exchange: Exchange | None = None
        self._served = 0
        self._has_answered = False
        self._is_paused = False
        self.is_doubtful = False

    # Twisted's side

    def connectionMade(self) -> None:
        super().connectionMade()
        # Until it has an exchange it is idle; the client that it was made for may have left meanwhile.
        self.deadline = self._deadlines.now + self._limits.pool_seconds
        self._deadlines.add(self)

    def dataReceived(self, data: bytes) -> None:
        exchange = self.exchange
        if exchange is None:
            if self._tunnel is None:
                self.close()  # nobody asked: what it is part of can only be guessed
            elif not self._is_over:
                self._tunnel.from_instance(data)
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
            if wrong.limit:
                self._limited(wrong.limit)
            self._fail(502, f"The instance's answer is not well-formed HTTP: {wrong}.", Failing.ANSWER)

    def connectionLost(self, reason: Failure = Failure(ConnectionError())) -> None:  # noqa: B008 (Twisted's signature)
        self._deadlines.discard(self)
        self._pool.lost(self)
        self._lost()
        exchange = self.exchange
        if exchange is None:
            return
        response = exchange.response
        # A body that ends with the connection is whole only if the instance closed it in good order.
        if response is not None and response.body is _TO_CLOSE and reason.check(ConnectionDone):
            self._release(exchange)
            exchange.client.answered(exchange, None, (), True)
            return
        self.exchange = exchange.instance = None
        self._dispatch.instance_lost(exchange, self._served > 1, self._has_answered)

    def pauseProducing(self) -> None:
        super().pauseProducing()
        if self.exchange is not None:
            self.exchange.is_full = True
            self.exchange.client.pause_request()

    def resumeProducing(self) -> None:
        exchange = self.exchange
        if exchange is not None:
            exchange.is_full = False
            self._wait(exchange)
            exchange.client.resume_request()

    def expire(self) -> None:
        exchange = self.exchange
        if exchange is None:
            self._limited("pool-seconds")
            self.close()
        elif self._has_taken_some():
            self.deadline = self._deadlines.now + self._limits.body_seconds  # slow, but it reads
        elif exchange.response is None:
            self._limited("answer-seconds")
            self._fail(
                504, f"The instance did not answer within {self._limits.answer_seconds:g} seconds.", Failing.TIMEOUT
            )
        else:
            self._limited("body-seconds")
            self._fail(504, f"The instance fell silent for {self._limits.body_seconds:g} seconds.", Failing.TIMEOUT)

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
        if request.body is _NONE:
            self.deadline = self._deadlines.now + self._limits.answer_seconds
            self._send(self.transport, head)
            return
        self._wait(exchange)
        pieces, exchange.pending = exchange.pending, ()
        exchange.sent_body = bool(pieces)
        if request.body is _CHUNKED:
            pieces = chunk(pieces) if pieces else []
            if exchange.is_request_over:
                pieces.append(last_chunk(request.trailers))
        self._send(self.transport, b"".join((head, *pieces)))
        exchange.client.resume_request()

    def send_body(self, pieces: Sequence[bytes]) -> None:
        exchange = self.exchange
        assert exchange is not None
        if exchange.request.body is _CHUNKED:
            self._send(self.transport, b"".join(chunk(pieces)))
        else:
            self._send(self.transport, pieces[0] if len(pieces) == 1 else b"".join(pieces))

    def send_end(self) -> None:
        exchange = self.exchange
        assert exchange is not None
        if exchange.request.body is _CHUNKED:
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
        return is_quiet(self.transport)

    def close(self) -> None:
        # The transport ends later in this round or in the next one. Who took it from the pool until then would send on
        # it all the same, and never hear the answer.
        self._pool.lost(self)
        self._close()

    def _wait(self, exchange: Exchange) -> None:
        """Set the instance's deadline. The client's own one rules while its body is coming, or it takes no more."""
        if exchange.is_full and not self._is_paused:
            self.deadline = self._deadlines.now + self._limits.body_seconds  # it is for the instance to read on
        elif self._is_paused or not exchange.is_request_over:
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
            if head.status >= 500 and self._dispatch.is_unwelcome(exchange, head.status):
                return  # another instance has the request now
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
        if self._load.failures:
            self._dispatch.witness.answered(self._load, response.status)
        if self._is_paused:
            self._is_paused = False
            self.transport.resumeProducing()  # type: ignore[union-attr]
        exchange.trailers = reader.trailers
        if not exchange.is_request_over:
            self.transport.abortConnection()  # type: ignore[union-attr]
        elif (
            response.keep_alive
            and response.body is not _TO_CLOSE
            and not reader.has_surplus
            and not exchange.is_full  # it answered before it had taken the request: the rest is still queued
        ):
            self.deadline = self._deadlines.now + self._limits.pool_seconds
            self.is_doubtful = response.body is _NONE
            self._pool.give_back(self)
        else:
            self.close()

    def _switch(self, exchange: Exchange) -> None:
        reader = self._reader
        head = reader.response
        assert head is not None
        if exchange.request.upgrade is None:
            self._fail(502, "The instance changed the protocol without being asked to.", Failing.ANSWER)
            return
        if not {one.partition(b"/")[0] for one in tokens(head.upgrade or b"")} <= {
            one.partition(b"/")[0] for one in tokens(exchange.request.upgrade)
        }:  # RFC 9110 section 7.8
            self._fail(502, "The instance changed to a protocol that it was not asked for.", Failing.ANSWER)
            return
        exchange.response = head
        self.exchange = exchange.instance = None
        self.deadline = NEVER
        self._tunnel = exchange.client.switched(exchange, head, self, reader.rest)

    def _fail(self, status: int, text: str, how: Failing) -> None:
        exchange = self.exchange
        assert exchange is not None
        self.abandon()
        self._dispatch.instance_failed(exchange, status, text, how)
