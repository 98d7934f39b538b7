"""proxy.trust: whose word on who the client is counts. Pure."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable

import attrs

from rolling_router.errors import SettingError

_Address = ipaddress.IPv4Address | ipaddress.IPv6Address
_Network = ipaddress.IPv4Network | ipaddress.IPv6Network


@attrs.frozen
class Peer:
    """
    The other end of a client connection.

    :ivar address: IP address in text; empty for a unix socket.    :ivar is_secure: whether the connection is TLS.
    :ivar is_trusted: whether its ``X-Forwarded-*`` and ``X-Request-ID`` are believed.
    """

    address: str
    is_secure: bool
    is_trusted: bool


class Trust:
    """The networks of ``--trusted-proxy``. Nobody is trusted by default."""

    def __init__(self, networks: Iterable[_Network] = ()) -> None:
        self._networks = tuple(networks)

    @classmethod
    def parse(cls, texts: Iterable[str]) -> Trust:
        """:raises SettingError: a text that is no network in CIDR form."""
        networks = []
        for text in texts:
            try:
                networks.append(ipaddress.ip_network(text.strip()))
            except ValueError as wrong:
                raise SettingError(f"the trusted proxy is {text!r}: {wrong}; write a network like 10.0.0.0/8") from None
        return cls(networks)

    def covers(self, address: str) -> bool:
        """Whether a peer at this address is a trusted proxy."""
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
