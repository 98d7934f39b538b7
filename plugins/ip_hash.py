"""
ip-hash: the strategy that pins a client by its address, and tells it nothing.

A pure function of the address and the Split: the same address gets the same answer on every router. Raising the
blend only adds clients to the candidate, lowering it only takes some away. Clients behind one address (a company's
NAT, one IPv6 network) stay together, and a client whose address changes may change its version.
"""

from __future__ import annotations

import hashlib
import ipaddress
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache, partial

from twisted.plugin import IPlugin
from zope.interface import implementer

from rolling_router.interfaces import (
    Client,
    Instance,
    IStrategy,
    IStrategyPlugin,
    Pin,
    SettingError,
    Split,
    Version,
)

_PINS_KEPT = 10_000
_LONGEST_ADDRESS = 100  # characters; any address with any zone is shorter, and longer garbage need not be kept
_LOT_BITS = 64


@implementer(IPlugin, IStrategyPlugin)
class IpHashPlugin:
    """Makes the strategy. It has no options."""

    name = "ip-hash"
    description = "a hash of the client's address decides; nothing is stored with the client"

    def make(self, app: str, options: Mapping[str, str]) -> IpHashStrategy:
        for option in options:
            raise SettingError(f"the ip-hash strategy has no option {option!r}; write it without any")
        return IpHashStrategy()


@implementer(IStrategy)
class IpHashStrategy:
    """Pins by address. Pins of the addresses seen last are kept, so a client in the midst of its visit is looked up."""

    private_cookies: Sequence[bytes] = ()

    def __init__(self) -> None:
        self._split: Split | None = None
        self._place: Callable[[str], Pin | None] = lambda address: None

    def recall(self, client: Client, split: Split) -> Pin | None:
        """Give the pin of the client's address; ``None`` for a client without a usable one, so the blend decides."""
        if split is not self._split:
            self._split, self._place = split, lru_cache(_PINS_KEPT)(partial(place, split))
        address = client.address
        return self._place(address) if len(address) <= _LONGEST_ADDRESS else None

    def remember(self, client: Client, split: Split, pin: Pin) -> Sequence[tuple[bytes, bytes]]:
        """Nothing: a client's address cannot be told where it belongs."""
        return ()


def place(split: Split, address: str) -> Pin | None:
    """Say where an address belongs: its version first, then its instance there, by independent lots. Pure."""
    who = who_is(address)
    if who is None:
        return None
    version = _version(split, who)
    return None if version is None else Pin(version, _instance(split.app, version, who))


def who_is(address: str) -> bytes | None:
    """
    Say who counts as one client; ``None`` for a text that is no IP address.

    An IPv6 client owns a /64 and wanders in it (RFC 8981), so a /64 counts as one; zones do not count. An IPv4
    address is the same client whether or not it came in IPv6's clothes (RFC 4291, section 2.5.5.2).
    """
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return None
    if parsed.version == 6:
        if parsed.ipv4_mapped is None:
            return b"6" + parsed.packed[:8]
        parsed = parsed.ipv4_mapped
    return b"4" + parsed.packed


def _version(split: Split, who: bytes) -> Version | None:
    if split.stable is None or split.candidate is None:
        return split.stable or split.candidate
    # The candidate is part of the lot, or the same people would go first in every rollout.
    lot = _lot(b"rr-version", who, split.app, split.candidate.id)
    # A client's lot stays where it is while the blend moves past it: that makes the strategy monotone.
    return split.candidate if lot * 100 < split.blend << _LOT_BITS else split.stable


def _instance(app: str, version: Version, who: bytes) -> Instance | None:
    """
    Choose by highest random weight (rendezvous hashing: Thaler & Ravishankar, "Using Name-Based Mappings to Increase
    Hit Rates", IEEE/ACM Transactions on Networking 6(1), 1998): an instance lost moves its own clients only.
    """

    def weight(instance: Instance) -> tuple[int, Instance]:
        return _lot(b"rr-instance", who, app, version.id, str(instance)), instance

    return max(version.instances, key=weight, default=None)


def _lot(purpose: bytes, who: bytes, *salt: str) -> int:
    """Draw a number below 2**64, evenly spread over clients however alike their addresses; always the same one."""
    text = who + "\0".join(salt).encode("utf-8", "surrogatepass")
    return int.from_bytes(hashlib.blake2b(text, digest_size=_LOT_BITS // 8, person=purpose).digest(), "big")
