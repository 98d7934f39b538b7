"""Holds what became of each request to the rules, and says what is wrong. What may fail is in docs/testing.md."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

import attrs

from .journal import Journal
from .record import Death, Name, Record

IDEMPOTENT = {"GET", "HEAD", "PUT", "DELETE", "OPTIONS"}
LOST = (
    "The instance closed the connection without an answer.",
    "The instance closed the connection without an answer, and takes no new one.",
    "The instance broke off its answer.",
)


@attrs.define
class Outcome:
    """
    What a client saw of one request.

    :ivar number: unlike any other's.    :ivar can_be_done_twice: by its method; and it has no body, nor an Upgrade.
    :ivar is_socket: it asks for a WebSocket.
    :ivar is_kept: its connection had served others.    :ivar is_plain: it is small, and answered at once.
    :ivar pin: who had set the client's cookie.    :ivar head_at: when the answer's head was there.
    :ivar name: who answered, by its own word.
    :ivar end: ``whole``, ``refused`` (by the router: `text` says why), ``cut`` (in the body), ``ended`` (a stream, in
        good order, before its end), ``left`` (by the client, at the end of the run) or ``nothing``. Any other word
        is a failure.
    """

    number: str
    method: str
    can_be_done_twice: bool
    is_kept: bool
    pin: Name | None
    began: float
    head_at: float = 0.0
    ended: float = 0.0
    status: int = 0
    name: Name | None = None
    end: str = ""
    text: str = ""
    is_plain: bool = False
    is_socket: bool = False


@attrs.define
class Judge:
    """
    :ivar wrong: what must not be, in words.    :ivar seen: how the requests ended, for people.
    """

    record: Record
    wrong: list[str] = attrs.field(factory=list)
    seen: Counter[str] = attrs.field(factory=Counter)

    def judge(self, outcomes: Iterable[Outcome], journal: Journal) -> None:
        """Requests that are over; whom they reached is taken from the journal."""
        journal.read_on()
        for one in outcomes:
            came = journal.take(one.number)
            self.seen[one.end] += 1
            for why in (*self._placement(one), *self._times(one, came), *self._ending(one, came)):
                self.wrong.append(f"{why}; instances that had it: {came}; {one}")

    def end(self, journal: Journal) -> None:
        """All requests were judged: what the journal still has reached somebody after its client was done with it."""
        journal.read_on()
        self.wrong += [f"{number} reached {came} when it was over" for number, came in journal.came.items()]

    def _placement(self, one: Outcome) -> Iterable[str]:
        """It was answered by somebody who might."""
        if one.name is None:
            return
        may = self.record.may_answer(one.began, one.head_at)
        if one.name[0] not in may:
            yield f"answered by {one.name[0]}, while only {sorted(may)} might"
        if one.pin is not None and one.name != one.pin:
            if one.name[0] != one.pin[0] and self.record.must_answer(one.pin[0], one.began, one.head_at):
                yield f"pinned to {one.pin[0]}, answered by {one.name[0]}"
            elif self.record.must_serve(one.pin, one.began, one.head_at):
                yield f"pinned to {one.pin}, answered by {one.name}"

    def _times(self, one: Outcome, came: list[Name]) -> Iterable[str]:
        """It reached one instance once; a second one, if it can be done twice and the first died."""
        if one.name is not None and one.name not in came:
            yield "answered by an instance that it never reached"
        if len(came) < 2:
            return
        # An upload may be, too, while none of its body was sent; that what came is whole is seen elsewhere.
        if one.method not in IDEMPOTENT or one.is_socket:
            yield "sent twice"
        elif not any(death.name == came_to for death in self._deaths(one) for came_to in came):
            yield "sent twice, though no instance that had it died"
        elif len(came) > 2:
            yield "sent three times"

    def _ending(self, one: Outcome, came: list[Name]) -> Iterable[str]:
        deaths = self._deaths(one)
        if one.end == "whole":
            if one.status not in (200, 101):
                yield "not answered as it should be"
        elif one.end == "refused":
            # Once more elsewhere: that takes two deaths to fail. What cannot be done twice fails with the first.
            needed = 2 if one.can_be_done_twice else 1
            is_theirs = not came or any(death.name in came for death in deaths)
            is_told = any(text in one.text for text in LOST) or one.method == "HEAD"  # its answer has no words
            is_lost = one.status == 502 and is_told
            if not is_lost or len(deaths) < needed or not is_theirs:
                yield f"refused with {one.status} ({one.text}), {len(deaths)} deaths meanwhile"
        elif one.end == "cut":
            if not any(death.name == one.name for death in deaths):
                yield "cut, though its instance lived"
        elif one.end == "ended":
            assert one.name is not None
            if not self.record.may_end_stream(one.name, one.head_at, one.ended):
                yield "a stream was ended, though its instance stayed"
        elif one.end == "nothing":
            # Not even a kept connection may end as it is used again: the last answer on it says that it is the last.
            yield "no answer"
        elif one.end != "left":
            yield f"went wrong: {one.text}"

    def _deaths(self, one: Outcome) -> list[Death]:
        return self.record.died(one.began, one.ended)
