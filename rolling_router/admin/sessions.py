"""
admin.sessions: who is signed in. Asked by `doorman` for each request.

A session's id is 256 random bits, and only its hash is kept: in memory, and on disk for those that outlive a restart.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections import Counter
from collections.abc import Callable

import attrs
from twisted.internet.defer import Deferred, succeed

from rolling_router.admin.identity import Identity, Rights
from rolling_router.admin.kept_sessions import KeptSession, KeptSessions

IDLE_SECONDS = 2 * 3600.0
LONGEST_SECONDS = {Rights.OPERATOR: 12 * 3600.0, Rights.VIEWER: 30 * 86400.0}
MOST_SESSIONS = 1000
KEEP_SECONDS = 60.0
"""How old the time of last use on disk may be."""


@attrs.define(eq=False)
class Session:
    """
    One browser that is signed in. Times are seconds of the clock of `Sessions`.

    :ivar csrf: what writes of this session carry.    :ivar used_at: of its last request or event.
    :ivar is_over: whether it was ended; it never begins again.    :ivar ended: each is called when it is.
    """

    identity: Identity
    csrf: str = attrs.field(repr=False)
    used_at: float
    expires_at: float
    is_over: bool = False
    ended: list[Callable[[], None]] = attrs.field(factory=list, repr=False)

    @property
    def outlives_a_restart(self) -> bool:
        """Whether it may be kept on disk: not one that came by a store's secret."""
        return self.identity.token is not None and self.identity.control is None

    def takes(self, csrf: str) -> bool:
        return hmac.compare_digest(csrf.encode("utf-8"), self.csrf.encode("ascii"))

    def tell_end(self) -> None:
        for tell in tuple(self.ended):
            tell()


class Sessions:
    """All sessions, at most `MOST_SESSIONS`; beyond, of whoever has most, the one that was used least lately ends."""

    def __init__(
        self,
        now: Callable[[], float],
        is_valid: Callable[[Identity], bool] = lambda identity: True,
        kept: KeptSessions | None = None,
    ) -> None:
        """
        :param now: seconds since 1970.
        :param is_valid: whether an identity still counts: tokens can be revoked.
        :param kept: where those are that outlive a restart; ``None``: none does.
        """
        self.idle_seconds = IDLE_SECONDS
        self._now = now
        self._is_valid = is_valid
        self._kept = kept
        self._kept_at = now()
        self._sessions: dict[bytes, Session] = {}  # the one that was used last stands last
        for key, old in () if kept is None else kept.load().items():
            self._sessions[key] = Session(old.identity, "", old.used_at, old.expires_at)

    def __len__(self) -> int:
        return len(self._sessions)

    def open(self, identity: Identity) -> tuple[str, Session]:
        """:returns: the id for the cookie, and the session."""
        self._sweep()
        while len(self._sessions) >= MOST_SESSIONS:
            self._end(self._least_missed(identity.name))
        now, id = self._now(), secrets.token_urlsafe(32)
        session = Session(identity, _csrf(id), now, now + LONGEST_SECONDS[identity.rights])
        self._sessions[_hashed(id)] = session
        self._keep()
        return id, session

    def find(self, id: str) -> Session | None:
        """The session of this id, if it is alive; that counts as use."""
        key = _hashed(id)
        session = self._sessions.get(key)
        if session is None:
            return None
        if not self._is_alive(session):
            self._end(key)
            self._keep()
            return None
        session.csrf = session.csrf or _csrf(id)  # one that was kept knows its id again only now
        self._use(session)
        self._sessions[key] = self._sessions.pop(key)
        return session

    def touch(self, session: Session) -> bool:
        """Use a session whose page is open. :returns: whether it is alive."""
        if session.is_over or not self._is_alive(session):
            return False
        self._use(session)
        return True

    def close(self, id: str) -> None:
        self.take_out(id)()

    def take_out(self, id: str) -> Callable[[], None]:
        """
        End a session, silently.

        :returns: to be called soon: tells whoever belongs to it, such as its streams, that it has ended.
        """
        session = self._take_out(_hashed(id))
        self._keep()
        return session.tell_end if session is not None else lambda: None

    def stop(self) -> Deferred[None]:
        """End those that do not outlive a restart, and keep the others; fires when they are on disk."""
        for key, session in tuple(self._sessions.items()):
            if self._kept is None or not session.outlives_a_restart:
                self._end(key)
        if self._kept is None:
            return succeed(None)
        self._keep()
        return self._kept.settled()

    def _use(self, session: Session) -> None:
        session.used_at = self._now()
        if session.used_at - self._kept_at >= KEEP_SECONDS:
            self._keep()

    def _keep(self) -> None:
        self._kept_at = self._now()
        if self._kept is not None:
            self._kept.keep(
                {
                    key: KeptSession(one.identity, one.used_at, one.expires_at)
                    for key, one in self._sessions.items()
                    if one.outlives_a_restart
                }
            )

    def _sweep(self) -> None:
        for key in [key for key, session in self._sessions.items() if not self._is_alive(session)]:
            self._end(key)

    def _least_missed(self, newest: str) -> bytes:
        """The one to make room: whoever signs in again and again puts nobody out but themselves."""
        counts = Counter([newest, *(session.identity.name for session in self._sessions.values())])
        most = max(counts.values())
        return next(key for key, session in self._sessions.items() if counts[session.identity.name] == most)

    def _is_alive(self, session: Session) -> bool:
        now = self._now()
        in_time = now < session.expires_at and now - session.used_at < IDLE_SECONDS
        return in_time and self._is_valid(session.identity)

    def _end(self, key: bytes) -> None:
        """Whoever calls this keeps the others: once, for many may end together, and each time all are written."""
        session = self._take_out(key)
        if session is not None:
            session.tell_end()

    def _take_out(self, key: bytes) -> Session | None:
        session = self._sessions.pop(key, None)
        if session is not None:
            session.is_over = True
        return session


def _csrf(id: str) -> str:
    """Made from the id, which no page can read and nothing here keeps; so it is the same after a restart."""
    return hmac.new(id.encode("utf-8", "surrogateescape"), b"csrf", "sha256").hexdigest()


def _hashed(id: str) -> bytes:
    return hashlib.sha256(id.encode("utf-8", "surrogateescape")).digest()
