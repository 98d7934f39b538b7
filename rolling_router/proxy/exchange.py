"""
proxy.exchange: one request and its answer: what has happened, and what may happen next. Never sees a transport.

Three parties meet here: the client's side (`ClientSide`), the connection to the instance (`InstanceSide`), and
`proxy.dispatch`, which brings them together.
"""

from __future__ import annotations

import enum
from collections.abc import Sequence
from typing import Protocol

from rolling_router.proxy.headers import Field
from rolling_router.proxy.request import Request
from rolling_router.proxy.response import Response
from rolling_router.proxy.side import Side
from rolling_router.proxy.tunnel import Tunnel
from rolling_router.routing.fleet import Load
from rolling_router.routing.place import Placement, Reason


class Verdict(enum.Enum):
    """What is to be done about an instance that fell silent."""

    AGAIN = enum.auto()  # nothing is lost: send the request once more, over a new connection
    ELSEWHERE = enum.auto()  # it may have been done, and can be done twice: send it once more, to another instance
    ANSWER = enum.auto()  # the client has seen nothing yet: tell it
    CUT = enum.auto()  # it has a status line already: cutting the connection is the only honest signal left


class ClientSide(Protocol):
    """Who asked. Told of the answer as it comes."""

    def informed(self, exchange: Exchange, response: Response) -> None:
        """An interim answer (1xx)."""

    def answered(self, exchange: Exchange, head: Response | None, pieces: Sequence[bytes], is_over: bool) -> None:
        """The answer goes on: its head the first time, body bytes, and whether that was all."""

    def switched(self, exchange: Exchange, head: Response, instance: Side, rest: bytes) -> Tunnel:
        """The instance changed to another protocol (101). `rest`: its first bytes in it."""

    def refused(self, exchange: Exchange, status: int, text: str) -> None:
        """There will be no answer from an instance: tell the client this instead."""

    def cut(self, exchange: Exchange) -> None:
        """The answer broke off in the middle, and the client must see that it did."""

    def pause_request(self) -> None:
        """The instance takes no more of the request's body for now."""

    def resume_request(self) -> None:
        """It takes more again."""


class InstanceSide(Protocol):
    """The connection on which the request went out."""

    def send_body(self, pieces: Sequence[bytes]) -> None:
        """More of the request's body."""

    def send_end(self) -> None:
        """That was all of it."""

    def pause_answer(self) -> None:
        """The client takes no more of the answer for now."""

    def resume_answer(self) -> None:
        """It takes more again."""

    def abandon(self) -> None:
        """Nobody wants the answer any more."""


class Exchange:
    """
    :ivar placement: where it was last sent.    :ivar tried: instances that it is not to be sent to any more.
    :ivar was_sent_here: the instance of `placement` may have had it, and is being connected to once more.
    :ivar was_sent_again: it was sent to a second instance after the first had it. There is no third.
    :ivar response: the answer's head, once the client was given it.    :ivar status: what the client got; 0 is nothing.
    :ivar started: when the request's head had come, in seconds of `time.perf_counter`; likewise `answered_at`.
    :ivar bytes_in: of the request's body.    :ivar bytes_out: of the answer's body.
    :ivar is_full: the instance takes no more of the request's body for now.
    :ivar is_cut: it ended before the client had the whole answer.
    """

    # Defaults of the class rather than set one by one: most requests never touch most of them.
    answered_at = 0.0
    placement: Placement | None = None
    reason: Reason | None = None
    tried: tuple[Load, ...] = ()
    retries = 0
    response: Response | None = None
    trailers: Sequence[Field] = ()
    status = 0
    bytes_in = 0
    bytes_out = 0
    pending: Sequence[bytes] = ()
    sent_body = False
    was_sent_here = False
    was_sent_again = False
    is_full = False
    is_cut = False
    is_over = False

    def __init__(self, request: Request, client: ClientSide, started: float) -> None:
        self.request = request
        self.client = client
        self.started = started
        self.is_request_over = request.is_complete
        self.instance: InstanceSide | None = None

    def body_came(self, pieces: list[bytes]) -> None:
        """More of the request's body: on to the instance, or kept until there is one."""
        for piece in pieces:
            self.bytes_in += len(piece)
        if self.instance is not None:
            self.sent_body = True
            self.instance.send_body(pieces)
        else:
            self.pending = [*self.pending, *pieces]

    def body_ended(self) -> None:
        """That was all of it."""
        self.is_request_over = True
        if self.instance is not None:
            self.instance.send_end()

    def stream_on(self) -> Load | None:
        """The instance of an event stream, which goes on until somebody ends it; ``None`` if the answer is none."""
        if self.placement is None or self.response is None or not self.response.is_event_stream:
            return None
        return self.placement.load

    def end_stream(self) -> None:
        """
        End what `stream_on` told of as if the instance had.

        A reader of events drops the one that is not complete; see "event stream interpretation" in HTML.
        """
        self.let_go()
        self.client.answered(self, None, (), True)

    def client_lost(self) -> None:
        """The client left before it had the whole answer."""
        self.is_cut = True
        self.let_go()

    def let_go(self) -> None:
        """Have nothing more to do with the instance, if there is one."""
        if self.instance is not None:
            self.instance.abandon()

    @property
    def must_wait(self) -> bool:
        """Whether the client should be asked to send no more of the body for now."""
        return self.is_full or bool(self.pending)

    def instance_lost(self, is_reused: bool, has_answered: bool) -> Verdict:
        """
        The connection to the instance ended before the answer did.

        :param is_reused: it had served another request before.    :param has_answered: any byte of an answer came.
        """
        if self.response is not None:
            return Verdict.CUT
        # RFC 9112 section 9.3.1: only a kept connection may have been closed just as we wrote.
        if is_reused and not has_answered and self._can_be_done_twice:
            return Verdict.AGAIN
        return Verdict.ELSEWHERE if self.may_go_elsewhere else Verdict.ANSWER

    @property
    def may_go_elsewhere(self) -> bool:
        """Whether an instance may get it after another one had it. Never a POST."""
        return self.response is None and not self.was_sent_again and self._can_be_done_twice

    @property
    def _can_be_done_twice(self) -> bool:
        """
        RFC 9110 section 9.2.2; a body that was sent is no longer here.

        A request to change the protocol is none that can be done twice, whatever its method says.
        """
        request = self.request
        return request.is_repeatable and not self.sent_body and request.upgrade is None
