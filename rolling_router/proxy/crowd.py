"""proxy.crowd: how many client connections there are, in all and of one address. Pure; asked by `gate` for each."""

from __future__ import annotations

import ipaddress
from collections.abc import Hashable
from typing import Any

from rolling_router.proxy.limits import Limits
from rolling_router.proxy.trust import Trust


class Crowd:
    """The connections that were let in, by client."""

    def __init__(self, limits: Limits) -> None:
        self._most = limits.connections_most or float("inf")
        self._most_of_one = limits.connections_per_client
        self._in: dict[Hashable, str] = {}
        self._of: dict[str, int] = {}

    def enter(self, connection: Hashable, peer: Any, trust: Trust) -> str:
        """
        Let it in, if there is room.

        :param peer: the address object of its other end.
        :returns: empty, or the name of the limit that keeps it out.
        """
        if len(self._in) >= self._most:
            return "connections-most"
        client = ""
        if self._most_of_one:
            address = getattr(peer, "host", None) or ""
            client = "" if not address or trust.covers(address) else household(address)
            if client:
                number = self._of.get(client, 0)
                if number >= self._most_of_one:
                    return "connections-per-client"
                self._of[client] = number + 1
        self._in[connection] = client
        return ""

    def leave(self, connection: Hashable) -> None:
        """It has ended; nothing happens if it was not let in."""
        client = self._in.pop(connection, "")
        if client:
            number = self._of[client] - 1
            if number:
                self._of[client] = number
            else:
                del self._of[client]


def household(address: str) -> str:
    """What counts as one client: an IPv4 address, or the /64 of an IPv6 one, of which each client has a whole one."""
    if ":" not in address:
        return address
    parsed = ipaddress.IPv6Address(address.partition("%")[0])
    mapped = parsed.ipv4_mapped
    return str(mapped) if mapped else str(int(parsed) >> 64)
