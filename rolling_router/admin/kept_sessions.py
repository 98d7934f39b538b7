"""
admin.kept_sessions: the sessions of one app's settings port on disk, so that a restart signs nobody out. Used by
`sessions`.

Ids are there as hashes. Sessions with a store's secret (OCCS) are never kept: that lives in memory alone.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from typing import Any

import attrs
from twisted.internet.defer import Deferred, maybeDeferred, succeed
from twisted.logger import Logger

from rolling_router import disk
from rolling_router.admin.identity import Identity, Rights

_log = Logger()


@attrs.frozen
class KeptSession:
    """Times are seconds since 1970."""

    identity: Identity
    used_at: float
    expires_at: float


class KeptSessions:
    """``sessions-APP.json`` in a state directory, mode 0600."""

    def __init__(self, directory: str, app: str, aside: Callable[..., Deferred[Any]]) -> None:
        """:param aside: calls a function in a thread, as `deferToThreadPool` does."""
        self.path = os.path.join(directory, f"sessions-{app}.json")
        self._aside = aside
        self._newest: bytes | None = None
        self._writing: Deferred[None] = succeed(None)

    def load(self) -> dict[bytes, KeptSession]:
        """By the hash of the id, the one that was used last being last. A file that is of no use is logged."""
        try:
            with open(self.path, encoding="utf-8") as file:
                rows = json.load(file)["sessions"]
            found = {bytes.fromhex(row["sha256"]): _session(row) for row in rows}
        except FileNotFoundError:
            return {}
        except (OSError, ValueError, TypeError, KeyError, RecursionError) as wrong:
            _log.warn("{path} is of no use: {wrong}; people sign in again", path=self.path, wrong=wrong)
            return {}
        return dict(sorted(found.items(), key=lambda pair: pair[1].used_at))

    def keep(self, sessions: Mapping[bytes, KeptSession]) -> None:
        """Write these soon. Never fails: what goes wrong is logged."""
        rows = [_row(key, session) for key, session in sessions.items()]
        self._newest = json.dumps({"sessions": rows}, indent=1).encode("ascii") + b"\n"
        if self._writing.called:
            self._writing = Deferred.fromCoroutine(self._write_newest())

    def settled(self) -> Deferred[None]:
        """Fires when nothing is being written."""
        over: Deferred[None] = Deferred()
        self._writing.addCallback(over.callback)
        return over

    async def _write_newest(self) -> None:
        while (content := self._newest) is not None:
            self._newest = None
            try:
                await maybeDeferred(self._aside, _write, self.path, content)
            except Exception as wrong:
                _log.warn("the sessions cannot be kept in {path}: {wrong}", path=self.path, wrong=wrong)


def _write(path: str, content: bytes) -> None:
    """Called in a thread.    :raises OSError:"""
    os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
    disk.replace(path, content)


def _row(key: bytes, session: KeptSession) -> dict[str, Any]:
    identity = session.identity
    return {
        "sha256": key.hex(),
        "name": identity.name,
        "role": identity.rights.value,
        "token": identity.token,
        "used_at": session.used_at,
        "expires_at": session.expires_at,
    }


def _session(row: Mapping[str, Any]) -> KeptSession:
    """:raises ValueError, TypeError, KeyError: it is none."""
    identity = Identity(str(row["name"]), Rights(row["role"]), str(row["token"]))
    return KeptSession(identity, float(row["used_at"]), float(row["expires_at"]))
