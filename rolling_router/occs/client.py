"""
occs.client: Oracle Container Cloud Service as seen from here: its keys, its deployments, signing in.

Made by the store plugin, the deploy step and tests. Never logs, shows or repeats a token.
"""

from __future__ import annotations

import random
import re
from collections.abc import Mapping, Sequence
from typing import Any

from hyperlink import DecodedURL, URLParseError
from treq.client import HTTPClient
from twisted.internet.defer import Deferred, succeed
from twisted.web.client import Agent, HTTPConnectionPool
from twisted.web.iweb import IAgent

from rolling_router.endpoints import Endpoints, Url
from rolling_router.errors import SettingError
from rolling_router.occs.calls import Calls
from rolling_router.occs.deployments import Deployments
from rolling_router.occs.keys import MANAGER_FORMS, NODE_FORMS, Form, Keys
from rolling_router.occs.signing import Signing
from rolling_router.occs.token import Token
from rolling_router.occs.trust import trust

IDLE_SECONDS = 60
"""How long a connection is kept for the next call."""
CONNECTIONS = 6
CONNECT_SECONDS = 2.5
_HOST = re.compile(r"[A-Za-z0-9._:-]+\Z")


class OccsClient:
    """
    A client of one manager, or of one node.

    :ivar where: its address, e.g. ``https://10.0.0.1``.
    """

    def __init__(
        self,
        clock: Any,
        agent: IAgent,
        where: str,
        token: Token | None = None,
        *,
        forms: Sequence[Form] = MANAGER_FORMS,
        pool: HTTPConnectionPool | None = None,
    ) -> None:
        """
        :param where: scheme, host and port.    :param forms: of the paths of keys.
        :param pool: the agent's, to be closed by `close`.
        :raises SettingError: `where` is no such address.
        """
        base = address(where)
        calls = Calls(clock, HTTPClient(agent), base, token, random.random)
        self.where = calls.where
        self.keys = Keys(calls, forms)
        self.deployments = Deployments(calls)
        self.signing = Signing(calls)
        self._pool = pool

    @classmethod
    def of_manager(cls, reactor: Any, where: str, environ: Mapping[str, str], token: Token | None) -> OccsClient:
        """
        :param environ: ``OCCS_CA`` and ``OCCS_INSECURE`` are heeded.
        :raises SettingError: something in it, or `where`, cannot be used.
        """
        if address(where).scheme != "https":
            raise SettingError(f"the manager is {where!r}; it must be https://HOST, for the token is sent there")
        policy = trust(environ.get("OCCS_CA") or None, is_on(environ, "OCCS_INSECURE"), where)
        pool = _pool(reactor)
        agent = Agent.usingEndpointFactory(reactor, Endpoints(reactor, policy, CONNECT_SECONDS), pool)
        return cls(reactor, agent, where, token, pool=pool)

    @classmethod
    def of_node(cls, reactor: Any, where: str) -> OccsClient:
        """
        A node's own address, by plain HTTP, where nobody asks for a token: so none is sent through the network.

        :raises SettingError: `where` cannot be used.
        """
        pool = _pool(reactor)
        agent = Agent.usingEndpointFactory(reactor, Endpoints(reactor, None, CONNECT_SECONDS), pool)
        return cls(reactor, agent, where, forms=NODE_FORMS, pool=pool)

    def close(self) -> Deferred[None]:
        """Let go of the kept connections. Calls under way are their callers' to cancel."""
        return succeed(None) if self._pool is None else self._pool.closeCachedConnections()


def address(text: str) -> DecodedURL:
    """:raises SettingError: it is not ``http(s)://HOST[:PORT]``."""
    try:
        found = DecodedURL(Url.from_text(text.strip().rstrip("/")))
        found.to_uri()  # as it will be sent
    except (URLParseError, ValueError):
        found = DecodedURL()
    is_plain = found.path in ((), ("",)) and not found.query and not found.fragment and not any(found.userinfo)
    is_host = bool(_HOST.match(found.host) or not found.host.isascii()) and 1 <= (found.port or 0) <= 65535
    if found.scheme not in ("http", "https") or not is_host or not is_plain:
        shown = text if "@" not in text else "(an address with a user's name in it)"
        raise SettingError(f"the address is {shown!r}; it must be https://HOST or http://HOST:PORT, and nothing more")
    return found


def is_on(environ: Mapping[str, str], name: str) -> bool:
    """:raises SettingError: the variable is neither 1 nor 0."""
    text = environ.get(name, "").lower()
    if text in ("", "0", "no", "false"):
        return False
    if text in ("1", "yes", "true"):
        return True
    raise SettingError(f"{name} is {environ[name]!r}; it must be 1 or 0")


def _pool(reactor: Any) -> HTTPConnectionPool:
    pool = HTTPConnectionPool(reactor)
    pool.maxPersistentPerHost = CONNECTIONS
    pool.cachedConnectionTimeout = IDLE_SECONDS
    return pool
