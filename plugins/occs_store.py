"""
occs_store: the keys of an Oracle Container Cloud Service, read from a manager or a node, written through a manager.

There is nothing to wait on there, so it polls; and no transactions, so several keys are written one after the other.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Any, NoReturn

from twisted.internet.defer import CancelledError, Deferred, fail
from twisted.internet.task import deferLater
from zope.interface import alsoProvides, implementer

from rolling_router.interfaces import (
    Conflict,
    IStore,
    IVersionLister,
    KnownVersion,
    Reading,
    SettingError,
    StoreContext,
    StoreLost,
)
from rolling_router.occs.calls import ONCE, PATIENCE, Refused
from rolling_router.occs.client import OccsClient
from rolling_router.occs.deployments import RUNNING

from .occs_sight import Keyed, Sight, together

READ_SECONDS = 9.0
PUT_SECONDS = 9.9
SIGHT_SECONDS = 3.0
"""How long a node may take to show what was written at the manager; after that, it counts as written all the same."""
SIGHT_AGAIN_SECONDS = 0.1
LOST_LEAST_SECONDS, LOST_MOST_SECONDS = 0.5, 1.5
"""Between two looks whether a lost store is back."""
JITTER = 0.1


@implementer(IStore)
class OccsStore:
    """The keys of one platform."""

    is_atomic = False

    def __init__(
        self, context: StoreContext, reads: OccsClient, writes: OccsClient | None, poll_seconds: float
    ) -> None:
        """:param writes: a manager, the same as `reads` or another; ``None``: the store cannot be written."""
        self.description = f"occs:{reads.where}"
        self._reactor = reactor = context.reactor
        self._reads = reads
        self._writes = writes
        self._poll_seconds = poll_seconds
        self._sight = Sight(reactor, reads.keys)
        self._app_prefix = f"rolling/{context.app}/"
        self._followed: tuple[str, ...] = (self._app_prefix,)
        self._told: Mapping[str, Keyed] = {}  # what the reader knows, by prefix
        self._failures = 0  # in a row; the store is lost when there are any
        self._changed: Callable[[], None] = lambda: None
        self._following: Deferred[None] | None = None
        self._under_way: set[Deferred] = set()
        self._is_closed = False
        if writes is not None:
            alsoProvides(self, IVersionLister)

    def read(self, prefixes: Sequence[str]) -> Deferred[Reading]:
        return self._limited(self._read(_widest(prefixes)), READ_SECONDS)

    def put(self, changes: Mapping[str, str | None], expected: Mapping[str, str | None]) -> Deferred[None]:
        return self._limited(self._put(dict(changes), dict(expected)), PUT_SECONDS)

    def versions(self) -> Deferred[Sequence[KnownVersion]]:
        """`IVersionLister`, where there is a manager: all deployments, in its order."""
        return self._limited(self._versions(), READ_SECONDS)

    def watch(self, changed: Callable[[], None]) -> None:
        self._changed = changed
        self._following = Deferred.fromCoroutine(self._follow())
        self._following.addErrback(lambda reason: reason.trap(CancelledError))

    def close(self) -> Deferred[None]:
        self._is_closed = True
        self._changed = lambda: None
        for call in (*self._under_way, *filter(None, [self._following])):
            call.cancel()
        return Deferred.fromCoroutine(self._let_go())

    async def _let_go(self) -> None:
        for client in filter(None, dict.fromkeys([self._reads, self._writes])):
            await client.close()
        await deferLater(self._reactor, 0)  # connections that are cut off end in the reactor's next turn

    def _limited(self, work: Coroutine[Any, Any, Any], seconds: float) -> Deferred[Any]:
        if self._is_closed:
            work.close()
            return fail(StoreLost(f"{self.description} is closed"))
        call = Deferred.fromCoroutine(work)
        self._under_way.add(call)
        call.addTimeout(seconds, self._reactor, self._too_late)
        return call.addBoth(self._over, call)

    def _over(self, result: Any, call: Deferred) -> Any:
        self._under_way.discard(call)
        return result

    def _too_late(self, result: object, seconds: float) -> NoReturn:
        raise StoreLost(f"{self._reads.where} gave no answer within {seconds:g} seconds; look whether it runs")

    # Reading

    async def _read(self, prefixes: tuple[str, ...]) -> Reading:
        is_reader = all(map(self._is_followed, prefixes))
        if is_reader:
            self._followed = prefixes or (self._app_prefix,)
        try:
            # A lost store is looked at often enough, by the reader and by ourselves: once each time will do.
            found = await self._sight.look(prefixes, ONCE if self._failures else PATIENCE)
        except StoreLost:
            self._failures += is_reader
            raise
        if is_reader:
            self._failures = 0
            self._told = found
        return Reading({key: text for keys in found.values() for key, text in keys.items()})

    def _is_followed(self, prefix: str) -> bool:
        """Whether the router follows what is there, other than who wants to know all versions that could be chosen."""
        return prefix.startswith(self._app_prefix) or prefix.endswith("/containers/")

    async def _versions(self) -> Sequence[KnownVersion]:
        assert self._writes is not None  # for the door is shut without it
        try:
            found = await self._writes.deployments.all()
        except Refused as refused:  # there is nothing in the question to be refused: it is out of order
            raise StoreLost(str(refused)) from None
        return [KnownVersion(one.id, one.name, is_ready=one.is_in(RUNNING)) for one in found]

    # Watching

    async def _follow(self) -> None:
        while True:
            await deferLater(self._reactor, self._pause_seconds(random.random()))
            self._sight.forget()
            if self._failures:
                await self._look_whether_it_is_back()
            else:
                await self._look_whether_it_changed()

    def _pause_seconds(self, draw: float) -> float:
        wait = self._poll_seconds
        if self._failures:
            wait = min(LOST_MOST_SECONDS, LOST_LEAST_SECONDS * 2 ** min(self._failures - 1, 5))
        return wait * (1 + JITTER * (2 * draw - 1))

    async def _look_whether_it_changed(self) -> None:
        try:
            found = await self._sight.look(self._followed, PATIENCE)
        except StoreLost:
            self._failures += 1
        else:
            if all(self._told.get(prefix) == keys for prefix, keys in found.items()):
                return
            self._told = found
        self._changed()

    async def _look_whether_it_is_back(self) -> None:
        try:
            await self._sight.look(self._followed[:1], ONCE)
        except StoreLost:
            self._failures += 1
        else:
            self._failures = 0
            self._changed()

    # Writing

    async def _put(self, changes: dict[str, str | None], expected: dict[str, str | None]) -> None:
        if self._writes is None:
            raise SettingError(
                f"{self._reads.where} is a node, whose keys can be read only; "
                "set OCCS_MANAGER to the manager's address, such as https://10.0.0.1, to write through it"
            )
        gets = [Deferred.fromCoroutine(self._writes.keys.get(key)) for key in expected]
        for (key, text), found in zip(expected.items(), await together(gets), strict=True):
            if found != text:
                raise Conflict(f"{key} is {_shown(found)}, not {_shown(text)} any more; read it again, then decide")
        try:
            await self._write(self._writes, changes)
        finally:
            self._sight.forget()
        if self._reads is not self._writes:
            await self._until_seen(changes)
        self._changed()

    async def _write(self, writes: OccsClient, changes: dict[str, str | None]) -> None:
        left = list(changes)
        for key, text in changes.items():
            try:
                await (writes.keys.delete(key) if text is None else writes.keys.put(key, text))
            except StoreLost as lost:
                written = ", ".join(one for one in changes if one not in left) or "nothing"
                raise StoreLost(f"{lost}; written until then: {written}; not written: {', '.join(left)}") from None
            left.remove(key)

    async def _until_seen(self, changes: Mapping[str, str | None]) -> None:
        """A node may be late. Whoever writes wants to see it in force, and nobody wants to wait for ever."""
        give_up_at = self._reactor.seconds() + SIGHT_SECONDS
        left = list(changes)
        while left and self._reactor.seconds() < give_up_at:
            try:
                if await self._reads.keys.get(left[-1], ONCE) == changes[left[-1]]:
                    left.pop()
                    continue
            except StoreLost:
                return  # written it is; that the node is away, the next poll will tell
            await deferLater(self._reactor, SIGHT_AGAIN_SECONDS)
        self._sight.forget()


def _widest(prefixes: Sequence[str]) -> tuple[str, ...]:
    """Without those that lie below another one: they are read with it."""
    found = dict.fromkeys(prefixes)
    return tuple(one for one in found if not any(one != other and one.startswith(other) for other in found))


def _shown(text: str | None) -> str:
    return "absent" if text is None else repr(text[:100])
