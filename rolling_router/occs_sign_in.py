"""occs_sign_in: the way from a bearer, entered on the settings port, to the manager's store. Made by `steering`."""

from __future__ import annotations

import hmac
from collections.abc import Callable, Mapping
from typing import Any

from twisted.internet.defer import Deferred
from zope.interface import implementer

from rolling_router.admin.sign_in import BearerRefused, IManager, Opened
from rolling_router.errors import SettingError
from rolling_router.interfaces import IStore, StoreContext
from rolling_router.occs.calls import TokenRefused
from rolling_router.occs.client import OccsClient, address
from rolling_router.occs.token import FILE_VARIABLE, VARIABLE, Token
from rolling_router.registry import open_store
from rolling_router.rollout.control import Control

_OWN = (VARIABLE, FILE_VARIABLE, "OCCS_MANAGER")
"""What the router's own store goes by, and a session's must not."""


def manager_for(
    reactor: Any, app: str, store: str, environ: Mapping[str, str], control: Callable[[IStore], Control]
) -> OccsManager | None:
    """
    ``None`` where the store is not OCCS's.

    :param store: the text of ``--store``.    :param environ: as stores see it.
    """
    scheme, _, location = store.partition(":")
    if scheme != "occs":
        return None
    named = location if location.startswith("https:") else environ.get("OCCS_MANAGER", "").strip()
    if named and "://" not in named:
        named = f"https://{named}"
    return OccsManager(reactor, app, address(named).to_text() if named else None, environ, control)


@implementer(IManager)
class OccsManager:
    """An Oracle Container Cloud Service's manager."""

    def __init__(
        self,
        reactor: Any,
        app: str,
        host: str | None,
        environ: Mapping[str, str],
        control: Callable[[IStore], Control],
    ) -> None:
        """:param control: makes one for a store."""
        self.host = host
        self._reactor = reactor
        self._app = app
        self._environ = environ
        self._control = control

    def is_own(self, bearer: str) -> bool:
        try:
            own = Token.from_environ(self._environ)
        except SettingError:
            return False
        return own is not None and hmac.compare_digest(own.reveal().encode("utf-8"), bearer.encode("utf-8"))

    def open(self, host: str, bearer: str) -> Deferred[Opened]:
        return Deferred.fromCoroutine(self._open(host, bearer))

    async def _open(self, host: str, bearer: str) -> Opened:
        environ = {name: text for name, text in self._environ.items() if name not in _OWN}
        client = OccsClient.of_manager(self._reactor, host, environ, Token(bearer))
        try:
            await client.deployments.all()
        except TokenRefused as refused:
            raise BearerRefused(str(refused)) from None
        finally:
            await client.close()
        context = StoreContext(self._reactor, self._app, {**environ, VARIABLE: bearer})
        store = open_store(f"occs:{host}", context)
        return Opened(self._control(store), store.close)
