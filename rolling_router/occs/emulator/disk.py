"""occs.emulator.disk: the state directory: the lock that keeps a second emulator out, and who writes the state."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred, maybeDeferred

from rolling_router.disk import NEW, replace
from rolling_router.errors import SettingError


def open_directory(path: Path) -> int:
    """
    Make the directory if there is none, and lock it for this process.

    :returns: the lock's descriptor; to close it is to let go.
    :raises SettingError: it cannot be made, or another emulator has it.
    """
    lock = path / "lock"
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        opened = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as wrong:
        raise SettingError(f"--state-dir {path} cannot be used: {wrong.strerror}") from None
    try:
        fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(opened)
        raise SettingError(f"--state-dir {path} is in use by another emulator; give each its own") from None
    for left in path.glob(f".*{NEW}"):  # by an emulator that was killed while it wrote
        left.unlink(missing_ok=True)
    return opened


class Writer:
    """
    Writes one file in a thread, each time with all that is known then: writes that come while one is at it
    share the next one.
    """

    def __init__(self, path: Path, content: Callable[[], bytes], aside: Callable[..., Any]) -> None:
        """
        :param content: called in the reactor's thread, as late as possible.
        :param aside: runs a function with its arguments where it may block, and gives a Deferred.
        """
        self.path = path
        self._content = content
        self._aside = aside
        self._waiting: list[Deferred[None]] = []
        self._is_writing = False

    def save(self) -> Deferred[None]:
        """Fires when what is known now is on disk, or fails with the OSError that kept it from there."""
        done: Deferred[None] = Deferred()
        self._waiting.append(done)
        if not self._is_writing:
            self._is_writing = True
            Deferred.fromCoroutine(self._write())
        return done

    async def _write(self) -> None:
        while self._waiting:
            served, self._waiting = self._waiting, []
            failure: Exception | None = None
            try:
                await maybeDeferred(self._aside, replace, self.path, self._content())
            except Exception as wrong:
                failure = wrong
            for done in served:
                if failure is None:
                    done.callback(None)
                else:
                    done.errback(failure)
        self._is_writing = False
