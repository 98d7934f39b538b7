"""
file: a store that is one JSON file, flat, key -> string, made to be read and edited by hand. ``--store file:PATH``.

All that touches the disk happens in the reactor's threads; all waiting is done by the reactor's clock.
"""

from __future__ import annotations

import errno
import hashlib
import os
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Any, NoReturn

from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThreadPool
from twisted.plugin import IPlugin
from zope.interface import implementer

from rolling_router.interfaces import Conflict, IStore, IStorePlugin, Reading, SettingError, StoreContext, StoreLost

from . import file_disk, file_text

LIMIT_SECONDS = 9.0
"""After this, any call has failed: a disk that hangs takes a thread with it, but nobody waits for it."""
LOCK_SECONDS = 5.0
"""How long a write waits for another writer to end."""
LOCK_AGAIN_SECONDS = 0.02
LOOK_AGAIN_SECONDS = 0.03
"""Between finding no usable file and believing it: editors remove it, or write it in parts, for a moment."""


@implementer(IPlugin, IStorePlugin)
class FileStorePlugin:
    """``--store file:PATH``."""

    name = "file"
    description = "one JSON file, made to be read and edited by hand; file:PATH"

    def open(self, location: str, context: StoreContext) -> IStore:
        path = os.path.abspath(os.path.expanduser(location))
        if not location.strip() or "\0" in location or os.path.isdir(path):
            raise SettingError(f"the file store's place is {location!r}; it must be a file, such as file:rollout.json")
        return FileStore(path, context.reactor)


class _Unsettled(StoreLost):
    """What a file looks like while an editor saves it, or when it is really bad; a second look tells."""


class _Absent(_Unsettled):
    """No file there. That means nothing: least of all that there are no keys."""


@implementer(IStore)
class FileStore:
    """The keys in one file."""

    is_atomic = True

    def __init__(self, path: str, reactor: Any) -> None:
        """:param path: absolute.    :param reactor: clock, threads, file descriptors."""
        self.description = f"file:{path}"
        self._path = path
        self._reactor = reactor
        self._parsed: tuple[str, dict[str, str]] = ("", {})  # revision, keys
        self._under_way: set[Deferred] = set()
        self._watch: Any = None
        self._is_closed = False

    def read(self, prefixes: Sequence[str]) -> Deferred[Reading]:
        return self._limited(self._read(tuple(prefixes)))

    def put(self, changes: Mapping[str, str | None], expected: Mapping[str, str | None]) -> Deferred[None]:
        return self._limited(self._put(dict(changes), dict(expected)))

    def watch(self, changed: Callable[[], None]) -> None:
        # Imported late: it loads ctypes and looks for a C library, which no `twistd --help` should wait for.
        from .file_watch import FileWatch

        self._watch = FileWatch(self._reactor, self._path, self._aside, changed)

    def close(self) -> Deferred[None]:
        self._is_closed = True
        if self._watch is not None:
            self._watch.stop()
        for call in list(self._under_way):
            call.cancel()
        return succeed(None)

    # Called in the reactor's thread

    async def _read(self, prefixes: tuple[str, ...]) -> Reading:
        try:
            return await self._aside(self._read_now, prefixes)
        except _Unsettled:
            await deferLater(self._reactor, LOOK_AGAIN_SECONDS)
            return await self._aside(self._read_now, prefixes)

    async def _put(self, changes: dict[str, str | None], expected: dict[str, str | None]) -> None:
        give_up_at = self._reactor.seconds() + LOCK_SECONDS
        is_settled = False
        while True:
            try:
                return await self._aside(self._put_now, changes, expected, is_settled)
            except file_disk.Busy:
                if self._reactor.seconds() >= give_up_at:
                    held = f"another writer has held {self._path}.lock for {LOCK_SECONDS:g} seconds"
                    raise StoreLost(f"{held}; end it, then try again") from None
                pause = LOCK_AGAIN_SECONDS
            except _Unsettled:
                if is_settled:
                    raise
                is_settled, pause = True, LOOK_AGAIN_SECONDS
            await deferLater(self._reactor, pause)

    def _aside(self, call: Callable[..., Any], *args: Any) -> Deferred[Any]:
        return deferToThreadPool(self._reactor, self._reactor.getThreadPool(), call, *args)

    def _limited(self, work: Coroutine[Any, Any, Any]) -> Deferred[Any]:
        """Let `work` go on until it ends, its time is over, or the store is closed."""
        if self._is_closed:
            work.close()
            return fail(StoreLost(f"{self.description} is closed"))
        call = Deferred.fromCoroutine(work)
        self._under_way.add(call)
        call.addTimeout(LIMIT_SECONDS, self._reactor, self._too_late)
        return call.addBoth(self._over, call)

    def _over(self, result: Any, call: Deferred) -> Any:
        self._under_way.discard(call)
        return result

    def _too_late(self, result: object, seconds: float) -> NoReturn:
        raise StoreLost(f"the disk with {self._path} gave no answer within {seconds:g} seconds; look after the disk")

    # Called in a thread

    def _read_now(self, prefixes: tuple[str, ...]) -> Reading:
        revision, keys = self._load(self._path)
        return Reading({key: text for key, text in keys.items() if key.startswith(prefixes)}, revision)

    def _put_now(self, changes: dict[str, str | None], expected: dict[str, str | None], may_create: bool) -> None:
        path = os.path.realpath(self._path)  # a symbolic link stays one: what it points to is replaced
        try:
            with file_disk.locked(path):
                keys = self._load_to_change(path, may_create)
                _check(keys or {}, expected)
                wanted = {key: text for key, text in {**(keys or {}), **changes}.items() if text is not None}
                if wanted != keys:
                    file_disk.replace(path, file_text.render(wanted))
        except OSError as wrong:
            raise StoreLost(f"{path} cannot be written: {_why_not_written(path, wrong)}") from None

    def _load_to_change(self, path: str, may_create: bool) -> dict[str, str] | None:
        try:
            return self._load(path)[1]
        except _Absent:
            if may_create:
                return None
            raise

    def _load(self, path: str) -> tuple[str, dict[str, str]]:
        try:
            content = file_disk.content(path)
        except FileNotFoundError:
            raise _Absent(f"{path} is not there; write it, or set up the app, which makes it") from None
        except OSError as wrong:
            raise _Unsettled(f"{path} cannot be read: {_why_not_read(wrong)}") from None
        # Known by its content, not by its times, which two edits within one tick of the clock share.
        revision = hashlib.sha256(content).hexdigest()[:16]
        parsed = self._parsed  # once: another thread may replace it
        if parsed[0] != revision:
            try:
                parsed = self._parsed = revision, file_text.parse(content)
            except file_text.BadText as wrong:
                where = f"{path}, line {wrong.line}, column {wrong.column}"
                raise _Unsettled(f"{where}: {wrong}") from None
        return parsed


def _check(keys: Mapping[str, str], expected: Mapping[str, str | None]) -> None:
    for key, text in expected.items():
        if keys.get(key) != text:
            raise Conflict(f"{key} is {_shown(keys.get(key))}, not {_shown(text)} any more; read it again, then decide")


def _shown(text: str | None) -> str:
    return "absent" if text is None else repr(text[:100])


def _why_not_read(wrong: OSError) -> str:
    if isinstance(wrong, PermissionError):
        return f"{wrong.strerror}; let the user {os.geteuid()}, as whom the router runs, read it"
    return f"{wrong.strerror or wrong}; put a readable file in its place"


def _why_not_written(path: str, wrong: OSError) -> str:
    directory = os.path.dirname(path)
    if wrong.errno == errno.EBUSY:
        return f"{wrong.strerror}; it is mounted as a single file, so mount its directory {directory} instead"
    if wrong.errno == errno.ENOENT:
        return f"{wrong.strerror}; make the directory {directory}"
    if wrong.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return f"{wrong.strerror}; let the user {os.geteuid()} write to the directory {directory}"
    return f"{wrong.strerror or wrong}; look after the disk with {directory}"
