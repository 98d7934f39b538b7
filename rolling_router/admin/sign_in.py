"""
admin.sign_in: from what somebody shows to who they are: a token, a first start's code, an OCCS bearer. Used by `api`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from typing import Any

import attrs
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.defer import TimeoutError as TimedOut
from zope.interface import Attribute, Interface

from rolling_router.admin import bodies
from rolling_router.admin.doorman import Doorman, Visit
from rolling_router.admin.identity import Identity, Rights
from rolling_router.admin.origins import read_origin
from rolling_router.admin.problems import Problem, bad_field
from rolling_router.admin.tokens import Tokens
from rolling_router.errors import RouterError

FIELDS = ("token", "code", "bearer", "host", "app", "port")
ANSWER_SECONDS = 5.0
"""For a manager to say whether it takes a bearer."""


class BearerRefused(RouterError):
    """The manager is there, and does not take the bearer."""


@attrs.frozen
class Opened:
    """
    :ivar control: the app's settings in the manager's store (a `rollout.control.Control`), written by the bearer.
    :ivar close: lets go of it.
    """

    control: Any
    close: Callable[[], Any]


class IManager(Interface):
    """The way to an OCCS manager, for sign-ins. Made by `steering` where the store is OCCS's."""

    host = Attribute("``str | None``: origin of the manager that the router was started with, if with one.")

    def is_own(bearer: str) -> bool:
        """Whether it is the very one that the router itself was started with."""

    def open(host: str, bearer: str) -> Deferred[Opened]:
        """
        Try a bearer, and open the manager's store with it.

        May be cancelled, and is, when it takes longer than `ANSWER_SECONDS`; nothing is then left open.

        :raises BearerRefused: (as a Failure) the manager does not take it.
        :raises RouterError: (as a Failure) anything else: nobody answers there, or something that is no manager.
        """


@attrs.frozen
class Entered:
    """
    Somebody who has signed in.

    :ivar secret: of the token that was made for them, if one was.    :ivar left: called when their session has ended.
    """

    identity: Identity
    secret: str | None = None
    left: Callable[[], Any] | None = None


class SignIn:
    """The ways in."""

    def __init__(
        self, app: str, store_kind: str, tokens: Tokens, doorman: Doorman, clock: Any, manager: Any = None
    ) -> None:
        """:param manager: an `IManager`, or ``None``."""
        self._clock = clock
        self._app = app
        self._store_kind = store_kind
        self._tokens = tokens
        self._doorman = doorman
        self._manager = manager
        self._host = None if manager is None or manager.host is None else read_origin(manager.host)

    def ways(self) -> dict[str, Any]:
        """What a sign-in needs, for the page."""
        if self._manager is None:
            return {"ways": ["token"], "store": self._store_kind}
        return {
            "ways": ["occs", "token"],
            "store": self._store_kind,
            "host": self._host,
            "host_is_fixed": self._host is not None,
            "app": self._app,
            "app_is_fixed": True,
        }

    async def enter(self, request: Any, visit: Visit | None) -> Entered:
        """
        :param visit: who is signed in already.
        :raises Problem: nobody comes in by this.
        """
        body = bodies.read_object(request, FIELDS)
        shown = [name for name in ("token", "code", "bearer") if body.get(name) is not None]
        if len(shown) != 1:
            raise bad_field("token", "give one of token, code and bearer, and not several")
        secret = bodies.text(body, shown[0], 4096) or ""
        if shown[0] == "token":
            return self._by_token(request, secret)
        if shown[0] == "code":
            return await self._by_code(request, secret)
        return await self._by_bearer(request, secret, body, visit)

    def _by_token(self, request: Any, secret: str) -> Entered:
        # A good one is not paced: it has 256 random bits, and nobody is to be locked out by who tries words from the
        # same place. So with the code, and with the router's own bearer; others only the manager can judge.
        identity = self._tokens.find(secret)
        if identity is None:
            self._doorman.check_pace(request)
            raise self._doorman.refuse(
                request, "sign-in-failed", "the token is not known here; it may have been revoked"
            )
        return Entered(identity)

    async def _by_code(self, request: Any, code: str) -> Entered:
        made = await self._tokens.redeem(code)
        if made is None:
            self._doorman.check_pace(request)
            detail = (
                "the code is not the log's last one, has expired, or was used; a restart of the router gives another"
            )
            raise self._doorman.refuse(request, "sign-in-failed", detail)
        return Entered(made[1], made[0])

    # OCCS

    async def _by_bearer(self, request: Any, bearer: str, body: Mapping[str, Any], visit: Visit | None) -> Entered:
        if self._manager is None:
            raise bad_field("bearer", "this router's store is not OCCS's; sign in with a token")
        is_known = self._manager.is_own(bearer.strip()) or (
            visit is not None and visit.identity.token is not None and visit.identity.is_operator
        )
        host = self._host_for(request, bodies.text(body, "host", 300), is_known)
        app = bodies.text(body, "app")
        if app not in (None, "", self._app):
            detail = f"this router serves {self._app}, not {app}; start a router for that one"
            raise Problem(422, "other-app", detail, {"field": "app"})
        port = bodies.number(body, "port", 1, 65535)
        if not bearer.strip() or not bearer.isascii() or not bearer.strip().isprintable():
            raise bad_field(
                "bearer", "the bearer is empty, or no token; the console shows it under Settings, My Profile"
            )
        if not is_known:
            self._doorman.check_pace(request)
        opened = await self._opened(request, host, bearer.strip())
        name = f"occs:{hashlib.sha256(bearer.strip().encode('ascii')).hexdigest()[:8]}"
        return Entered(Identity(name, Rights.OPERATOR, control=opened.control, port=port), left=opened.close)

    def _host_for(self, request: Any, entered: str | None, is_known: bool) -> str:
        """
        The manager to ask: the page is no relay into the network.

        :param is_known: whether whoever asks has an operator's token, or the one that the router was started with.
        """
        if self._host is not None:
            if entered and not _is_same_host(entered, self._host):
                detail = f"this router was started with {self._host}; no other host can be used"
                raise Problem(422, "host-refused", detail, {"field": "host"})
            return self._host
        if not is_known:
            # This says that the bearer is not the router's own: a try like any other.
            self._doorman.check_pace(request)
            raise self._doorman.refuse(
                request,
                "operator-token-needed",
                "the router was started without a manager; sign in with an operator token of the router first, then "
                "enter the host",
                403,
            )
        if not entered:
            raise Problem(422, "host-refused", "the host is missing; enter the manager's", {"field": "host"})
        return _origin_of(entered)

    async def _opened(self, request: Any, host: str, bearer: str) -> Opened:
        try:
            opening: Deferred[Opened] = maybeDeferred(self._manager.open, host, bearer)
            opened = await opening.addTimeout(ANSWER_SECONDS, self._clock)
        except BearerRefused:
            detail = f"{host} does not take the bearer"
            raise self._doorman.refuse(request, "bearer-refused", detail) from None
        except (RouterError, TimedOut):
            # Not in more words: how a host fails to answer says what is in the network behind us.
            raise self._doorman.refuse(
                request, "host-silent", f"{host} could not be reached, or is no manager", 502
            ) from None
        return opened


def _origin_of(text: str) -> str:
    """:raises Problem: it is no https origin."""
    text = text.strip()
    try:
        origin = read_origin(text if "://" in text else f"https://{text}")
    except ValueError as wrong:
        raise Problem(422, "host-refused", f"the host cannot be used: {wrong}", {"field": "host"}) from None
    if not origin.startswith("https://"):
        raise Problem(
            422, "host-refused", "the host must be reached by https, for the bearer's sake", {"field": "host"}
        )
    return origin


def _is_same_host(entered: str, host: str) -> bool:
    try:
        return read_origin(entered if "://" in entered else f"{host.partition('://')[0]}://{entered}") == host
    except ValueError:
        return False
