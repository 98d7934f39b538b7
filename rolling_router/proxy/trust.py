"""proxy.trust: whose word on who the client is counts. Pure."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from typing import Any

import attrs
from twisted.internet.address import UNIXAddress

from rolling_router.errors import SettingError

_Address = ipaddress.IPv4Address | ipaddress.IPv6Address
_Network = ipaddress.IPv4Network | ipaddress.IPv6Network

UNIX = "unix"
"""What ``--trusted-proxy`` calls whoever comes by a unix socket: who may is the socket's file's to say."""


def _plain(address: str) -> str:
    """A dual-stack socket reports IPv4 peers as ``::ffff:a.b.c.d``; everybody else writes ``a.b.c.d``."""
    return address.removeprefix("::ffff:") if "." in address else address


@attrs.frozen
class Peer:
    """
    The other end of a client connection.

    :ivar address: IP address in text, an IPv4 one as such; empty for a unix socket.
    :ivar is_secure: whether the connection is TLS.
    :ivar is_trusted: whether its ``X-Forwarded-*`` and ``X-Request-ID`` are believed.
    """

    address: str = attrs.field(converter=_plain)
    is_secure: bool
    is_trusted: bool


class Trust:
    """The networks of ``--trusted-proxy``, and whether unix sockets are among them. Nobody is trusted by default."""

    def __init__(self, networks: Iterable[_Network] = (), trusts_unix: bool = False) -> None:
        self._networks = tuple(networks)
        self._trusts_unix = trusts_unix

    @classmethod
    def parse(cls, texts: Iterable[str]) -> Trust:
        """:raises SettingError: a text that is neither a network in CIDR form nor ``unix``."""
        networks, trusts_unix = [], False
        for text in map(str.strip, texts):
            if text == UNIX:
                trusts_unix = True
                continue
            try:
                networks.append(ipaddress.ip_network(text))
            except ValueError as wrong:
                why = f"{wrong}; write a network like 10.0.0.0/8, or {UNIX} for unix sockets"
                raise SettingError(f"the trusted proxy is {text!r}: {why}") from None
        return cls(networks, trusts_unix)

    def peer(self, address: Any, is_secure: bool) -> Peer:
        """:param address: the address object of a client connection's other end."""
        text = getattr(address, "host", None) or ""
        is_trusted = self._trusts_unix if isinstance(address, UNIXAddress) else self.covers(text)
        return Peer(text, is_secure, is_trusted)

    def covers(self, address: str) -> bool:
        """Whether a peer at this address is a trusted proxy; never one without an address."""
        if not self._networks:
            return False
        parsed = _parse(address)
        return parsed is not None and any(parsed in network for network in self._networks)

    def client_behind(self, peer: str, forwarded_for: bytes) -> str:
        """
        The client's address by the word of a trusted `peer`: the last entry that is not itself a trusted proxy.

        Entries further to the left were written by whoever came before, and prove nothing. Where an entry is not an
        address the search ends with the last one that was.
        """
        found = peer
        for entry in reversed(forwarded_for.split(b",")):
            parsed = _parse(_bare(entry.strip(b" \t").decode("latin-1")))
            if parsed is None:
                break
            found = str(parsed)
            if not any(parsed in network for network in self._networks):
                break
        return found


def _bare(entry: str) -> str:
    """An entry of ``X-Forwarded-For`` without brackets and port, which some proxies add."""
    if entry.startswith("["):
        return entry[1:].partition("]")[0]
    return entry.partition(":")[0] if entry.count(":") == 1 else entry


def _parse(text: str) -> _Address | None:
    try:
        address = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return None
    # A dual-stack socket reports IPv4 peers as ::ffff:a.b.c.d; people write the networks of IPv4 as IPv4.
    mapped = getattr(address, "ipv4_mapped", None)
    return mapped or address
