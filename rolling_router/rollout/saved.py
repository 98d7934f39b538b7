"""
rollout.saved: the keys of the last good snapshot, on disk, for a start while the store is away. Used by `watcher`.

They are kept as the store told them, not as the model has them: a later release may read them with other eyes.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Mapping
from typing import Any

import attrs
from twisted.internet.defer import Deferred, maybeDeferred, succeed
from twisted.logger import Logger

from rolling_router import disk

_log = Logger()


@attrs.frozen
class Kept:
    """
    What a store held when it was last seen to change.

    :ivar read_at: when it told so, in seconds since 1970.    :ivar store: its description.
    """

    keys: Mapping[str, str]
    read_at: float
    store: str


class Saved:
    """One app's file in the state directory. Several processes may share it; the last to write wins."""

    def __init__(self, directory: str, app: str, aside: Callable[..., Any]) -> None:
        """
        :param directory: made when there is none.    :param app: a name that `keys.check_app` passed.
        :param aside: called with a function and its arguments, runs it where it may block;
            e.g. ``partial(deferToThreadPool, reactor, reactor.getThreadPool())``.
        """
        self.path = os.path.join(directory, f"snapshot-{app}.json")
        self._aside = aside
        self._newest: Kept | None = None
        self._on_disk: Kept | None = None
        self._writing: Deferred[None] = succeed(None)

    def load(self) -> Kept | None:
        """
        What was kept, or ``None``: nothing was, or the file is damaged, which is logged.

        Called at most once, when the first read of the store has failed.
        """
        try:
            with open(self.path, encoding="utf-8") as file:
                kept = _parse(file.read())
        except FileNotFoundError:
            return None
        except (OSError, ValueError, RecursionError) as wrong:
            _log.warn("the saved snapshot {path} is of no use and ignored: {wrong}", path=self.path, wrong=wrong)
            return None
        self._newest = self._on_disk = kept
        return kept

    def keep(self, kept: Kept) -> None:
        """
        Write this soon, unless it is there already. A newer one overtakes those that are not written yet.

        Called after each good read of the store. Never fails: what goes wrong is logged.
        """
        if self._newest is not None and (self._newest.keys, self._newest.store) == (kept.keys, kept.store):
            return
        self._newest = kept
        if self._writing.called:
            self._writing = Deferred.fromCoroutine(self._write_newest())

    def settled(self) -> Deferred[None]:
        """Fires when nothing is being written."""
        over: Deferred[None] = Deferred()
        self._writing.addCallback(over.callback)
        return over

    async def _write_newest(self) -> None:
        while (kept := self._newest) is not self._on_disk and kept is not None:
            try:
                await maybeDeferred(self._aside, _write, self.path, kept)
                self._on_disk = kept
            except Exception as wrong:
                _log.warn("the snapshot cannot be saved as {path}: {wrong}", path=self.path, wrong=wrong)
                if self._newest is kept:
                    self._newest = self._on_disk  # so that the next read tries again


def _parse(text: str) -> Kept:
    """:raises ValueError: with a sentence that says what is wrong."""
    found = json.loads(text, parse_int=float)  # a number too long for a float is then infinite, and refused
    if not isinstance(found, dict):
        raise ValueError("it is not a JSON object")
    keys, read_at, store = (found.get(name) for name in ("keys", "read_at", "store"))
    if not isinstance(keys, dict) or not all(isinstance(value, str) for value in keys.values()):
        raise ValueError("its 'keys' are not an object of strings")
    if not isinstance(read_at, (int, float)) or not math.isfinite(read_at):
        raise ValueError("its 'read_at' is not a time")
    if not isinstance(store, str):
        raise ValueError("its 'store' is not a string")
    return Kept(keys, float(read_at), store)


def _write(path: str, kept: Kept) -> None:
    """Called in a thread.    :raises OSError:"""
    os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
    disk.replace(path, json.dumps(attrs.asdict(kept), indent=2, sort_keys=True).encode("ascii") + b"\n")
