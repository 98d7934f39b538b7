"""
admin.tokens: which of the router's own tokens are good now, and the link for the first sign-in. Used by `doorman`.

Follows the token file by looking at it once a second while it is asked, so that the command's changes count at once.
"""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Callable, Mapping
from typing import Any

from twisted.internet.defer import Deferred, maybeDeferred
from twisted.logger import Logger

from rolling_router.admin.identity import Identity, Rights
from rolling_router.admin.token_file import Token, TokenFile, fingerprint, make_token
from rolling_router.errors import SettingError

VARIABLE = "ROLLING_ROUTER_TOKEN"
"""A token that this process takes, too: for containers. The command sends the one in its own environment."""
SHORTEST = 20
LOOK_SECONDS = 1.0
CODE_SECONDS = 1800.0
FIRST_NAME = "first"

_log = Logger()


class Tokens:
    """The tokens of the file (or of memory, where there is no state directory) and of the environment."""

    def __init__(
        self,
        now: Callable[[], float],
        file: TokenFile | None,
        environ: Mapping[str, str],
        aside: Callable[..., Deferred[Any]],
    ) -> None:
        """
        :param now: seconds since 1970.    :param aside: calls a function in a thread, as `deferToThreadPool` does.
        :raises SettingError: the token of the environment is too short to be one.
        """
        self._now = now
        self._file = file
        self._aside = aside
        self._fixed: dict[str, Token] = {}
        self._found: dict[str, Token] = {}
        self._signature: Any = ()
        self._looked_at = float("-inf")
        self._code: str | None = None
        self._code_until = 0.0
        given = environ.get(VARIABLE)
        if given:
            if len(given) < SHORTEST:
                raise SettingError(f"{VARIABLE} has {len(given)} characters; it must have {SHORTEST} or more")
            self._keep(Token("environment", Rights.OPERATOR, fingerprint(given), now()))

    def find(self, secret: str) -> Identity | None:
        """Whose token this is; ``None`` for nobody's."""
        self._look()
        found = fingerprint(secret)
        token = self._fixed.get(found) or self._found.get(found)
        if token is None:  # it may have been made a moment ago
            self._looked_at = float("-inf")
            self._look()
            token = self._found.get(found)
        return None if token is None else Identity(token.name, token.rights, token.fingerprint)

    def is_valid(self, identity: Identity) -> bool:
        """
        Whether the token that somebody signed in with still counts, with the rights that it had then.

        One who showed none is not ours to judge.
        """
        if identity.token is None:
            return True
        self._look()
        token = self._fixed.get(identity.token) or self._found.get(identity.token)
        return token is not None and token.rights is identity.rights

    def has_any(self) -> bool:
        """Whether there is a token, or a file of them that cannot be read: then nobody is to be let in otherwise."""
        self._look()
        return bool(self._fixed or self._found) or self._is_unreadable

    # The first sign-in

    def make_code(self) -> str:
        """A code that signs in once, as an operator, within `CODE_SECONDS`; one made before counts no more."""
        self._code, self._code_until = secrets.token_urlsafe(24), self._now() + CODE_SECONDS
        return self._code

    async def redeem(self, code: str) -> tuple[str, Identity] | None:
        """
        Sign in by the code, which makes the first token.

        :returns: the token's secret, and who has signed in; ``None`` if the code does not count.
        :raises SettingError: the token cannot be kept.
        """
        if self._code is None or self._now() >= self._code_until:
            return None
        if not hmac.compare_digest(code.encode("utf-8", "surrogateescape"), self._code.encode("ascii")):
            return None
        kept, self._code = self._code, None  # before anything is awaited: it counts once
        name = (
            FIRST_NAME if self._file is None or FIRST_NAME not in self._names() else f"{FIRST_NAME}-{int(self._now())}"
        )
        secret, token = make_token(name, Rights.OPERATOR, self._now())
        if self._file is None:
            self._keep(token)
        else:
            try:
                await maybeDeferred(self._aside, self._file.add, token)
            except SettingError:
                self._code = kept
                raise
            self._looked_at = float("-inf")
        return secret, Identity(token.name, token.rights, token.fingerprint)

    def _names(self) -> set[str]:
        return {one.name for one in self._found.values()}

    # The file

    _is_unreadable = False

    def _keep(self, token: Token) -> None:
        self._fixed[token.fingerprint] = token

    def _look(self) -> None:
        now = self._now()
        if self._file is None or now - self._looked_at < LOOK_SECONDS:
            return
        self._looked_at = now
        signature = self._file.signature()
        if signature == self._signature:
            return
        self._signature = signature
        try:
            tokens = self._file.read()
        except SettingError as wrong:
            _log.error("{wrong}; the tokens read before count on", wrong=wrong)
            self._is_unreadable = True
            return
        self._is_unreadable = False
        self._found = {one.fingerprint: one for one in tokens}
