"""disk: small files of our own, replaced whole. Called in threads; knows nothing of what is in them."""

from __future__ import annotations

import os
import tempfile
from contextlib import suppress

NEW = ".new"
"""What the name of a file ends with that is not whole yet; it begins with a dot. Such a one is left by a crash."""


def replace(path: str | os.PathLike[str], content: bytes, mode: int = 0o600) -> None:
    """
    Write a file, by default a private one: readers find the old content or the new, also after a crash.

    :raises OSError: the old content is still there, save where only making the new one durable failed.
    """
    directory, name = os.path.split(os.path.abspath(path))
    opened, temporary = tempfile.mkstemp(prefix=f".{name}-", suffix=NEW, dir=directory)  # with mode 0600
    try:
        with open(opened, "wb") as file:
            os.fchmod(file.fileno(), mode)
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        _keep_owner(os.fspath(path), temporary)
        os.replace(temporary, path)
    except BaseException:
        with suppress(OSError):
            os.unlink(temporary)
        raise
    _sync(directory)


def _sync(directory: str) -> None:
    opened = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)


def _keep_owner(path: str, temporary: str) -> None:
    """What root writes with the command, a router that runs as somebody else must still be able to read."""
    if os.geteuid() != 0:
        return
    with suppress(OSError):
        there = os.stat(path) if os.path.exists(path) else os.stat(os.path.dirname(temporary))
        os.chown(temporary, there.st_uid, there.st_gid)
