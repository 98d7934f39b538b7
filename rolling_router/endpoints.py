"""
endpoints: how we connect: as Twisted does, but also to names with an underscore, such as container networks have, and
our own HTTP clients without two log lines for each connection.

Used by `proxy`, `probes`, `occs` and the command.
"""

from __future__ import annotations

import re
from typing import Any

from hyperlink import EncodedURL
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import HostnameEndpoint, wrapClientTLS
from twisted.internet.interfaces import IStreamClientEndpoint
from twisted.web.client import URI
from twisted.web.iweb import IAgentEndpointFactory, IPolicyForHTTPS
from zope.interface import implementer

_NAME = re.compile(r"[A-Za-z0-9_-]{1,63}(?:\.[A-Za-z0-9_-]{1,63})*\.?\Z")


class Url(EncodedURL):
    """
    For treq: an address whose host is called as it is written. For hyperlink, each is a name to be encoded by IDNA,
    which refuses IPv6 addresses, and names with an underscore, such as container networks have.
    """

    def to_uri(self) -> EncodedURL:
        if not self.host.isascii():
            return super().to_uri()
        return EncodedURL.to_uri(self.replace(host="host")).replace(host=self.host)


class Named(HostnameEndpoint):
    """By a host's name or address. Twisted's own refuses names with an underscore before anybody is asked for them."""

    @staticmethod
    def _hostAsBytesAndText(host: bytes | str) -> tuple[bool, bytes, str]:
        text = host.decode("ascii", "replace") if isinstance(host, bytes) else host
        if _NAME.match(text):
            return False, text.encode("ascii"), text
        return HostnameEndpoint._hostAsBytesAndText(host)


@implementer(IAgentEndpointFactory)
class Endpoints:
    """Endpoints for one agent."""

    def __init__(self, reactor: Any, policy: IPolicyForHTTPS | None, connect_seconds: float = 30.0) -> None:
        """:param policy: for TLS; ``None`` where there is none.    :param connect_seconds: the time limit."""
        self._reactor = reactor
        self._policy = policy
        self._connect_seconds = connect_seconds

    def endpointForURI(self, uri: URI) -> IStreamClientEndpoint:
        endpoint = Named(self._reactor, uri.host, uri.port, timeout=self._connect_seconds)
        if self._policy is None or uri.scheme != b"https":
            return _Quiet(endpoint)
        return _Quiet(wrapClientTLS(self._policy.creatorForNetloc(uri.host, uri.port), endpoint))


@implementer(IStreamClientEndpoint)
class _Quiet:
    """A lost store, or probes, would fill the log with connections that begin and end."""

    def __init__(self, endpoint: IStreamClientEndpoint) -> None:
        self._endpoint = endpoint

    def connect(self, protocolFactory: Any) -> Deferred[Any]:
        protocolFactory.noisy = False
        return self._endpoint.connect(protocolFactory)
