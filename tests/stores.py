"""stores: a store in memory that does as a test says: atomic or not, broken off, answered late, written by others."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from twisted.internet.defer import Deferred, fail, succeed
from zope.interface import alsoProvides, implementer

from rolling_router.errors import Conflict, StoreLost
from rolling_router.interfaces import IStore, IVersionLister, KnownVersion, Reading


@implementer(IStore)
class MemoryStore:
    """
    :ivar states: what the keys were after each single write.
    :ivar break_after: after so many single writes of a `put` it fails with `StoreLost`; once.
    :ivar is_away: whether all calls fail.    :ivar before_put: called before each `put`, e.g. to write something else.
    """

    description = "memory:shop"

    def __init__(self, keys: Mapping[str, str], *, is_atomic: bool = True) -> None:
        self.keys = dict(keys)
        self.is_atomic = is_atomic
        self.states: list[dict[str, str]] = []
        self.puts: list[Mapping[str, str | None]] = []
        self.break_after: int | None = None
        self.is_away = False
        self.before_put: Callable[[], Any] = lambda: None
        self.listed: Sequence[KnownVersion] = ()

    def lists(self, *versions: KnownVersion) -> None:
        """Be a store that knows versions by itself."""
        self.listed = versions
        alsoProvides(self, IVersionLister)

    def versions(self) -> Deferred[Sequence[KnownVersion]]:
        return fail(StoreLost("away")) if self.is_away else succeed(self.listed)

    def read(self, prefixes: Sequence[str]) -> Deferred[Reading]:
        if self.is_away:
            return fail(StoreLost("away"))
        return succeed(Reading({key: text for key, text in self.keys.items() if key.startswith(tuple(prefixes))}))

    def put(self, changes: Mapping[str, str | None], expected: Mapping[str, str | None]) -> Deferred[None]:
        self.before_put()
        if self.is_away:
            return fail(StoreLost("away"))
        for key, text in expected.items():
            if self.keys.get(key) != text:
                return fail(Conflict(f"{key} is {self.keys.get(key)!r}, not {text!r}"))
        self.puts.append(dict(changes))
        limit, self.break_after = self.break_after, None
        for number, (key, text) in enumerate(changes.items()):
            if limit is not None and number >= limit:
                return fail(StoreLost("broken off"))
            self.write(key, text)
            if not self.is_atomic:
                self.states.append(dict(self.keys))
        if self.is_atomic:
            self.states.append(dict(self.keys))
        return succeed(None) if limit is None else fail(StoreLost("no answer"))

    def write(self, key: str, text: str | None) -> None:
        """As if somebody else had."""
        if text is None:
            self.keys.pop(key, None)
        else:
            self.keys[key] = text

    def watch(self, changed: Callable[[], None]) -> None: ...

    def close(self) -> Deferred[None]:
        return succeed(None)
