"""admin.throttle: how long somebody who failed to sign in has to wait. Pure but for the clock handed in."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable

import attrs

FREE = 4
"""Failures of one address before it has to wait: people mistype."""
LONGEST_SECONDS = 60.0
FORGET_SECONDS = 900.0
"""After so long without a failure, an address begins anew."""
MOST_ADDRESSES = 4096

OVERALL_BURST, OVERALL_RATE = 60.0, 2.0
"""Failures of all addresses together: so many at once, and so many a second from then on."""


@attrs.define
class _Record:
    failures: int = 0
    last: float = 0.0
    until: float = 0.0


class Throttle:
    """Counts failed sign-ins by address (IPv6: by its /64, which one person has all of) and for all together."""

    def __init__(self, now: Callable[[], float]) -> None:
        """:param now: seconds, of any clock; nobody waits longer because it is put back."""
        self._clock = now
        self._elapsed, self._seen_at = 0.0, now()
        self._records: dict[str, _Record] = {}  # the one that failed last stands last
        self._left, self._left_at = OVERALL_BURST, 0.0

    def wait(self, address: str) -> float:
        """Seconds for which this address may not try again; 0 if it may now."""
        record = self._records.get(_network(address))
        own = 0.0 if record is None else record.until - self._now()
        left = self._refilled()
        overall = 0.0 if left >= 1 else (1 - left) / OVERALL_RATE
        return max(0.0, own, overall)

    def failed(self, address: str) -> None:
        now, key = self._now(), _network(address)
        record = self._records.pop(key, None)
        if record is None or now - record.last > FORGET_SECONDS:
            record = _Record()
        record.failures += 1
        record.last = now
        over = record.failures - FREE
        record.until = now + min(LONGEST_SECONDS, 2.0 ** min(over, 10)) if over >= 0 else 0.0
        self._records[key] = record
        while len(self._records) > MOST_ADDRESSES:
            del self._records[next(iter(self._records))]
        self._left, self._left_at = max(0.0, self._refilled() - 1), now

    def succeeded(self, address: str) -> None:
        self._records.pop(_network(address), None)

    def _now(self) -> float:
        """Seconds since the start, which never run backwards."""
        now = self._clock()
        self._elapsed += max(0.0, now - self._seen_at)
        self._seen_at = now
        return self._elapsed

    def _refilled(self) -> float:
        return min(OVERALL_BURST, self._left + (self._now() - self._left_at) * OVERALL_RATE)


def _network(address: str) -> str:
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if parsed.version == 4:
        return str(parsed)
    return str(parsed.ipv4_mapped or ipaddress.IPv6Address(int(parsed) >> 64 << 64))
