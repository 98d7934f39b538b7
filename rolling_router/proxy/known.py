"""
proxy.known: heads that came before, and what was read in them: the same bytes mean the same thing.

Asked by `knowing` and `response`, once for each head. Kept connections send the same fields again and again, and so do
instances. What is kept follows from the bytes and from settings that do not change, and from nothing of who sent them.
"""

from __future__ import annotations

from typing import Generic, TypeVar

Meaning = TypeVar("Meaning")

LONGEST_BYTES = 4096
"""A head beyond it is not looked up."""

_MOST_KEPT = 512
_MOST_NOTED = 8192


class Known(Generic[Meaning]):
    """
    Bytes of a head -> what they mean. Bounded: others choose the bytes; with the longest heads it holds 14 MB.

    :ivar get: the meaning of these bytes, or ``None``.
    """

    __slots__ = ("_meanings", "_noted", "get")

    def __init__(self) -> None:
        self._meanings: dict[bytes, Meaning] = {}
        self._noted: set[int] = set()
        self.get = self._meanings.get  # bound once: every request asks twice

    def __len__(self) -> int:
        return len(self._meanings)

    def is_worth(self, head: bytes) -> bool:
        """Whether these bytes should be kept: not the first time that they come, for most come only once."""
        note = hash(head)
        if note in self._noted:
            return True
        if len(self._noted) >= _MOST_NOTED:
            self._noted.clear()
        self._noted.add(note)
        return False

    def keep(self, head: bytes, meaning: Meaning) -> None:
        """:param meaning: never changed from here on: all who ask get this very object."""
        if len(self._meanings) >= _MOST_KEPT:
            del self._meanings[next(iter(self._meanings))]
        self._meanings[head] = meaning
