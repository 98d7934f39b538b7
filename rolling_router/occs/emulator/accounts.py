"""occs.emulator.accounts: who may ask the manager: one user, its sessions, its bearer token. Pure but for the clock."""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Callable
from typing import Any

import attrs

SESSION_SECONDS = 1800.0
"""How long a session lives without being used."""

_MOST_SESSIONS = 1000


@attrs.frozen
class Secrets:
    """What the disk keeps. `issued_at` is when the bearer was made, in seconds since 1970."""

    user: str
    password: str = attrs.field(repr=False)
    bearer: str = attrs.field(repr=False)
    issued_at: float = 0.0

    @classmethod
    def new(cls, user: str, now: float) -> Secrets:
        return cls(user, secrets.token_urlsafe(12), secrets.token_hex(32), now)


class Accounts:
    """Signs in, and says whether a header is good."""

    def __init__(self, kept: Secrets, clock: Any, token_seconds: Callable[[], float]) -> None:
        """:param token_seconds: how long a bearer is good at present; 0 is for ever."""
        self.kept = kept
        self._clock = clock
        self._token_seconds = token_seconds
        self._sessions: dict[str, float] = {}

    def sign_in(self, user: Any, password: Any) -> str | None:
        """A new session's token, or ``None``: wrong name or password."""
        known = _same(user, self.kept.user) & _same(password, self.kept.password)
        if not known:
            return None
        self._forget_sessions()
        session = secrets.token_hex(32)
        self._sessions[session] = self._clock.seconds()
        return session

    def bearer_of(self, authorization: str) -> str | None:
        """The bearer for a session's header; a new one where the present one has expired. ``None``: no session."""
        session = _token(authorization, "session")
        used = self._sessions.get(session) if session else None
        if session is None or used is None or self._clock.seconds() - used > SESSION_SECONDS:
            return None
        self._sessions[session] = self._clock.seconds()
        if self._is_expired():
            self.renew()
        return self.kept.bearer

    def is_bearer(self, authorization: str) -> bool:
        """Whether a header carries the bearer that is good now."""
        return _same(_token(authorization, "bearer"), self.kept.bearer) and not self._is_expired()

    def renew(self) -> str:
        """A new bearer; the old one is dead at once."""
        self.kept = attrs.evolve(self.kept, bearer=secrets.token_hex(32), issued_at=self._clock.seconds())
        return self.kept.bearer

    def expire(self) -> None:
        """Let the bearer be too old from now on, until a session asks for a new one."""
        self.kept = attrs.evolve(self.kept, issued_at=float("-inf"))

    def _is_expired(self) -> bool:
        issued, most = self.kept.issued_at, self._token_seconds()
        return issued == float("-inf") or (most > 0 and self._clock.seconds() - issued > most)

    def _forget_sessions(self) -> None:
        now = self._clock.seconds()
        alive = {token: used for token, used in self._sessions.items() if now - used <= SESSION_SECONDS}
        self._sessions = dict(list(alive.items())[-_MOST_SESSIONS + 1 :])


def _token(authorization: str, scheme: str) -> str | None:
    """The token of a header of this scheme, however that is spelt."""
    named, _, token = authorization.strip().partition(" ")
    return token.strip() if named.lower() == scheme else None


def _same(given: Any, known: str) -> bool:
    return isinstance(given, str) and hmac.compare_digest(given.encode("utf-8", "replace"), known.encode("utf-8"))
