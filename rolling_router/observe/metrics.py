"""
observe.metrics: what Prometheus sees. Called once per scrape by `admin`; the request path never comes here.

`docs/metrics.md` describes every name; a test keeps the two together.
"""

from __future__ import annotations

import platform
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib import metadata
from typing import Any

import attrs
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from rolling_router.observe.counts import BOUNDS, Counts, Kind, Tally

PREFIX = "rolling_router_"

# The text format that every Prometheus reads. `CONTENT_TYPE_LATEST` depends on the installed library, whose newer
# version number changes nothing for names as plain as ours.
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

_LE = (*map(str, BOUNDS), "+Inf")


@attrs.frozen
class Moment:
    """
    How things stand when Prometheus asks.

    :ivar blend: percent, 0..100.    :ivar snapshot_age: seconds since the store was last read well; ``None``: never.
    :ivar is_store_up: whether the last reading of the store succeeded.
    :ivar in_flight: requests by version, role and instance.    :ivar usable: usable instances by version and role.
    :ivar queued: requests that wait for an instance with room, by version.
    :ivar leaving: requests in flight on instances that are in play no more, by version and instance.
    :ivar certificates: when those shown to clients end, in seconds since 1970, by name.
    :ivar log_lines_dropped: lines of the access log that could not be written, since the start.
    """

    blend: int
    snapshot_age: float | None
    is_store_up: bool
    in_flight: Mapping[tuple[str, str, str], int] = attrs.field(factory=dict)
    usable: Mapping[tuple[str, str], int] = attrs.field(factory=dict)
    log_lines_dropped: int = 0
    queued: Mapping[str, int] = attrs.field(factory=dict)
    leaving: Mapping[tuple[str, str], int] = attrs.field(factory=dict)
    certificates: Mapping[str, float] = attrs.field(factory=dict)


def build() -> dict[str, str]:
    """What runs here, as labels of ``rolling_router_build_info``."""
    return {
        "version": _installed("rolling-router"),
        "python": platform.python_version(),
        "twisted": _installed("Twisted"),
    }


def _installed(distribution: str) -> str:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:  # run from a checkout
        return "unknown"


def expose(collector: Collector) -> bytes:
    """Write everything in the text format of Prometheus; `CONTENT_TYPE` is its type."""
    # The library's global registry is left to whoever embeds the router in a program of their own.
    registry = CollectorRegistry()
    registry.register(collector)
    return generate_latest(registry)


class RouterCollector(Collector):
    """Turns counts, and the state of this moment, into metric families. Cheap to make: one per scrape will do."""

    def __init__(self, counts: Counts, now: Callable[[], Moment], build: Mapping[str, str]) -> None:
        """:param now: asked once per scrape.    :param build: labels of the build; see the function of that name."""
        self._counts = counts
        self._now = now
        self._build = build

    def collect(self) -> Iterator[Metric]:
        yield from self._traffic()
        yield from self._split()
        yield from self._connections()
        yield from self._state(self._now())

    def _traffic(self) -> Iterator[Metric]:
        names = ["app", "version", "role"]
        requests = _counter("requests", "Requests that are over.", [*names, "reason", "code"])
        for (version, role, reason), tally in self._known(lambda kind: (kind.version, kind.role, kind.reason)):
            for code, number in tally.codes().items():
                requests.add_metric(self._labels(version, role, reason, code), number)
        received = _counter("request_body_bytes", "Bytes of request bodies read from clients.", names)
        sent = _counter("response_body_bytes", "Bytes of response bodies sent to clients.", names)
        durations = HistogramMetricFamily(
            PREFIX + "request_duration_seconds",
            "From a request's first byte to its answer's last; tunnels are left out.",
            labels=names,
        )
        for (version, role), tally in self._known(lambda kind: (kind.version, kind.role)):
            received.add_metric(self._labels(version, role), tally.bytes_in)
            sent.add_metric(self._labels(version, role), tally.bytes_out)
            durations.add_metric(self._labels(version, role), _cumulative(tally.buckets), tally.seconds)
        yield from (requests, received, sent, durations)

    def _known(self, key_of: Callable[[Kind], tuple[str | None, ...]]) -> Iterator[tuple[Any, Tally]]:
        # Versions that were let go are left out: one series that swallows others would show as a burst in rate().
        for key, tally in self._counts.grouped(key_of).items():
            if key[0] is not None:
                yield key, tally

    def _split(self) -> Iterator[Metric]:
        asked = _counter("split_asked", "Choices, by the role that the blend asked for.", ["app", "role"])
        served = _counter("split_served", "The same choices, by the role that served.", ["app", "role"])
        for role, number in self._counts.asked().items():
            asked.add_metric(self._labels(role), number)
        for role, number in self._counts.served().items():
            served.add_metric(self._labels(role), number)
        yield from (asked, served)

    def _connections(self) -> Iterator[Metric]:
        counts = self._counts
        retries = _counter("retries", "Requests sent once more, by what had gone wrong before.", ["app", "reason"])
        for reason, number in counts.retries.items():
            retries.add_metric(self._labels(reason), number)
        failures = _counter("connect_failures", "Connections that an instance did not take.", ["app", "instance"])
        for instance, number in counts.connect_failures.items():
            failures.add_metric(self._labels(instance), number)
        attempts = _counter(
            "failed_attempts",
            "Requests that an instance of a version did not answer as it should, whoever did then.",
            ["app", "version", "role", "reason"],
        )
        for attempt, number in counts.attempts_failed.items():
            attempts.add_metric(self._labels(*attempt), number)
        ejections = _counter("ejections", "Instances left alone for a while.", ["app", "role", "reason"])
        for ejection, number in counts.ejections.items():
            ejections.add_metric(self._labels(*ejection), number)
        probes = _counter("probes", "Health probes.", ["app", "result"])
        for result, number in counts.probes.items():
            probes.add_metric(self._labels(result), number)
        limits = _counter("limits", "How often a limit acted.", ["app", "limit"])
        for limit, number in counts.limits.items():
            limits.add_metric(self._labels(limit), number)
        yield from (retries, failures, attempts, ejections, probes, limits)
        yield self._count("tls_handshakes", "TLS handshakes of clients.", counts.handshakes)
        yield self._count("tls_handshakes_failed", "Those that came to nothing.", counts.failed_handshakes)
        yield self._count("streams_ended", "WebSockets and event streams ended to drain.", counts.streams_ended)
        yield self._count("retries_refused", "Requests not sent once more for want of budget.", counts.retries_refused)
        yield self._count("client_connections_accepted", "Connections that clients made.", counts.clients_accepted)
        yield self._gauge("client_connections", "Clients' connections open now.", counts.clients_open)
        yield self._count("upstream_connections_opened", "Connections made to instances.", counts.upstream_opened)
        yield self._count(
            "upstream_connections_reused", "Requests sent on a connection made before.", counts.upstream_reused
        )
        yield self._gauge("upstream_idle_connections", "Kept for the next request.", counts.upstream_idle)

    def _state(self, now: Moment) -> Iterator[Metric]:
        in_flight = _gauge("in_flight_requests", "Requests under way.", ["app", "version", "role", "instance"])
        for busy, number in now.in_flight.items():
            in_flight.add_metric(self._labels(*busy), number)
        usable = _gauge("usable_instances", "Instances that can serve.", ["app", "version", "role"])
        for standing, number in now.usable.items():
            usable.add_metric(self._labels(*standing), number)
        leaving = _gauge("leaving_requests", "Under way on instances that left.", ["app", "version", "instance"])
        for left, number in now.leaving.items():
            leaving.add_metric(self._labels(*left), number)
        queued = _gauge("queued_requests", "Waiting for an instance with room.", ["app", "version"])
        for version, number in now.queued.items():
            queued.add_metric(self._labels(version), number)
        expiry = _gauge("certificate_expiry_timestamp_seconds", "When a certificate ends.", ["app", "name"])
        for name, end in now.certificates.items():
            expiry.add_metric(self._labels(name), end)
        yield from (in_flight, usable, leaving, queued, expiry)
        yield self._gauge("blend_ratio", "The share that the candidate is to get, 0..1.", now.blend / 100)
        yield self._gauge("store_up", "Whether the store could be read at the last try.", int(now.is_store_up))
        if now.snapshot_age is not None:
            yield self._gauge("snapshot_age_seconds", "Since the store was last read well.", now.snapshot_age)
        yield self._count(
            "access_log_dropped_lines", "Lines that the access log could not take.", now.log_lines_dropped
        )
        info = _gauge("build_info", "What runs here; always 1.", ["app", *self._build])
        info.add_metric(self._labels(*self._build.values()), 1)
        yield info

    def _count(self, name: str, meaning: str, value: float) -> Metric:
        family = _counter(name, meaning, ["app"])
        family.add_metric(self._labels(), value)
        return family

    def _gauge(self, name: str, meaning: str, value: float) -> Metric:
        family = _gauge(name, meaning, ["app"])
        family.add_metric(self._labels(), value)
        return family

    def _labels(self, *values: str) -> list[str]:
        return [_utf8(self._counts.app), *map(_utf8, values)]


def _counter(name: str, meaning: str, labels: Sequence[str]) -> CounterMetricFamily:
    return CounterMetricFamily(PREFIX + name, meaning, labels=labels)


def _gauge(name: str, meaning: str, labels: Sequence[str]) -> GaugeMetricFamily:
    return GaugeMetricFamily(PREFIX + name, meaning, labels=labels)


def _cumulative(buckets: Sequence[int]) -> list[tuple[str, float]]:
    total = 0
    pairs: list[tuple[str, float]] = []
    for bound, number in zip(_LE, buckets, strict=True):
        total += number
        pairs.append((bound, total))
    return pairs


def _utf8(text: str) -> str:
    # A store's JSON may hold half of a surrogate pair, which cannot be written as UTF-8. All else the library escapes.
    return text.encode("utf-8", "backslashreplace").decode("utf-8")
