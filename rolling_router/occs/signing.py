"""occs.signing: from a password to a bearer token, and from that to the next one. For the deploy step."""

from __future__ import annotations

import json
from typing import Any

from rolling_router.occs.calls import Answer, Calls, Refused


class Signing:
    """Signing in at one manager."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls

    async def bearer(self, username: str, password: str) -> str:
        """
        The user's bearer token, which holds until it is renewed.

        :raises Refused: user and password do not fit.    :raises StoreLost: no usable answer.
        """
        body = json.dumps({"username": username, "password": password}).encode()
        answer = await self._calls.ask("POST", ("api", "auth"), body=body, authorization="")
        if answer.status in (401, 403):
            raise Refused(f"{self._calls.where} refuses the password of {username!r}")
        session = f"Session {_token(answer)}"
        for method in ("GET", "POST"):  # documented as POST, done by GET wherever somebody really did it
            answer = await self._calls.ask(method, ("api", "token"), authorization=session)
            if answer.status not in (404, 405):
                break
        return _token(answer)

    async def renewed(self, bearer: str) -> str:
        """
        The next bearer token. The old one is dead at once.

        :raises Refused: it is not valid.    :raises StoreLost: no usable answer; the old one may be dead all the same.
        """
        path = ("api", "token", "new")
        answer = await self._calls.ask("POST", path, authorization=f"Bearer {bearer}", may_repeat=False)
        if answer.status in (401, 403):
            raise Refused(f"{self._calls.where} refuses the token that was to be renewed")
        return _token(answer)


def _token(answer: Answer) -> str:
    if not answer.is_ok:
        raise answer.odd("no token")
    found: Any = answer.json()
    token = found.get("token") if isinstance(found, dict) else None
    if not isinstance(token, str) or not token:
        raise answer.odd("no token")
    return token
