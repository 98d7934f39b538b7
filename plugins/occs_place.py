"""occs_place: which store an address and the environment mean. Called by `occs` alone; opens no connection."""

from __future__ import annotations

import math
from collections.abc import Mapping

from rolling_router.interfaces import IStore, SettingError, StoreContext
from rolling_router.occs.client import OccsClient, address
from rolling_router.occs.token import FILE_VARIABLE, VARIABLE, Token

from .occs_store import OccsStore

MANAGER = "OCCS_MANAGER"
POLL = "OCCS_POLL_SECONDS"
POLL_SECONDS = 1.0
POLL_LEAST, POLL_MOST = 0.1, 60.0


def open_at(location: str, context: StoreContext) -> IStore:
    """
    :param location: the manager's address (``https``), or a node's (``http``).
    :raises SettingError: it, or what the environment has to say, cannot be used.
    """
    environ, reactor = context.environ, context.reactor
    try:
        where = address(location)
    except SettingError:
        text = f"the occs store's place is {_shown(location)}; it must be such as occs:https://10.0.0.1 for a manager"
        raise SettingError(f"{text}, or occs:http://172.17.0.1:9109 for a node") from None
    poll_seconds = _poll_seconds(environ)
    if where.scheme == "https":
        manager = OccsClient.of_manager(reactor, where.to_text(), environ, _token(environ, where.to_text()))
        return OccsStore(context, manager, manager, poll_seconds)
    other = _manager(environ)
    writes = None if other is None else OccsClient.of_manager(reactor, other, environ, _token(environ, other))
    return OccsStore(context, OccsClient.of_node(reactor, where.to_text()), writes, poll_seconds)


def _manager(environ: Mapping[str, str]) -> str | None:
    """The manager that a node's store is written through."""
    text = environ.get(MANAGER, "").strip()
    if not text:
        return None
    try:
        where = address(text if "://" in text else f"https://{text}")
    except SettingError:
        where = None
    if where is None or where.scheme != "https":
        raise SettingError(f"{MANAGER} is {_shown(text)}; it must be the manager's address, such as https://10.0.0.1")
    return where.to_text()


def _token(environ: Mapping[str, str], where: str) -> Token:
    token = Token.from_environ(environ)
    if token is None:
        raise SettingError(f"{where} wants a token; set {VARIABLE}, or {FILE_VARIABLE} to the path of a file with it")
    return token


def _poll_seconds(environ: Mapping[str, str]) -> float:
    text = environ.get(POLL) or str(POLL_SECONDS)
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not POLL_LEAST <= seconds <= POLL_MOST:
        raise SettingError(f"{POLL} is {text!r}; it must be a number from {POLL_LEAST:g} to {POLL_MOST:g}")
    return seconds


def _shown(text: str) -> str:
    return repr(text) if "@" not in text else "an address with a user's name in it"
