"""
file_watch: when to read the file store's file again. Called by `file` alone.

Two ways, because neither is enough: inotify tells at once, but sees nothing of what other machines do on a network
file system, nor beyond a symbolic link, nor another directory put in the place of the file's; looking at the
modification time sees all that, a little later.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.error import ConnectionDone
from twisted.internet.task import deferLater
from twisted.python.failure import Failure
from twisted.python.filepath import FilePath

try:
    from twisted.internet import inotify
except ImportError:  # no such thing on this system
    inotify = None  # type: ignore[assignment]

FAST_SECONDS = 0.05
"""Between two looks at a file that inotify does not follow."""
SLOW_SECONDS = 1.0
"""Between two looks where inotify tells us most things."""

Mark = tuple[int, ...]


class FileWatch:
    """Follows one file, there or not, from its making to `stop`."""

    def __init__(self, reactor: Any, path: str, aside: Callable[..., Deferred], changed: Callable[[], None]) -> None:
        """
        :param aside: runs a function with its arguments in a thread.
        :param changed: called in the reactor's thread after each change, and now and then without one.
        """
        self._reactor = reactor
        self._path = path
        self._aside = aside
        self._changed = changed
        self._directory: Mark | None = None  # the one that inotify follows
        self._notifier: Any = None
        self._following = Deferred.fromCoroutine(self._follow())
        self._following.addErrback(lambda reason: reason.trap(CancelledError))

    def stop(self) -> None:
        """No call of `changed` after this."""
        self._following.cancel()
        self._let_go()

    async def _follow(self) -> None:
        before: Mark | None = None
        is_settled = True
        while True:
            directory, is_link, mark = await self._aside(_look, self._path)
            if directory != self._directory and self._take_up(directory):
                continue  # look again: it may have changed before inotify was ready
            if mark != before:
                before, is_settled = mark, False
                self._changed()
            elif not is_settled:
                # File times advance in steps: a second edit right after the one that we saw leaves the same mark.
                is_settled = True
                self._changed()
            is_told = self._notifier is not None and self._notifier.connected and not is_link
            await deferLater(self._reactor, SLOW_SECONDS if is_told else FAST_SECONDS)

    def _take_up(self, directory: Mark | None) -> bool:
        """Let inotify follow the directory that has the path now, if it can: it may be another than before."""
        self._let_go()
        if directory is None or inotify is None:
            return False
        try:
            self._notifier = _Notifier(self._reactor)
            self._notifier.watch(FilePath(os.path.dirname(self._path)), mask=_MASK, callbacks=[self._told])
        except inotify.INotifyError:  # out of watches, or the directory is gone again: looking must do
            self._let_go()
            return False
        self._directory = directory
        self._notifier.startReading()
        return True

    def _let_go(self) -> None:
        notifier, self._notifier, self._directory = self._notifier, None, None
        if notifier is not None:
            notifier.connectionLost(Failure(ConnectionDone()))

    def _told(self, watch: object, path: FilePath, mask: int) -> None:
        # The directory, not the file, is followed: a file that is replaced takes its own watch with it.
        if self._notifier is not None and path.basename() == os.fsencode(os.path.basename(self._path)):
            self._changed()


if inotify is not None:
    _MASK = (
        inotify.IN_MODIFY
        | inotify.IN_CLOSE_WRITE
        | inotify.IN_ATTRIB
        | inotify.IN_CREATE
        | inotify.IN_DELETE
        | inotify.IN_MOVED_FROM
        | inotify.IN_MOVED_TO
    )

    class _Notifier(inotify.INotify):
        """One that may be closed twice: Twisted's closes itself when its directory goes, and the number is reused."""

        def connectionLost(self, reason: Failure) -> None:
            if self.connected:
                super().connectionLost(reason)


def _look(path: str) -> tuple[Mark | None, bool, Mark]:
    """Which directory the path is in (``None``: none), whether it is a symbolic link, and what tells its content."""
    try:
        found = os.stat(os.path.dirname(path))
        directory = (found.st_dev, found.st_ino)
    except OSError:
        directory = None
    return directory, os.path.islink(path), _mark(path)


def _mark(path: str) -> Mark:
    try:
        found = os.stat(path)
    except OSError as wrong:
        return (wrong.errno or 0,)
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns
