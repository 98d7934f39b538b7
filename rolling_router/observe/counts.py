"""
observe.counts: how many requests there were, of which kind, and how long they took. Plain integers.

Called by the proxy once per finished request, read by `observe.metrics` and by the status page. Never does I/O, reads
no clock, and knows nothing of Prometheus.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import attrs

# Upper bounds of the latency buckets, in seconds; a last bucket takes whatever is slower.
BOUNDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)

CODES = ("1xx", "2xx", "3xx", "4xx", "5xx", "cut")
CHOICES = ("stable", "candidate")
ROLES = (*CHOICES, "none")
QUANTILES = {"p50": 0.5, "p95": 0.95, "p99": 0.99}

# Versions come and go with every deployment, instances with every restart; what is kept of them must not grow for ever.
MOST_VERSIONS = 50
MOST_INSTANCES = 200

_SWITCHING_PROTOCOLS = 101


def _ten_zeros() -> list[int]:
    return [0] * 10


def _empty_buckets() -> list[int]:
    return [0] * (len(BOUNDS) + 1)


@attrs.define
class Tally:
    """
    What was counted of one kind of request.

    :ivar hundreds: requests by the first digit of the status; place 0 is for those that were cut short.
    :ivar bytes_in: of request bodies.    :ivar bytes_out: of response bodies.
    :ivar seconds: the sum of all durations.    :ivar buckets: requests by duration, not cumulative; see `BOUNDS`.
    """

    hundreds: list[int] = attrs.field(factory=_ten_zeros)
    bytes_in: int = 0
    bytes_out: int = 0
    seconds: float = 0.0
    buckets: list[int] = attrs.field(factory=_empty_buckets)

    @property
    def requests(self) -> int:
        return sum(self.hundreds)

    def codes(self) -> dict[str, int]:
        """Requests by status class, all classes named; together they are `requests`."""
        cut, *classes = self.hundreds[:6]
        # RFC 9110, section 15: a status from 600 on is to be taken as a 5xx.
        classes[4] += sum(self.hundreds[6:])
        return dict(zip(CODES, [*classes, cut], strict=True))

    def quantile(self, share: float) -> float | None:
        """
        Estimate, in seconds, what this share of the requests stayed below; ``None`` before the first request.

        :param share: 0..1. Inside a bucket requests are taken to lie evenly; beyond the last bound, the answer is it.
        """
        wanted = share * sum(self.buckets)
        below = 0
        for lower, upper, number in zip((0.0, *BOUNDS), BOUNDS, self.buckets, strict=False):
            if number and below + number >= wanted:
                return lower + (upper - lower) * (wanted - below) / number
            below += number
        return BOUNDS[-1] if self.buckets[-1] else None

    def add(self, other: Tally) -> None:
        self.hundreds = [a + b for a, b in zip(self.hundreds, other.hundreds, strict=True)]
        self.bytes_in += other.bytes_in
        self.bytes_out += other.bytes_out
        self.seconds += other.seconds
        self.buckets = [a + b for a, b in zip(self.buckets, other.buckets, strict=True)]


@attrs.frozen
class Kind:
    """
    What the requests of one tally have in common.

    :ivar version: its id; empty where the router answered by itself; ``None`` for all the versions that were let go.
    :ivar role: ``stable``, ``candidate``, or ``none`` where the router answered by itself.
    :ivar reason: why they were served there, in a word.
    :ivar asked: the role that the blend had asked for, before any fallback; ``None`` where no choice was made.
    """

    version: str | None
    role: str
    reason: str
    asked: str | None


class Counts:
    """
    All that one process counts for one app. Only ever grows, except `clients_open` and `upstream_idle`.

    The attributes are incremented by whoever sees the event.

    :ivar clients_accepted: connections that clients have made.    :ivar clients_open: those of them open now.
    :ivar handshakes: by TLS.    :ivar failed_handshakes: those that came to nothing.
    :ivar streams_ended: WebSockets and event streams that were ended to drain.
    :ivar retries_refused: requests that were not sent once more, for want of budget.
    :ivar upstream_opened: connections made to instances.    :ivar upstream_reused: requests sent on one made before.
    :ivar upstream_idle: connections to instances that are kept for the next request now.
    """

    __slots__ = (
        "_in_play",
        "_tallies",
        "_versions",
        "app",
        "attempts_failed",
        "clients_accepted",
        "clients_open",
        "connect_failures",
        "ejections",
        "failed_handshakes",
        "handshakes",
        "limits",
        "probes",
        "retries",
        "retries_refused",
        "streams_ended",
        "upstream_idle",
        "upstream_opened",
        "upstream_reused",
    )

    def __init__(self, app: str) -> None:
        self.app = app
        self.clients_accepted = 0
        self.clients_open = 0
        self.upstream_opened = 0
        self.upstream_reused = 0
        self.upstream_idle = 0
        self.retries: dict[str, int] = {}
        self.retries_refused = 0
        self.streams_ended = 0
        self.handshakes = 0
        self.failed_handshakes = 0
        self.probes: dict[str, int] = {}
        # By role and how; by version, role and how, the one that failed last standing last.
        self.ejections: dict[tuple[str, str], int] = {}
        self.attempts_failed: dict[tuple[str, str, str], int] = {}
        self.limits: dict[str, int] = {}
        # The instance that failed last stands last.
        self.connect_failures: dict[str, int] = {}
        self._tallies: dict[tuple[str | None, str, str, str | None], Tally] = {}
        # The version that was in play last stands last. Without values: an ordered set.
        self._versions: dict[str, None] = {}
        self._in_play: frozenset[str] = frozenset()

    def finished(
        self,
        version: str,
        role: str,
        reason: str,
        asked: str | None,
        status: int,
        bytes_in: int,
        bytes_out: int,
        seconds: float,
        cut: bool = False,
    ) -> None:
        """
        Count one request that is over. Called once per request, however it ended; see `Kind` for the first four.

        :param status: of the final answer, 100..999; 0 if there was none, which counts as cut.
        :param bytes_in: of the request's body, as read.    :param bytes_out: of the response's body, as sent.
        :param seconds: from the request's first byte to the answer's last. Not looked at for a tunnel (101).
        :param cut: whether the client left, or the answer was broken off; such a request counts in no status class.
        """
        # Half a microsecond. A look-up of a tuple costs less than one of an attrs value, whose hash is made in Python.
        try:
            tally = self._tallies[version, role, reason, asked]
        except KeyError:
            tally = self._new_tally(version, role, reason, asked)
        tally.hundreds[0 if cut else status // 100] += 1
        tally.bytes_in += bytes_in
        tally.bytes_out += bytes_out
        # A tunnel lasts as long as its two ends like: that says nothing about the version.
        if status != _SWITCHING_PROTOCOLS:
            tally.seconds += seconds
            tally.buckets[bisect_left(BOUNDS, seconds)] += 1

    def retried(self, reason: str) -> None:
        """Count a request that is sent once more. `reason` is why, in a word, e.g. ``connect``."""
        self.retries[reason] = self.retries.get(reason, 0) + 1

    def attempt_failed(self, version: str, role: str, how: str) -> None:
        """Count an attempt that an instance of this version failed, even if the request was served elsewhere then."""
        self._attempts((version, role, how), 1)

    def ejected(self, role: str, how: str) -> None:
        """Count an instance that is left alone for a while for what traffic told of it."""
        self.ejections[role, how] = self.ejections.get((role, how), 0) + 1

    def probed(self, passed: bool) -> None:
        """Count a health probe."""
        result = "passed" if passed else "failed"
        self.probes[result] = self.probes.get(result, 0) + 1

    def limited(self, limit: str) -> None:
        """Count that a limit acted. `limit` is its option's name, e.g. ``head-seconds``."""
        self.limits[limit] = self.limits.get(limit, 0) + 1

    def connect_failed(self, instance: str) -> None:
        """Count a connection that could not be made. `instance` is ``host:port``."""
        self._failed(instance, 1)

    def in_play(self, versions: Iterable[str]) -> None:
        """Say which versions have a role now. Called with each new snapshot; these are never let go."""
        self._in_play = frozenset(versions)
        for version in self._in_play & self._versions.keys():
            self._versions[version] = self._versions.pop(version)

    # Reading

    def tallies(self) -> Iterator[tuple[Kind, Tally]]:
        """Everything that was counted by kind, in no particular order."""
        for key, tally in self._tallies.items():
            yield Kind(*key), tally

    def grouped(self, key_of: Callable[[Kind], Any]) -> dict[Any, Tally]:
        """The sums of all tallies whose kinds have the same key."""
        groups: dict[Any, Tally] = {}
        for kind, tally in self.tallies():
            groups.setdefault(key_of(kind), Tally()).add(tally)
        return groups

    def asked(self) -> dict[str, int]:
        """Choices by the role that the blend asked for."""
        return self._choices(lambda kind: kind.asked, CHOICES)

    def served(self) -> dict[str, int]:
        """The same choices by the role that served in the end."""
        return self._choices(lambda kind: kind.role, ROLES)

    def totals(self) -> dict[str, Any]:
        """
        What the status page shows, fit for JSON: the sums since the start, and estimated quantiles in seconds.

        ``asked`` and ``served`` count choices only; ``requests`` counts pinned clients' requests, too.
        """
        asked, served = self.asked(), self.served()
        roles = self.grouped(lambda kind: kind.role)
        versions = self.grouped(lambda kind: (kind.version, kind.role))
        return {
            "app": self.app,
            "requests": sum(tally.requests for _, tally in self.tallies()),
            "roles": {
                role: {"asked": asked.get(role, 0), "served": served[role], **_summary(roles.get(role, Tally()))}
                for role in ROLES
            },
            "versions": [
                {"version": version, "role": role, **_summary(tally)}
                for (version, role), tally in versions.items()
                if version
            ],
            "reasons": {reason: tally.requests for reason, tally in self.grouped(lambda kind: kind.reason).items()},
            **self._events(),
        }

    def as_dict(self) -> dict[str, Any]:
        """All that was counted, unrounded and fit for JSON: what `merge` in another process takes."""
        return {
            "app": self.app,
            "bounds": list(BOUNDS),
            "tallies": [attrs.asdict(kind) | attrs.asdict(tally) for kind, tally in self.tallies()],
            **self._events(),
        }

    def merge(self, counted: Mapping[str, Any]) -> None:
        """
        Add what another process counted, as its `as_dict` gave it.

        :raises ValueError: it counts another app, or in other buckets, so the sum would mean nothing.
        """
        if (counted["app"], tuple(counted["bounds"])) != (self.app, BOUNDS):
            raise ValueError(
                f"counts of {counted['app']!r} in {len(counted['bounds'])} buckets do not add up with ours"
            )
        for row in counted["tallies"]:
            key = tuple(row[field.name] for field in attrs.fields(Kind))
            tally = Tally(**{field.name: row[field.name] for field in attrs.fields(Tally)})
            (self._tallies.get(key) or self._new_tally(*key)).add(tally)
        for reason, number in counted["retries"].items():
            self.retries[reason] = self.retries.get(reason, 0) + number
        for limit, number in counted["limits"].items():
            self.limits[limit] = self.limits.get(limit, 0) + number
        for instance, number in counted["connect_failures"].items():
            self._failed(instance, number)
        for result, number in counted["probes"].items():
            self.probes[result] = self.probes.get(result, 0) + number
        for role, how, number in counted["ejections"]:
            self.ejections[role, how] = self.ejections.get((role, how), 0) + number
        for version, role, how, number in counted["attempts_failed"]:
            self._attempts((version, role, how), number)
        self.retries_refused += counted["retries_refused"]
        self.streams_ended += counted["streams_ended"]
        self.handshakes += counted["handshakes"]
        self.failed_handshakes += counted["failed_handshakes"]
        self.clients_accepted += counted["clients_accepted"]
        self.clients_open += counted["clients_open"]
        self.upstream_opened += counted["upstream_opened"]
        self.upstream_reused += counted["upstream_reused"]
        self.upstream_idle += counted["upstream_idle"]

    def _events(self) -> dict[str, Any]:
        return {
            "retries": dict(self.retries),
            "retries_refused": self.retries_refused,
            "streams_ended": self.streams_ended,
            "handshakes": self.handshakes,
            "failed_handshakes": self.failed_handshakes,
            "probes": dict(self.probes),
            "ejections": [[*kind, number] for kind, number in self.ejections.items()],
            "attempts_failed": [[*kind, number] for kind, number in self.attempts_failed.items()],
            "limits": dict(self.limits),
            "connect_failures": dict(self.connect_failures),
            "clients_accepted": self.clients_accepted,
            "clients_open": self.clients_open,
            "upstream_opened": self.upstream_opened,
            "upstream_reused": self.upstream_reused,
            "upstream_idle": self.upstream_idle,
        }

    def _choices(self, role_of: Callable[[Kind], Any], roles: tuple[str, ...]) -> dict[str, int]:
        numbers = dict.fromkeys(roles, 0)
        for kind, tally in self.tallies():
            if kind.asked is not None:
                numbers[role_of(kind)] += tally.requests
        return numbers

    # Bounds

    def _new_tally(self, version: str | None, role: str, reason: str, asked: str | None) -> Tally:
        if version and version not in self._versions:
            self._make_room()
            self._versions[version] = None
        tally = self._tallies[version, role, reason, asked] = Tally()
        return tally

    def _make_room(self) -> None:
        for version in list(self._versions):
            if len(self._versions) < MOST_VERSIONS:
                return
            if version not in self._in_play:
                self._let_go(version)

    def _let_go(self, version: str) -> None:
        # What it counted is kept under no name, so that the sums by role never fall.
        del self._versions[version]
        for key in [key for key in self._tallies if key[0] == version]:
            self._tallies.setdefault((None, *key[1:]), Tally()).add(self._tallies.pop(key))

    def _attempts(self, kind: tuple[str, str, str], number: int) -> None:
        self.attempts_failed[kind] = self.attempts_failed.pop(kind, 0) + number
        if len(self.attempts_failed) > MOST_INSTANCES:
            del self.attempts_failed[next(iter(self.attempts_failed))]

    def _failed(self, instance: str, number: int) -> None:
        self.connect_failures[instance] = self.connect_failures.pop(instance, 0) + number
        if len(self.connect_failures) > MOST_INSTANCES:
            del self.connect_failures[next(iter(self.connect_failures))]


def _summary(tally: Tally) -> dict[str, Any]:
    return {
        "requests": tally.requests,
        "codes": tally.codes(),
        "bytes_in": tally.bytes_in,
        "bytes_out": tally.bytes_out,
        **{name: tally.quantile(share) for name, share in QUANTILES.items()},
    }
