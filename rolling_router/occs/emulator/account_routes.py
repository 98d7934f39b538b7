"""occs.emulator.account_routes: `/api/auth`, `/api/token` and `/api/token/new`. Shapes only."""

from __future__ import annotations

from typing import Any

from rolling_router.occs.emulator.accounts import Accounts
from rolling_router.occs.emulator.asked import Answer, Ask, unauthorized, wrong_method

PATHS = ("/api/auth", "/api/token", "/api/token/new")


def answer(ask: Ask, accounts: Accounts) -> Answer:
    """
    :raises Refusal: 401 for whoever cannot be let in, 405 for another method.
    """
    if ask.path == "/api/auth":
        return _sign_in(ask, accounts)
    if ask.path == "/api/token/new":
        if ask.method != "POST":
            raise wrong_method(ask)
        if not accounts.is_bearer(ask.authorization):
            raise unauthorized()
        return Answer.json({"token": accounts.renew()})
    if ask.method not in ("GET", "POST"):  # documented as POST, called by GET
        raise wrong_method(ask)
    bearer = accounts.bearer_of(ask.authorization)
    if bearer is None:
        raise unauthorized()
    return Answer.json({"token": bearer})


def _sign_in(ask: Ask, accounts: Accounts) -> Answer:
    if ask.method != "POST":
        raise wrong_method(ask)
    given = ask.json()
    given = given if isinstance(given, dict) else {}
    session = accounts.sign_in(given.get("username"), given.get("password"))
    if session is None:
        raise unauthorized()
    return Answer.json(_user(accounts.kept.user, session))


def _user(name: str, session: str) -> dict[str, Any]:
    return {
        "id": 100,
        "first_name": "",
        "last_name": "",
        "username": name,
        "token": session,
        "type": 0,
        "role": 0,
        "group": "",
        "last_password_reset_date": "0001-01-01T00:00:00Z",
    }
