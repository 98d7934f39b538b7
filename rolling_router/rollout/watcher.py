"""
rollout.watcher: follows the store and publishes the next Snapshot. Nothing that a store does ends the watching.

Made by `service`, which hands the snapshots to `routing` and `health`. It reads and closes the store, never writes it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from typing import Any, NoReturn

import attrs
from twisted.application.service import Service
from twisted.internet.defer import Deferred, maybeDeferred, succeed
from twisted.internet.task import deferLater
from twisted.logger import Logger
from twisted.python.failure import Failure

from rolling_router.errors import StoreLost
from rolling_router.interfaces import IStore, Reading
from rolling_router.rollout.keys import read_snapshot
from rolling_router.rollout.model import Problem, Snapshot
from rolling_router.rollout.reader import Reader
from rolling_router.rollout.saved import Kept, Saved
from rolling_router.rollout.state import Source, State

__all__ = ["Source", "State", "Watcher", "retry_seconds"]

READ_SECONDS = 10.0
"""The time limit of a read, and of each part of stopping."""
GAP_SECONDS = 0.01
"""Between a hint and its read: the many hints of one change cost one read, and no store makes us spin."""
SAVED_SECONDS = 2.0
"""After this without a first answer, what was saved is served: clients are not to wait for a store that hangs."""
RETRY_LEAST_SECONDS, RETRY_MOST_SECONDS = 0.25, 5.0
_TOLD_MOST = 20  # reasons that are logged during one loss, should they all differ

_log = Logger()


def retry_seconds(failures: int, draw: float) -> float:
    """
    How long to wait after so many failures in a row.

    :param failures: 1 or more.    :param draw: 0..1, at random: a herd of routers is not to come back as one.
    """
    most = min(RETRY_MOST_SECONDS, 2 * RETRY_LEAST_SECONDS * 2 ** min(failures - 1, 10))
    return most * (1 + draw) / 2


class Watcher(Service):
    """
    Follows one store for one app, from its start to its stop; it cannot be started again.

    :ivar state: what is known now; replaced whole.
    :ivar first: fires with ``None`` when the first read has ended, well or not, or what was saved is in force, or the
        watcher is stopped.
    :ivar known: fires with ``None`` when the first snapshot is in force; never, if none comes.
    """

    def __init__(
        self,
        reactor: Any,
        app: str,
        store: IStore,
        publish: Callable[[Snapshot], None],
        *,
        strategies: Collection[str],
        default: str,
        random: Callable[[], float],
        saved: Saved | None = None,
    ) -> None:
        """
        :param reactor: the clock.
        :param publish: called with each snapshot that differs from the one before.
        :param strategies: names that ``stickyness`` may have.    :param default: the one that ``1`` means.
        :param random: gives 0..1, as `random.random` does.
        :param saved: where the last good snapshot is kept for a start without the store.
        """
        self._state = State(store.description)
        self._tell: list[Callable[[], None]] = []
        self.first: Deferred[None] = Deferred()
        self.known: Deferred[None] = Deferred()
        self._clock = reactor
        self._app = app
        self._store = store
        self._reader = Reader(app, store)
        self._publish = publish
        self._strategies = strategies
        self._default = default
        self._random = random
        self._saved = saved
        self._is_saved_read = False
        self._under_way: list[Deferred] = []
        self._is_hinted = False
        self._nudge: Deferred[None] | None = None  # there while the loop waits for a hint
        self._waiting: list[Deferred[State]] = []  # for the next read
        self._failures = 0
        self._longest_wait: float | None = None  # between reads of a store that is there; none if it gives hints
        self._problems: frozenset[Problem] = frozenset()
        self._told: set[str] = set()  # the reasons that were logged since the store was lost

    @property
    def state(self) -> State:
        return self._state

    @state.setter
    def state(self, state: State) -> None:
        self._state = state
        for tell in self._tell:
            try:
                tell()
            except Exception:  # the others are to hear of it all the same
                _log.failure("{app}: somebody could not take the news", app=self._app)

    def subscribe(self, tell: Callable[[], None]) -> None:
        """
        Have `tell` called after each change of `state`, also one that concerns the store alone.

        It is to return at once; the snapshot may not have been published yet.
        """
        self._tell.append(tell)

    def startService(self) -> None:
        super().startService()
        watching = maybeDeferred(self._store.watch, self.hint).addErrback(self._deaf)
        following = Deferred.fromCoroutine(self._follow()).addErrback(self._ended)
        self._under_way = [watching, following]
        if self._saved is not None:
            self._end_with_first(self._clock.callLater(SAVED_SECONDS, self._fall_back))

    def stopService(self) -> Deferred[None]:
        super().stopService()
        return Deferred.fromCoroutine(self._stop())

    def hint(self) -> None:
        """Read the store again soon. The store calls this; hints that come meanwhile add up to one more read."""
        self._is_hinted = True
        nudge, self._nudge = self._nudge, None
        if nudge is not None:
            nudge.callback(None)

    def refresh(self) -> Deferred[State]:
        """
        Read the store anew, then tell what is known: for who has just written, to show what came back.

        Never fails; `State.trouble` says when the store did not answer. Fires after at most two reads' limits.
        """
        if not self.running:
            return succeed(self.state)
        waiting: Deferred[State] = Deferred()
        self._waiting.append(waiting)
        self.hint()
        return waiting

    # The loop

    async def _follow(self) -> None:
        while True:
            self._is_hinted = False
            waiting, self._waiting = self._waiting, []
            try:
                await self._read()
            finally:
                self._answer(waiting)
            await self._until_hinted()
            await deferLater(self._clock, GAP_SECONDS)

    def _answer(self, waiting: Iterable[Deferred[State]]) -> None:
        for one in waiting:
            one.callback(self.state)
        self._tell_first()

    def _end_with_first(self, timer: Any) -> None:
        def end(_: None) -> None:
            if timer.active():
                timer.cancel()

        self.first.addCallback(end)

    def _tell_first(self) -> None:
        if not self.first.called:
            self.first.callback(None)

    async def _until_hinted(self) -> None:
        if self._is_hinted:
            return
        nudge: Deferred[None] = Deferred()
        self._nudge = nudge
        wait = retry_seconds(self._failures, self._random()) if self._failures else self._longest_wait
        timer = None if wait is None else self._clock.callLater(wait, self.hint)
        try:
            await nudge
        finally:
            if timer is not None and timer.active():
                timer.cancel()

    def _read(self) -> Deferred[Any]:
        reading = Deferred.fromCoroutine(self._reader.read())
        reading.addTimeout(READ_SECONDS, self._clock, self._too_late)
        return reading.addCallback(self._found).addErrback(self._lost)

    def _too_late(self, result: object, seconds: float) -> NoReturn:
        where = self._store.description
        raise StoreLost(f"{where} gave no answer within {seconds:g} seconds; look whether it runs and can be reached")

    # What a read ends in

    def _found(self, reading: Reading) -> None:
        now = self._clock.seconds()
        keys = self._reader.relevant(reading.keys)
        snapshot = read_snapshot(self._app, keys, self._strategies, self._default)
        if self.state.lost_at is not None:
            away = round(now - self.state.lost_at, 1)
            _log.info("{app}: the store is back after {away} s", app=self._app, away=away)
        self._failures = 0
        self._told.clear()
        self._take(
            snapshot,
            attrs.evolve(
                self.state,
                store=self._store.description,
                source=Source.STORE,
                read_at=now,
                lost_at=None,
                trouble=None,
                revision=reading.revision,
            ),
        )
        if self._saved is not None:
            self._saved.keep(Kept(keys, now, self._store.description))

    def _lost(self, reason: Failure) -> Failure | None:
        if not self.running:
            return reason  # our own cancelling
        self._failures += 1
        text = self._explained(reason)
        if text not in self._told and len(self._told) < _TOLD_MOST:
            self._told.add(text)
            _log.warn("{app}: the store is lost: {trouble}", app=self._app, trouble=text)
            if not reason.check(StoreLost):
                _log.failure("the plugin of {store} failed", reason, store=self._store.description)
        lost_at = self._clock.seconds() if self.state.lost_at is None else self.state.lost_at
        self.state = attrs.evolve(self.state, lost_at=lost_at, trouble=text)
        if self._failures == 1:
            self._fall_back()
        return None

    def _explained(self, reason: Failure) -> str:
        if reason.check(StoreLost):
            return reason.getErrorMessage()
        name, message = type(reason.value).__name__, reason.getErrorMessage()
        return f"the plugin of {self._store.description} failed with {name}: {message}; the log has more"

    def _fall_back(self) -> None:
        """Put what was saved in force, if nothing is yet."""
        if self._saved is None or self._is_saved_read or self.state.snapshot is not None:
            return
        self._is_saved_read = True
        kept = self._saved.load()
        if kept is None:
            return
        ago = f"{self._clock.seconds() - kept.read_at:.0f} s ago"
        _log.warn("{app}: serving what {store} held {ago}", app=self._app, store=kept.store, ago=ago)
        snapshot = read_snapshot(self._app, kept.keys, self._strategies, self._default)
        state = attrs.evolve(self.state, store=kept.store, source=Source.SAVED, read_at=kept.read_at)
        self._take(snapshot, state)
        self._tell_first()

    def _take(self, snapshot: Snapshot, state: State) -> None:
        """Put `state` in force, with the snapshot; publish that if it is another than before."""
        present = self.state.snapshot
        if snapshot == present and snapshot.revision == present.revision:
            self.state = state  # the old snapshot stays the same object: others may key on it
            return
        self.state = attrs.evolve(state, snapshot=snapshot, changed_at=self._clock.seconds())
        for problem in snapshot.problems:
            if problem not in self._problems:
                _log.warn("{problem}", app=self._app, problem=problem)
        self._problems = frozenset(snapshot.problems)
        try:
            self._publish(snapshot)
        except Exception:  # the store is followed on all the same
            _log.failure("{app}: the new snapshot could not be put in force", app=self._app)
        if not self.known.called:
            self.known.callback(None)

    # Odd ends

    def _deaf(self, reason: Failure) -> None:
        if self.running:
            _log.failure("{store} cannot be watched; reading it now and then", reason, store=self._store.description)
            self._longest_wait = RETRY_MOST_SECONDS
            self.hint()

    def _ended(self, reason: Failure) -> None:
        if self.running:
            _log.failure("{app}: the watching ended, which is a mistake in it", reason, app=self._app)

    async def _stop(self) -> None:
        for call in self._under_way:
            call.cancel()
        waiting, self._waiting = self._waiting, []
        self._answer(waiting)
        try:
            await maybeDeferred(self._store.close).addTimeout(READ_SECONDS, self._clock)
            if self._saved is not None:
                await self._saved.settled().addTimeout(READ_SECONDS, self._clock)
        except Exception:  # it may be a third party's, and the router ends whatever it does
            _log.failure("{store} was not closed in good order", store=self._store.description)
