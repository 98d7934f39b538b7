"""
rollout.control: reads an app's settings, and changes them. The settings port, the command and the deploy step share it.

Made by whoever composes one of these. The rules of what may become what are in `change`; this brings them to the store,
so that no two writers overwrite each other unseen, and says truly whether a change happened.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Coroutine, Mapping, Sequence
from typing import Any, NoReturn

import attrs
from twisted.internet.defer import Deferred, DeferredList, maybeDeferred
from twisted.internet.task import deferLater
from twisted.logger import Logger

from rolling_router.errors import Conflict, SettingError, StoreLost
from rolling_router.interfaces import IStore, IVersionLister
from rolling_router.rollout.change import Change, Ground, Operation, Restore, SetUp, decide
from rolling_router.rollout.choices import PREFIX, Choice, find_choices
from rolling_router.rollout.history import LONGEST_WHO, LONGEST_WHY, Entry, History
from rolling_router.rollout.keys import NULL, app_prefix
from rolling_router.rollout.order import stages
from rolling_router.rollout.standing import Standing, Texts

CALL_SECONDS = 12.0
"""The limit of one call of the store; stores promise to keep below it by themselves."""
TRIES = 8
"""How often a change is worked out anew because others write at the same time."""
LOOKS = 4
"""How often a store is asked what became of a write that it did not confirm."""
GONE_SECONDS = 60.0
"""After this, whoever began a change and did not end it is gone: no change takes as long."""
PAUSE_SECONDS = 0.05
"""The first wait before another try, doubled each time and drawn by lot."""

_log = Logger()


class Stale(Conflict):
    """
    The settings are no longer those that the change was based on; nothing was written, or it was overtaken.

    :ivar standing: how they stand now.
    """

    def __init__(self, text: str, standing: Standing) -> None:
        super().__init__(text)
        self.standing = standing


class Unfinished(StoreLost):
    """A part of a change was written, and the store no longer answers. The same change again finishes it."""


@attrs.frozen
class Outcome:
    """
    What became of a change.

    :ivar standing: how the app stands now.    :ivar before: how it stood.    :ivar is_changed: whether anything was
        written.    :ivar trouble: what went wrong beside it, such as a history that could not be written.
    """

    standing: Standing
    before: Standing
    is_changed: bool
    trouble: str | None = None


class Control:
    """The settings of one app in one store. Any number of these may be at work on one store."""

    def __init__(
        self,
        app: str,
        store: IStore,
        *,
        strategies: Collection[str],
        default: str,
        clock: Any,
        random: Callable[[], float],
        history: History | None = None,
    ) -> None:
        """
        :param strategies: names that stickiness may have.    :param default: the one that ``1`` means.
        :param clock: the reactor; its seconds are since 1970.    :param random: gives 0..1, as `random.random` does.
        :param history: where changes are written down.
        """
        self.app = app
        self.has_history = history is not None
        self._store = store
        self._strategies = tuple(strategies)
        self._default = default
        self._clock = clock
        self._random = random
        self._history = history
        self._under_way: set[Deferred] = set()

    # Looking

    async def view(self) -> Standing:
        """:raises StoreLost:"""
        return self._standing(await self._keys())

    async def versions(self) -> Sequence[Choice]:
        """
        The versions that can be chosen.

        :raises StoreLost:
        """
        return await self._choices(await self._keys())

    async def last(self, count: int = 50) -> Sequence[Entry]:
        """
        The last changes, newest first; none where no history is kept.

        :raises SettingError: the history cannot be read.
        """
        return () if self._history is None else await self._history.last(count)

    async def interrupted(self) -> Entry | None:
        """
        A change of which a part is in the store, and whose writer is gone. The same change again finishes it; `undo`
        takes back what was written. Only known for stores that are not atomic, where a history is kept.

        :raises StoreLost:    :raises SettingError: the history cannot be read.
        """
        return None if self._history is None else self._broken_off(await self._history.open(), await self.view())

    def _broken_off(self, entry: Entry | None, now: Standing) -> Entry | None:
        if entry is None or self._clock.seconds() - entry.when < GONE_SECONDS:
            return None
        return entry if now.texts in stages(self.app, entry.old, entry.new)[1:-1] else None

    # Changing

    async def change(
        self, operation: Operation, *, who: str, why: str = "", based_on: str | None = None, force: bool = False
    ) -> Outcome:
        """
        Carry an operation out. One that changes nothing writes nothing. Cancelling does not end it, as when a client
        leaves: half a change helps nobody.

        :param who: for the history.    :param why: likewise; may be empty.
        :param based_on: the revision that the decision was made on; with another one in the store nothing is written.
            What is there already counts as done, whatever the revision, so that a change can be sent again.
        :param force: carry out what would be refused to protect from mishaps.
        :raises SettingError: it is refused; nothing was written.
        :raises Stale: the settings are others than `based_on`, or were changed while this was being written.
        :raises Conflict: others write without end; nothing was written.
        :raises StoreLost: the text says whether the change happened, or that this is not known.
        """
        _check_words(who, why)
        return await self._to_its_end(self._change(operation, who, why, based_on, force))

    def settled(self) -> Deferred[None]:
        """Fires when no change is under way: wait for it before the store is closed."""
        over: Deferred[None] = Deferred()
        DeferredList(list(self._under_way)).addCallback(lambda _: over.callback(None))
        return over

    def _to_its_end(self, work: Coroutine[Any, Any, Any]) -> Deferred[Any]:
        """What comes of the work. Cancelling that leaves the work alone."""
        result: Deferred[Any] = Deferred()
        call = Deferred.fromCoroutine(work).addCallbacks(result.callback, result.errback)
        self._under_way.add(call)
        call.addBoth(lambda _: self._under_way.discard(call))
        return result

    async def _change(self, operation: Operation, who: str, why: str, based_on: str | None, is_forced: bool) -> Outcome:
        for attempt in range(TRIES):
            if attempt:
                await self._pause(attempt)
            ground = await self._ground(operation, is_forced)
            before = ground.standing
            is_stale = based_on is not None and based_on != before.revision
            try:
                change = decide(operation, ground)
            except SettingError:
                if is_stale:
                    raise self._stale(based_on, before) from None
                raise
            if not change.changes:
                return Outcome(before, before, False)  # also when stale: it may be the same change, sent again
            if is_stale:
                raise self._stale(based_on, before)
            entry = self._entry(operation, who, why, before, change.aim)
            if not self._store.is_atomic and len(change.changes) > 1 and self._history is not None:
                await self._noted(self._history.begin(entry))
            try:
                after = await self._write(change, before)
            except Stale:
                raise
            except Conflict as wrong:
                conflict = wrong
                continue
            trouble = None if self._history is None else await self._noted(self._history.add(entry))
            return Outcome(after, before, True, trouble)
        raise Conflict(f"{conflict}; others have changed it {TRIES} times meanwhile, so nothing was written; try again")

    async def undo(self, *, who: str, why: str = "", based_on: str | None = None, force: bool = False) -> Outcome:
        """
        Put back what the last change of the history replaced. Undoing that in turn does the change again.

        :raises SettingError: there is no history, or nothing in it.
        :raises Stale: somebody has changed the settings since, without a line in this history; not so with `force`.
            For the rest, see `change`.
        """
        if self._history is None:
            raise SettingError("no history is kept, so there is nothing to undo; name a --state-dir")
        now = await self.view()
        entry = broken = self._broken_off(await self._history.open(), now)
        if entry is None:
            entries = await self._history.last(1)
            if not entries:
                raise SettingError(f"the history of {self.app} has no change yet, so there is nothing to undo")
            entry = entries[0]
        if based_on is not None and now.revision != based_on:
            raise self._stale(based_on, now)
        if now.revision != entry.after and broken is None and not force:
            text = f"somebody has changed {self.app} since the last change in the history, {entry.what} by {entry.who}"
            raise Stale(f"{text}; look at it, then set what is meant, or force it", now)
        operation = Restore(entry.old, what="undo")
        return await self.change(operation, who=who, why=why, based_on=now.revision, force=force)

    def _stale(self, based_on: str | None, now: Standing) -> Stale:
        text = f"the settings of {self.app} are at revision {now.revision}, not {based_on} any more"
        return Stale(f"{text}; look again, then decide", now)

    # Reading

    async def _keys(self) -> Mapping[str, str]:
        # One reading for all, so that versions and settings are of one moment.
        prefixes = [app_prefix(self.app), NULL, PREFIX]
        return (await self._limited(maybeDeferred(self._store.read, prefixes))).keys

    def _standing(self, keys: Mapping[str, str]) -> Standing:
        return Standing.read(self.app, keys, self._strategies, self._default)

    async def _choices(self, keys: Mapping[str, str]) -> Sequence[Choice]:
        lister = IVersionLister(self._store, None)
        return find_choices(keys, () if lister is None else await self._limited(maybeDeferred(lister.versions)))

    async def _ground(self, operation: Operation, is_forced: bool) -> Ground:
        try:
            keys = await self._keys()
        except StoreLost:
            if not isinstance(operation, SetUp):
                raise
            # A store that is made by its first write may say that it is not there. To write is safe: it expects that
            # no setting is there.
            keys = {}
        # A blend can be set, and a rollback made, while the platform's list of versions is out of order.
        choices = await self._choices(keys) if operation.names_version else find_choices(keys)
        return Ground(self._standing(keys), choices, self._strategies, is_forced)

    def _limited(self, call: Deferred[Any]) -> Deferred[Any]:
        return call.addTimeout(CALL_SECONDS, self._clock, self._too_late)

    def _too_late(self, result: object, seconds: float) -> NoReturn:
        where = self._store.description
        raise StoreLost(f"{where} gave no answer within {seconds:g} seconds; look whether it runs and can be reached")

    def _pause(self, attempt: int) -> Deferred[None]:
        return deferLater(self._clock, PAUSE_SECONDS * 2 ** min(attempt, 6) * self._random())

    # Writing

    async def _write(self, change: Change, before: Standing) -> Standing:
        """
        :raises Conflict: nothing was written.    :raises Stale: it was written, and overtaken by another writer.
        :raises StoreLost: the text says what is known of it.
        """
        try:
            await self._put(change.changes, change.expected)
        except StoreLost as lost:
            return await self._settle(change, before, lost)
        if self._store.is_atomic:
            return await self._after(change)
        return await self._verified(change)

    def _put(self, changes: Mapping[str, str | None], expected: Mapping[str, str | None]) -> Deferred[None]:
        return self._limited(maybeDeferred(self._store.put, changes, expected))

    async def _after(self, change: Change) -> Standing:
        """How the app stands after a change that the store has accepted. What others did meanwhile is theirs."""
        try:
            return await self.view()
        except StoreLost:
            texts = {key: text for key, text in change.aim.as_keys(self.app).items() if text is not None}
            return self._standing(texts)

    async def _verified(self, change: Change) -> Standing:
        """Read back what was written key by key: another writer may have come in between."""
        for attempt in range(LOOKS):
            if attempt:  # some stores show a write a moment later
                await self._pause(attempt)
            now = await self._after(change)
            if now.texts == change.aim:
                return now
        raise Stale(f"the change of {self.app} was written, and then changed by somebody else; look again", now)

    async def _settle(self, change: Change, before: Standing, lost: StoreLost) -> Standing:
        """Find out what became of a write that was not confirmed, and finish it if it was broken off."""
        stages = _stages(change, before)
        wrote = False
        for attempt in range(LOOKS):
            await self._pause(attempt + 1)
            try:
                now = await self.view()
            except StoreLost:
                continue
            if now.texts == change.aim:
                return now
            if now.texts not in stages:
                raise Stale(f"while it was being written, somebody else changed {self.app}; look again", now)
            if now.texts == before.texts and not wrote:
                raise StoreLost(f"{lost}. Nothing was changed; try again")
            wrote = True
            rest = stages[now.texts]
            _log.warn("{app}: finishing a change that was broken off: {keys}", app=self.app, keys=", ".join(rest))
            try:
                await self._put(rest, now.texts.as_keys(self.app))
            except Conflict:
                continue
            except StoreLost as again:
                lost = again
        if wrote:
            raise Unfinished(f"{lost}. The change was begun and not finished; make it again when the store is back")
        raise StoreLost(f"{lost}. Whether the change happened is not known; look again when the store is back")

    def _entry(self, operation: Operation, who: str, why: str, before: Standing, aim: Texts) -> Entry:
        return Entry(
            when=round(self._clock.seconds(), 3),  # as its line has it
            who=who,
            what=operation.what,
            why=why,
            old=before.texts,
            new=aim,
            before=before.revision,
            after=aim.revision(self.app),
        )

    async def _noted(self, writing: Deferred[None]) -> str | None:
        """:returns: what went wrong with the history."""
        try:
            await writing
        except Exception as wrong:  # the change has happened, whatever becomes of its line
            _log.error("{app}: the history cannot be written: {wrong}", app=self.app, wrong=wrong)
            return f"the history cannot be written: {wrong}"
        return None


def _stages(change: Change, before: Standing) -> dict[Texts, dict[str, str | None]]:
    """The settings after each of a change's writes but the last -> what is then still to be written."""
    app = before.app
    found: dict[Texts, dict[str, str | None]] = {}
    keys, rest = before.texts.as_keys(app), dict(change.changes)
    for key, text in change.changes.items():
        found[Texts(*keys.values())] = dict(rest)
        del rest[key]
        if key in keys:
            keys[key] = text
    return found


def _check_words(who: str, why: str) -> None:
    for name, text, longest in (("who", who, LONGEST_WHO), ("reason", why, LONGEST_WHY)):
        if len(text) > longest:
            raise SettingError(f"the {name} has {len(text)} characters; it may have {longest}")
