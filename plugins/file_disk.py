"""file_disk: the file store's dealings with the disk. Everything here may block, so `file` calls it in a thread."""

from __future__ import annotations

import fcntl
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress


class Busy(Exception):
    """Another writer holds the lock."""


def content(path: str) -> bytes:
    """
    Read a regular file whole.

    :raises OSError: it cannot be read, or is something else, such as a directory.
    """
    # Without O_NONBLOCK, opening a named pipe would wait for its writer for ever.
    # As `open`'s opener: it closes the descriptor where it will not have it, as with a directory.
    with open(path, "rb", opener=lambda path, _: os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)) as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise OSError("not a regular file")
        return file.read()


@contextmanager
def locked(path: str) -> Iterator[None]:
    """
    Keep other writers of `path` out, in this process and others on this machine.

    The lock is on a file beside it that stays there: `path` itself is replaced by each write, and a lock goes with it.

    :raises Busy: another writer is at it; this never waits.    :raises OSError: the lock file cannot be made.
    """
    lock = _open_lock(path + ".lock")
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Busy from None
        yield
    finally:
        os.close(lock)


def _open_lock(path: str) -> int:
    try:
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    except PermissionError as denied:
        try:
            # Made by another user. Reading is enough to lock it, save on NFS.
            return os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            raise denied from None  # nobody made it: what is wrong is that we may not


def replace(path: str, new: bytes) -> None:
    """
    Write the file whole: readers find the old content or the new, also after a crash. Mode and owner stay.

    Called with the lock held, so that the temporary name is ours alone.

    :raises OSError: it is as it was, save where only making it durable failed.
    """
    directory, name = os.path.split(path)
    temporary = os.path.join(directory, f".{name}.new")
    with suppress(FileNotFoundError):
        os.unlink(temporary)  # a writer that crashed left it
    try:
        _write_beside(path, temporary, new)
        os.replace(temporary, path)
    except BaseException:
        with suppress(OSError):
            os.unlink(temporary)
        raise
    _sync_directory(directory)


def _write_beside(path: str, temporary: str, new: bytes) -> None:
    try:
        old = os.stat(path)
    except FileNotFoundError:
        old = None
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
    with open(os.open(temporary, flags, 0o666 if old is None else 0o600), "wb") as file:
        if old is not None:
            with suppress(PermissionError):  # only root may give files away
                os.fchown(file.fileno(), old.st_uid, old.st_gid)
            os.fchmod(file.fileno(), stat.S_IMODE(old.st_mode))
        file.write(new)
        file.flush()
        os.fsync(file.fileno())


def _sync_directory(directory: str) -> None:
    opened = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)
