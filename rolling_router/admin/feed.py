"""
admin.feed: what happens, made once a second and at once with each change, and sent to all who listen.

Made and stopped by `port`; `watcher` tells it of changes, `api` brings listeners. Asks the traffic for its figures
once a second, whoever listens: the last 15 minutes are there for who comes. Never on a request's way.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import attrs
from twisted.application.service import Service
from twisted.internet.defer import CancelledError, Deferred, maybeDeferred, succeed
from twisted.internet.task import deferLater
from twisted.logger import Logger

from rolling_router.admin.doorman import Visit
from rolling_router.admin.listener import Listener
from rolling_router.admin.problems import Problem, as_json
from rolling_router.admin.samples import Sample, Sampler, Series
from rolling_router.admin.view import About, entry_json, in_play, state_json, store_word
from rolling_router.observe.counts import CHOICES, Counts
from rolling_router.observe.figures import Figures
from rolling_router.observe.report import Report
from rolling_router.rollout.history import Entry
from rolling_router.rollout.state import State

MOST_LISTENERS = 200
PATIENCE_SECONDS = 15.0
"""How long one may take nothing before it is dropped."""
RETRY = b"retry: 1000\n\n"
HISTORY_LOOKS = 3
"""Seconds after a change in which the history is looked at: its line is written after the store has the change."""

_SECOND = re.compile(r"[0-9]{1,12}\Z")

_log = Logger()


class Feed(Service):
    """One feed for one router."""

    def __init__(
        self,
        clock: Any,
        about: About,
        report: Report,
        state: Callable[[], State],
        figures: Callable[[], Deferred[Figures]],
        newest: Callable[[int], Deferred[Sequence[Entry]]],
        is_welcome: Callable[[Visit], bool],
    ) -> None:
        """
        :param clock: seconds since 1970, and timers.    :param state: what is known of the store now.
        :param figures: what is known of the traffic; never fails.    :param newest: the last entries of the history.
        :param is_welcome: whether somebody who listens may still do so; counts as use of a session.
        """
        self._clock = clock
        self._about = about
        self._report = report
        self._state = state
        self._ask_figures = figures
        self._ask_newest = newest
        self._is_welcome = is_welcome
        self._figures: Figures | None = None
        self._sampler, self._series = Sampler(), Series()
        self._listeners: dict[Listener, None] = {}
        self._entry: Entry | None = None
        self._history_looks = 1
        self._told: Any = None  # what makes a state worth telling, as it was last told
        self._full: tuple[int, bytes] | None = None  # the whole series as a frame, and its second
        self._ticking: Deferred[None] = succeed(None)

    def startService(self) -> None:
        super().startService()
        self._sampler.take(Counts(self._about.app), int(self._clock.seconds()))  # nothing has happened yet
        self._ticking = Deferred.fromCoroutine(self._run())

    def stopService(self) -> Deferred[None]:
        super().stopService()
        self._ticking.addErrback(lambda reason: None)  # our own cancelling
        self._ticking.cancel()
        for listener in list(self._listeners):
            listener.end(_frame("end", {"reason": "stopping"}))
        return self._ticking

    def __len__(self) -> int:
        return len(self._listeners)

    # What is known

    async def figures(self) -> Figures:
        figures = await self._ask_figures()
        if not figures.silent:
            self._figures = figures
        return figures

    def state(self, figures: Figures | None = None) -> dict[str, Any]:
        """:param figures: newer ones than those of the last second."""
        figures = figures or self._figures
        assert figures is not None
        return state_json(self._about, self._report, self._state(), figures, self._entry)

    async def look_at_history(self) -> None:
        """Take note of what was added to it, by whichever process on this machine, and tell it."""
        try:
            entries = await maybeDeferred(self._ask_newest, 20)
        except CancelledError:
            raise
        except Exception as wrong:  # whatever it is, the page goes on without what is new in it
            _log.warn("the history cannot be read: {wrong}", wrong=wrong)
            return
        if not entries:
            return
        last, self._entry = self._entry, entries[0]
        fresh = entries[: entries.index(last)] if last in entries else entries[:1]
        for entry in reversed(fresh):
            self._publish(_frame("history", entry_json(entry)))

    # News

    def changed(self) -> None:
        """The watcher knows something new. Called often; tells only what matters to people."""
        state = self._state()
        news = attrs.evolve(state, read_at=None), None if state.snapshot is None else state.snapshot.revision
        if not self.running or news == self._told:
            return
        self._told = news
        self._history_looks = HISTORY_LOOKS
        # At the end of this turn: what listens to the same change, such as the engine, has it then, too.
        self._clock.callLater(0, self._tell_change)

    def _tell_change(self) -> None:
        if self.running:
            snapshot = self._state().snapshot
            if snapshot is not None:
                self._series.changed(int(self._clock.seconds()), snapshot)
                self._full = None
            Deferred.fromCoroutine(self._tell_state()).addErrback(_failed)

    async def _tell_state(self) -> None:
        await self.figures()
        await self.look_at_history()
        if self._figures is not None:
            self._publish(_frame("state", self.state()))

    # Each second

    async def _run(self) -> None:
        await self.look_at_history()
        while self.running:
            now = self._clock.seconds()
            # Just after each full second, so that a late call does not fall into the next one.
            await deferLater(self._clock, int(now) + 1.02 - now)
            try:
                await self._tick()
            except CancelledError:
                raise
            except Exception:  # or nobody would be told anything from then on
                _log.failure("a second was not told")

    async def _tick(self) -> None:
        before = self._figures
        figures = await self.figures()
        at = int(self._clock.seconds()) - 1
        if self._series.last_at is None or at > self._series.last_at:
            sample = None if figures.silent else self._sampler.take(figures.counts, at)
            self._series.add(at, sample)
            self._see_off()
            self._publish(self._frame_of(at, sample), at)
        if self._history_looks:
            self._history_looks -= 1
            known = self._entry
            await self.look_at_history()
            if known != self._entry:
                self._publish(_frame("state", self.state()))
        if before is not None and self._figures is not None and _standing(before) != _standing(self._figures):
            self._publish(_frame("state", self.state()))

    def _frame_of(self, at: int, sample: Sample | None) -> bytes:
        if not self._listeners:
            return b""
        shown = {"snapshot": dict.fromkeys(CHOICES)} if self._figures is None else self.state()
        state, versions = self._state(), in_play(shown)
        return _frame(
            "sample",
            {
                "at": at,
                **{role: sample and {**versions[role], **sample.roles[role]} for role in CHOICES},
                "asked": sample and sample.asked,
                "served": sample and sample.served,
                "reasons": sample and sample.reasons,
                "blend": shown["snapshot"].get("blend"),
                "stickiness": shown["snapshot"].get("stickiness"),
                "store": {"state": store_word(state), "age_seconds": state.age(self._clock.seconds())},
            },
            self._id(at),
        )

    def _see_off(self) -> None:
        """Let go of those who may not listen any more, and of those who do not."""
        now = self._clock.seconds()
        for listener in list(self._listeners):
            if not self._is_welcome(listener.visit):
                listener.end(_frame("end", {"reason": "signed-out"}))
            elif listener.paused_at is not None and now - listener.paused_at > PATIENCE_SECONDS:
                _log.info("a browser that took no events for {seconds:g} s is dropped", seconds=PATIENCE_SECONDS)
                listener.drop()

    def _publish(self, frame: bytes, at: int | None = None) -> None:
        for listener in list(self._listeners):
            listener.send(frame)
            if at is not None and not listener.is_behind:
                listener.told_at = at

    # Listeners

    async def listen(self, request: Any, visit: Visit, last_id: str | None) -> None:
        """
        Tell a request what happens, until it or we have had enough.

        :param last_id: of the last sample that this browser has.
        :raises Problem: there are too many.
        """
        if len(self._listeners) >= MOST_LISTENERS:
            self._make_room(visit.identity.name)
        if self._figures is None:
            await self.figures()
        request.setHeader(b"Content-Type", b"text/event-stream; charset=utf-8")
        request.setHeader(b"X-Accel-Buffering", b"no")  # nginx would else hold events back
        listener = Listener(request, visit, self._clock.seconds, self._tell_all)
        listener.told_at = self._second_of(last_id)
        self._listeners[listener] = None
        ended = [] if visit.session is None else visit.session.ended

        def end() -> None:
            listener.end(_frame("end", {"reason": "signed-out"}))

        ended.append(end)
        try:
            listener.send(RETRY)
            self._tell_all(listener)
            await listener.over
        finally:
            del self._listeners[listener]
            ended.remove(end)

    def _make_room(self, name: str) -> None:
        """
        Whoever listens most loses their oldest stream, so that nobody keeps all others from listening.

        :raises Problem: it is they who ask for one more.
        """
        counts = Counter(one.visit.identity.name for one in self._listeners)
        greedy, most = counts.most_common(1)[0]
        if counts[name] + 1 >= most:
            detail = f"{MOST_LISTENERS} pages listen already; close some, or look at GET /api/v1/status now and then"
            raise Problem(503, "too-many-listeners", detail, {"retry_after": 10}, {"Retry-After": "10"})
        next(one for one in self._listeners if one.visit.identity.name == greedy).end()

    def _tell_all(self, listener: Listener) -> None:
        """To one who comes, or comes back: how all stands, and the seconds that it does not have."""
        listener.send(_frame("state", self.state()))
        last = self._series.last_at
        if listener.told_at is not None and self._series.has(listener.told_at):
            series = self._series.told(self._about.run, listener.told_at)
            frame = _frame("series", series, None if last is None else self._id(last))
        else:
            frame = self._full_series()
        listener.send(frame)
        if not listener.is_behind:
            listener.told_at = last

    def _full_series(self) -> bytes:
        last = self._series.last_at
        if last is None:
            return _frame("series", self._series.told(self._about.run))
        if self._full is None or self._full[0] != last:
            self._full = last, _frame("series", self._series.told(self._about.run), self._id(last))
        return self._full[1]

    def _id(self, at: int) -> str:
        return f"{self._about.run}-{at}"

    def _second_of(self, id: str | None) -> int | None:
        run, _, number = (id or "").rpartition("-")
        return int(number) if run == self._about.run and _SECOND.match(number) else None


def _standing(figures: Figures) -> tuple[Any, ...]:
    """What of the figures a state tells that is no number."""
    return figures.revision, figures.is_draining


def _frame(event: str, value: Any, id: str | None = None) -> bytes:
    head = f"event: {event}\n" if id is None else f"id: {id}\nevent: {event}\n"
    return head.encode("ascii") + b"data: " + as_json(value) + b"\n"


def _failed(reason: Any) -> None:
    _log.failure("a change was not told", reason)
