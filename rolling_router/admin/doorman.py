"""
admin.doorman: who sent a request to the settings port, and whether they may do what it asks. Asked by `api` each time.

Decides by token or session; knows no route.
"""

from __future__ import annotations

from typing import Any

import attrs
from twisted.logger import Logger

from rolling_router.admin.identity import Identity
from rolling_router.admin.origins import Origins
from rolling_router.admin.problems import Problem
from rolling_router.admin.sessions import Session, Sessions
from rolling_router.admin.throttle import Throttle
from rolling_router.admin.tokens import Tokens
from rolling_router.observe.access_log import masked

CSRF_FIELD = b"X-CSRF-Token"

_log = Logger()


@attrs.frozen
class Visit:
    """Somebody who is known. :ivar session: ``None`` for a program that sent a token."""

    identity: Identity
    session: Session | None


class Doorman:
    """Knows people by their token or session."""

    def __init__(self, tokens: Tokens, sessions: Sessions, throttle: Throttle, origins: Origins) -> None:
        self._tokens = tokens
        self._sessions = sessions
        self._throttle = throttle
        self._origins = origins

    def see(self, request: Any) -> Visit | None:
        """
        Who it is; ``None`` where nobody says who they are, or the session is over.

        :raises Problem: 401 or 429 for a token that is nobody's.
        """
        secret = _bearer(request)
        if secret is not None:
            identity = self._tokens.find(secret)
            if identity is None:
                self.check_pace(request)
                raise self.refuse(request, "sign-in-failed", "the token is not known here; it may have been revoked")
            return Visit(identity, None)
        id = self.cookie(request)
        session = None if id is None else self._sessions.find(id)
        return None if session is None else Visit(session.identity, session)

    def viewer(self, request: Any) -> Visit:
        """:raises Problem: nobody is signed in."""
        visit = self.see(request)
        if visit is None:
            raise Problem(
                401,
                "sign-in-needed",
                "sign in first, or send a token: Authorization: Bearer TOKEN",
                headers={"WWW-Authenticate": 'Bearer realm="rolling-router"'},
            )
        return visit

    def operator(self, request: Any) -> Visit:
        """:raises Problem: nobody is signed in, or a viewer, or another site's page may have sent this."""
        visit = self.viewer(request)
        self.check_page(request, visit.session)
        if not visit.identity.is_operator:
            raise Problem(403, "operator-needed", f"{visit.identity.name} may look, but not change anything")
        return visit

    # Another site's page

    def check_page(self, request: Any, session: Session | None) -> None:
        """
        Make sure that what a browser sends by itself was sent by our page.

        :raises Problem: it was not, or that cannot be told.
        """
        if session is None:  # a token is sent by programs on purpose, never by a browser by itself
            return
        self.check_site(request)
        token = (request.getHeader(CSRF_FIELD) or b"").decode("latin-1")
        if not session.takes(token):
            raise Problem(
                403, "cross-site", "X-CSRF-Token is missing or not this session's; GET /api/v1/session tells it"
            )

    def check_site(self, request: Any) -> None:
        """:raises Problem: the browser says that another site's page sent this."""
        site, origin = (_text(request, name) for name in (b"Sec-Fetch-Site", b"Origin"))
        host = _text(request, b"Host") or ""
        if origin is not None and not self._origins.is_own(origin, request.isSecure(), host):
            shown = origin[:200]
            raise Problem(
                403,
                "cross-site",
                f"sent by a page of {shown!r}, which is not the settings port's; if it is, say so by --admin-origin",
            )
        if origin is None and site not in (None, "same-origin", "none"):
            raise Problem(403, "cross-site", "sent by a page of another site")

    # Failed sign-ins

    def check_pace(self, request: Any) -> None:
        """:raises Problem: too many have failed."""
        wait = self._throttle.wait(address_of(request))
        if wait > 0:
            seconds = int(wait) + 1
            raise Problem(
                429,
                "slow-down",
                f"too many sign-ins have failed; wait {seconds} s",
                {"retry_after": seconds},
                {"Retry-After": str(seconds)},
            )

    def refuse(self, request: Any, code: str, detail: str, status: int = 401) -> Problem:
        """Count and log a failed sign-in, without what was tried. :returns: what to answer."""
        address = address_of(request)
        self._throttle.failed(address)
        _log.warn("sign-in from {address} failed: {code}", address=masked(address) or "a local socket", code=code)
        headers = {"WWW-Authenticate": 'Bearer realm="rolling-router"'} if status == 401 else {}
        return Problem(status, code, detail, headers=headers)

    def welcome(self, request: Any, id: str, identity: Identity) -> None:
        """Somebody has signed in."""
        self._throttle.succeeded(address_of(request))
        self.set_cookie(request, id)
        _log.info("{name} ({rights}) signed in", name=identity.name, rights=identity.rights.value)

    # The cookie

    def cookie(self, request: Any) -> str | None:
        value = request.received_cookies.get(self._cookie_name(request))
        return None if value is None else value.decode("latin-1")

    def set_cookie(self, request: Any, id: str) -> None:
        self._put_cookie(request, id, "")

    def drop_cookie(self, request: Any) -> None:
        self._put_cookie(request, "", "; Max-Age=0")

    def _put_cookie(self, request: Any, value: str, more: str) -> None:
        secure = "; Secure" if self._is_secure(request) else ""
        text = f"{self._cookie_name(request).decode('ascii')}={value}; Path=/; HttpOnly; SameSite=Strict{secure}{more}"
        request.responseHeaders.addRawHeader(b"Set-Cookie", text.encode("ascii"))

    def _cookie_name(self, request: Any) -> bytes:
        # Cookies are shared by all ports of a host. The port is in the name so that routers side by side, on one
        # machine, do not sign each other's people out.
        port = (_text(request, b"Host") or "").rpartition(":")[2]
        name = f"rolling_router_{port}" if port.isascii() and port.isdigit() else "rolling_router"
        return (f"__Host-{name}" if self._is_secure(request) else name).encode("ascii")

    def _is_secure(self, request: Any) -> bool:
        return bool(request.isSecure()) or self._origins.is_https(_text(request, b"Host") or "")


def address_of(request: Any) -> str:
    """The peer's address; empty for one that has none (a unix socket)."""
    return getattr(request.getClientAddress(), "host", "") or ""


def _bearer(request: Any) -> str | None:
    text = _text(request, b"Authorization")
    if text is None:
        return None
    scheme, _, secret = text.strip().partition(" ")
    # Another scheme is another's: a proxy before the port may ask for a password of its own, which browsers then send.
    return secret.strip() if scheme.lower() == "bearer" else None


def _text(request: Any, name: bytes) -> str | None:
    value = request.getHeader(name)
    return None if value is None else value.decode("latin-1")
