"""
occs.emulator.keyvalues: the key-value store behind both doors, as Consul has it. Pure: no disk, no clock of its own.

Written by `kv_routes` for clients and by `deployments` for discovery keys; kept on disk by `state`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from typing import Any

import attrs


@attrs.frozen
class Entry:
    """
    One key's value.

    :ivar created: the store's index when the key came to be; `modified`: when the value was last written.
    :ivar is_lasting: whether it outlives the process; discovery keys do not, as their containers do not.
    """

    value: bytes
    created: int
    modified: int
    is_lasting: bool = True


Follower = Callable[[str, Entry | None], None]


class KeyValues:
    """The truth."""

    def __init__(self) -> None:
        self.index = 0
        self._entries: dict[str, Entry] = {}
        self._followers: list[Follower] = []

    def follow(self, follower: Follower) -> None:
        """Call `follower` with each change from now on: the key, and its entry or ``None`` where it is gone."""
        self._followers.append(follower)

    def load(self, entries: dict[str, Entry], index: int) -> None:
        """Take what the disk had. Called once, before anybody asks."""
        for key, entry in entries.items():
            self._set(key, entry)
        self.index = max([index, *(entry.modified for entry in entries.values())])

    def put(self, key: str, value: bytes, is_lasting: bool = True) -> None:
        """Create or overwrite."""
        self.index += 1
        old = self._entries.get(key)
        self._set(key, Entry(value, self.index if old is None else old.created, self.index, is_lasting))

    def remove(self, key: str) -> None:
        """Remove one key; an absent one is no error."""
        if key in self._entries:
            self.index += 1
            self._set(key, None)

    def get(self, key: str) -> Entry | None:
        return self._entries.get(key)

    def under(self, prefix: str) -> list[tuple[str, Entry]]:
        """All whose key begins with `prefix`, in byte order."""
        return _under(self._entries, prefix)

    def __iter__(self) -> Iterator[tuple[str, Entry]]:
        return iter(self._entries.items())

    def _set(self, key: str, entry: Entry | None) -> None:
        _apply(self._entries, key, entry)
        for follower in self._followers:
            follower(key, entry)


class Worker:
    """The same as a worker node sees it: late, where a delay is set. Order is kept whatever the delay does."""

    def __init__(self, truth: KeyValues, clock: Any, delay: Callable[[], float]) -> None:
        """:param delay: asked at each write: how many seconds later it is seen here."""
        self._entries: dict[str, Entry] = dict(truth)
        self._coming: deque[tuple[float, str, Entry | None]] = deque()
        self._clock = clock
        self._delay = delay
        truth.follow(self._note)

    def get(self, key: str) -> Entry | None:
        self._catch_up()
        return self._entries.get(key)

    def under(self, prefix: str) -> list[tuple[str, Entry]]:
        self._catch_up()
        return _under(self._entries, prefix)

    def _note(self, key: str, entry: Entry | None) -> None:
        due = self._clock.seconds() + self._delay()
        if self._coming:
            due = max(due, self._coming[-1][0])
        self._coming.append((due, key, entry))
        self._catch_up()

    def _catch_up(self) -> None:
        now = self._clock.seconds()
        while self._coming and self._coming[0][0] <= now:
            _, key, entry = self._coming.popleft()
            _apply(self._entries, key, entry)


def _apply(entries: dict[str, Entry], key: str, entry: Entry | None) -> None:
    if entry is None:
        entries.pop(key, None)
    else:
        entries[key] = entry


def _under(entries: dict[str, Entry], prefix: str) -> list[tuple[str, Entry]]:
    found = [(key, entry) for key, entry in entries.items() if key.startswith(prefix)]
    return sorted(found, key=lambda pair: pair[0].encode("utf-8"))
