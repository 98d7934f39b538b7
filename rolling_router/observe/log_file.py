"""
observe.log_file: lines to a file that may be rotated, or fill its disk, at any time. Used by `observe.access_log`.

Never waits for whoever reads a pipe, and never lets a failure reach whoever writes a line.
"""

from __future__ import annotations

import os
import select

from twisted.logger import Logger

from rolling_router.errors import SettingError

STDOUT = "-"

# Bytes kept back before a write: few system calls at high rates, while the tick keeps the file fresh at low ones.
FLUSH_AT = 64 * 1024
# Bytes kept while nothing can be written. What comes after that is lost.
MOST_KEPT = 1024 * 1024

# Not to be stopped by a named pipe that nobody reads, nor by a terminal.
_FLAGS = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY
_MODE = 0o640

_log = Logger()


class LogFile:
    """
    One log file, or standard output where the path is ``-``.

    A file that was renamed, replaced or deleted is opened anew under its path with the next `flush`. It is created
    with mode 0640, less what the process's umask takes away.

    :ivar dropped: lines that were lost so far.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self.dropped = 0
        self._descriptor: int | None = None
        self._identity: tuple[int, int] | None = None
        self._kept = bytearray()
        self._is_torn = False  # what is kept begins in the middle of a line
        self._is_stuck = False  # the last flush could not write everything
        self._was_said = False

    def open(self) -> None:
        """
        Open the file at the start, when somebody is there to mend a wrong path.

        :raises SettingError: it cannot be opened.
        """
        try:
            self._open()
        except OSError as error:
            raise SettingError(
                f"the log {self.path!r} cannot be written ({error.strerror}); "
                "give a file in a directory that exists and that the router's user may write to"
            ) from error

    def append(self, line: bytes) -> None:
        """Take one line, its line feed included. It is written with the next `flush`, or before if many wait."""
        if len(self._kept) + len(line) > MOST_KEPT:
            self.dropped += 1
            self._say("nothing takes what is written")
            return
        self._kept += line
        # Once stuck, only the tick tries again: a full disk must not cost every request a system call.
        if len(self._kept) >= FLUSH_AT and not self._is_stuck:
            self.flush()

    def flush(self) -> None:
        """Write what is kept, to the file that now has this path. Called about once a second."""
        try:
            self._follow_rotation()
            while self._kept:
                self._write_some()
        except BlockingIOError:  # a pipe is full, which is no trouble until lines are lost
            self._is_stuck = True
        except OSError as error:
            self._is_stuck = True
            self._say(error.strerror)
        else:
            self._is_stuck = False
            self._take_back()

    def reopen(self) -> None:
        """Write what is kept to the file opened before, and open the path anew, whatever is there. For SIGHUP."""
        if self._descriptor is not None:
            self._flush_old()
        self._identity = None
        self.flush()

    def close(self) -> None:
        """Write what is kept, as far as that is possible, and let go of the file."""
        self.flush()
        self._close()

    # Writing

    def _write_some(self) -> None:
        assert self._descriptor is not None
        written = os.write(self._descriptor, self._next_piece(self._descriptor))
        self._is_torn = self._kept[written - 1] != ord("\n")
        del self._kept[:written]

    def _next_piece(self, descriptor: int) -> bytearray:
        if self.path != STDOUT:
            return self._kept
        # Standard output is shared with others, so it cannot be made non-blocking. But a pipe that polls as writable
        # takes this much without waiting, and in one piece: lines of several processes do not mix.
        if not select.select([], [descriptor], [], 0)[1]:
            raise BlockingIOError
        return self._kept[: self._kept.rfind(b"\n", 0, select.PIPE_BUF) + 1 or select.PIPE_BUF]

    def _flush_old(self) -> None:
        try:
            while self._kept:
                self._write_some()
        except OSError:
            pass  # the file opened next may take it

    # Opening

    def _follow_rotation(self) -> None:
        if self._descriptor is None or (self.path != STDOUT and self._is_elsewhere()):
            self._open()

    def _is_elsewhere(self) -> bool:
        there = _identity(self.path)
        return there is None or there != self._identity

    def _open(self) -> None:
        if self.path == STDOUT:
            self._descriptor = 1  # not sys.stdout, which twistd replaces by its own log
            return
        descriptor = os.open(self.path, _FLAGS, _MODE)
        self._close()
        self._descriptor = descriptor
        status = os.fstat(descriptor)
        self._identity = (status.st_dev, status.st_ino)
        if self._is_torn:  # the rest of a line whose beginning is in the old file
            del self._kept[: self._kept.index(b"\n") + 1]
            self._is_torn = False
            self.dropped += 1

    def _close(self) -> None:
        if self._descriptor is not None and self.path != STDOUT:
            os.close(self._descriptor)
        self._descriptor = self._identity = None

    # Saying

    def _say(self, trouble: str | None) -> None:
        if not self._was_said:
            self._was_said = True
            _log.error(
                "cannot write the log {path}: {trouble}; up to {kept} bytes are kept, further lines are dropped",
                path=self.path,
                trouble=trouble,
                kept=MOST_KEPT,
            )

    def _take_back(self) -> None:
        if self._was_said:
            self._was_said = False
            _log.info(
                "the log {path} is written again; {dropped} lines were lost since the start",
                path=self.path,
                dropped=self.dropped,
            )


def _identity(path: str) -> tuple[int, int] | None:
    try:
        status = os.stat(path)
    except OSError:
        return None  # gone; opening it anew says what is wrong, if anything is
    return status.st_dev, status.st_ino
