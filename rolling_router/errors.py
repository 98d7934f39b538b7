"""errors: the tree of what can go wrong. Each text names the thing, the value seen, and what would mend it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


class RouterError(Exception):
    """The root: whatever this project raises on purpose."""


class SettingError(RouterError):
    """A value that a person chose cannot be used: an option, a key's text, a plugin's name."""


class StoreLost(RouterError):
    """The store gave no usable answer; what it holds is unknown, and nothing may be concluded from that."""


class Conflict(RouterError):
    """A conditional write was refused: a key no longer has the value that the writer had seen."""


@contextmanager
def naming(said: str) -> Iterator[None]:
    """
    Say of what is refused inside how it was given.

    :param said: an option, such as ``--store``, or a variable.    :raises SettingError: that, with `said` before it.
    """
    try:
        yield
    except SettingError as wrong:
        raise SettingError(f"{said}: {wrong}") from None
