"""observe.score: what the engine tells when something happened -> counts and the access log. Called by `proxy`."""

from __future__ import annotations

from time import perf_counter
from typing import Any

from rolling_router.observe.access_log import AccessLog, Entry
from rolling_router.observe.counts import Counts
from rolling_router.rollout.model import Role
from rolling_router.routing.fleet import Load
from rolling_router.routing.place import Placement

NOBODY = ("", "none")
"""Version and role of what the router answered by itself."""


class Score:
    """:ivar opened: connections made to instances.    :ivar reused: requests that went over a kept one."""

    def __init__(self, counts: Counts, log: AccessLog | None) -> None:
        self._counts = counts
        self._log = log
        self.opened = 0
        self.reused = 0

    def ended(self, exchange: Any) -> None:
        """
        :param exchange: a `proxy.exchange.Exchange` that is over.
        """
        placement = exchange.placement
        seconds = perf_counter() - exchange.started
        asked = None
        if placement is not None and placement.asked is not None:
            asked = placement.asked.word
        if placement is None or exchange.reason is not None:  # no instance was even reached
            version, role = NOBODY
            reason = exchange.reason.word
        else:
            version, role = placement.fleet.version.id, placement.role.word
            reason = placement.reason.word
        self._counts.finished(
            version,
            role,
            reason,
            asked,
            exchange.status,
            exchange.bytes_in,
            exchange.bytes_out,
            seconds,
            exchange.is_cut,
        )
        if self._log is not None:
            self._log.write(_entry(exchange, version, role, reason, asked, seconds))

    def limited(self, limit: str) -> None:
        self._counts.limited(limit)

    def unreachable(self, load: Load) -> None:
        self._counts.connect_failed(str(load.instance))

    def failed(self, placement: Placement, how: Any) -> None:
        self._counts.attempt_failed(placement.fleet.version.id, placement.role.word, how.value)

    def retried(self, why: str) -> None:
        self._counts.retried(why)

    def ejected(self, role: Role, how: Any) -> None:
        self._counts.ejected(role.word, how.value)

    def probed(self, passed: bool) -> None:
        self._counts.probed(passed)


def _entry(exchange: Any, version: str, role: str, reason: str, asked: str | None, seconds: float) -> Entry:
    request, placement = exchange.request, exchange.placement
    named = {name.lower(): value for name, value in request.fields}
    return Entry(
        request_id=request.id,
        client=request.address,
        method=request.method,
        target=request.target,
        protocol=request.protocol or b"HTTP/1.%d" % request.minor,
        host=request.host,
        status=exchange.status,
        bytes_in=exchange.bytes_in,
        bytes_out=exchange.bytes_out,
        version=version,
        role=role,
        instance=None if placement is None else str(placement.load.instance),
        reason=reason,
        asked=asked,
        retries=exchange.retries,
        seconds=seconds,
        upstream_seconds=exchange.answered_at - exchange.started if exchange.answered_at else None,
        user_agent=named.get(b"user-agent", b""),
        referer=named.get(b"referer", b""),
        cut=exchange.is_cut,
    )
