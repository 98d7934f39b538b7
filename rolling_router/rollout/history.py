"""
rollout.history: who changed what, when and why. One JSON object a line, only ever added to; made and used by `control`.

Lines cannot be forged by what people type: everything is written as ASCII JSON, in which line ends are escaped. Several
processes may write one file; each line is written under a lock, and whole.
"""

from __future__ import annotations

import fcntl
import json
import math
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Any
from urllib.parse import quote

import attrs
from twisted.internet.defer import Deferred

from rolling_router.errors import SettingError
from rolling_router.rollout.standing import Texts

LONGEST_WHO, LONGEST_WHY = 200, 1000
"""In characters."""
_BLOCK = 65536
_LOOK_BACK = 50  # lines, for a change that was begun and never ended
_READ_MOST = 16 * 1024 * 1024  # how far back in the file anybody looks


@attrs.frozen
class Entry:
    """
    One change.

    :ivar when: seconds since 1970.    :ivar what: the operation's name.    :ivar why: may be empty.
    :ivar old: the texts of the settings before.    :ivar new: after it.
    :ivar before: the revision before.    :ivar after: after it.
    """

    when: float
    who: str
    what: str
    why: str
    old: Texts
    new: Texts
    before: str
    after: str

    def as_dict(self) -> dict[str, Any]:
        """Fit for JSON: what a line holds, and what the settings port and the command show."""
        moment = datetime.fromtimestamp(self.when, UTC).isoformat(timespec="milliseconds")
        return {
            "when": moment.replace("+00:00", "Z"),
            "who": self.who,
            "what": self.what,
            "why": self.why,
            "from": attrs.asdict(self.old),
            "to": attrs.asdict(self.new),
            "before": self.before,
            "after": self.after,
        }

    @classmethod
    def parse(cls, line: bytes, state: str = "") -> Entry | None:
        """
        Read a line; ``None`` for one that is torn or is none of ours.

        :param state: ``begun`` for a change that was only begun.
        """
        try:
            found = json.loads(line)[state] if state else json.loads(line)
            when = datetime.fromisoformat(found["when"]).timestamp()
            words = [found[name] for name in ("who", "what", "why", "before", "after")]
            old, new = (Texts(**found[name]) for name in ("from", "to"))
        except (ValueError, TypeError, KeyError, RecursionError, OverflowError):
            return None
        plain = [text for one in (old, new) for text in attrs.astuple(one) if text is not None]
        if not math.isfinite(when) or not all(isinstance(one, str) for one in [*words, *plain]):
            return None
        who, what, why, before, after = words
        return cls(when, who, what, why, old, new, before, after)


class History:
    """The changes of one app, in ``history-APP.jsonl``."""

    def __init__(self, directory: str, app: str, aside: Callable[..., Deferred[Any]]) -> None:
        """
        :param directory: made when it is not there.
        :param aside: calls a function in a thread, as `deferToThreadPool` does.
        """
        self.path = Path(directory, f"history-{quote(app, safe='')}.jsonl")
        self._aside = aside

    def add(self, entry: Entry) -> Deferred[None]:
        """Add a line, durably.    :raises OSError: (as a Failure) it could not be written."""
        return self._aside(self._add, entry)

    def begin(self, entry: Entry) -> Deferred[None]:
        """
        Write down that this change is about to be made, key by key; it is over when it is added.

        :raises OSError: (as a Failure) it could not be written.
        """
        return self._aside(self._add, entry, "begun")

    def open(self) -> Deferred[Entry | None]:
        """
        The last change that was begun and not added.    :raises SettingError: (as a Failure) the file cannot be read.
        """
        return self._aside(self._open)

    def last(self, count: int) -> Deferred[Sequence[Entry]]:
        """
        The last so many changes, newest first. Lines that cannot be read are passed over.

        :raises SettingError: (as a Failure) the file cannot be read.
        """
        return self._aside(self._last, count)

    # In a thread

    def _add(self, entry: Entry, state: str = "") -> None:
        value = {state: entry.as_dict()} if state else entry.as_dict()
        line = json.dumps(value, ensure_ascii=True, separators=(",", ":")).encode("ascii") + b"\n"
        self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        with _locked(os.open(self.path, flags, 0o600), fcntl.LOCK_EX) as file:
            size = os.fstat(file).st_size
            if size and os.pread(file, 1, size - 1) != b"\n":
                line = b"\n" + line  # a line was torn by a crash; it is to tear nothing else
            while line:
                line = line[os.write(file, line) :]
            os.fsync(file)

    def _last(self, count: int) -> Sequence[Entry]:
        return tuple(islice(filter(None, map(Entry.parse, self._lines())), max(0, count)))

    def _open(self) -> Entry | None:
        over: set[Entry] = set()
        for line in islice(self._lines(), _LOOK_BACK):
            entry = Entry.parse(line)
            if entry is not None:
                over.add(entry)
            elif (begun := Entry.parse(line, "begun")) is not None:
                return None if begun in over else begun
        return None

    def _lines(self) -> Iterator[bytes]:
        """All lines, the last one first; none when there is no file."""
        try:
            opened = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        except FileNotFoundError:
            return
        except OSError as wrong:
            raise SettingError(f"the history {self.path} cannot be read: {wrong.strerror}") from None
        with _locked(opened, fcntl.LOCK_SH) as file:
            yield from _lines_backwards(file)


@contextmanager
def _locked(file: int, how: int) -> Iterator[int]:
    """Lock an open file, and close it in the end."""
    try:
        fcntl.flock(file, how)
        yield file
    finally:
        os.close(file)


def _lines_backwards(file: int) -> Iterator[bytes]:
    """A file's lines, the last one first, without reading more of it than is asked for."""
    end = os.fstat(file).st_size
    least = max(0, end - _READ_MOST)
    rest = b""
    while end > least:
        start = max(least, end - _BLOCK)
        first, *lines = (os.pread(file, end - start, start) + rest).split(b"\n")
        yield from filter(None, reversed(lines))
        rest, end = first, start
    if least == 0 and rest:
        yield rest
