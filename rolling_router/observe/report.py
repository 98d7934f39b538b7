"""observe.report: the state of this process, for the status page, the probes and the metrics. Reads, never changes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import rolling_router
from rolling_router.observe.counts import Counts
from rolling_router.observe.metrics import Moment, RouterCollector, build, expose
from rolling_router.observe.score import Score
from rolling_router.rollout.model import Role, Snapshot, Version
from rolling_router.rollout.state import State
from rolling_router.routing.fleet import Fleet
from rolling_router.routing.router import Router


class Report:
    """
    :param state: what is known of the store now.    :param now: wall-clock seconds.
    :param coarse: the clock by which instances are ejected.
    """

    def __init__(
        self,
        router: Router,
        counts: Counts,
        score: Score,
        gate: Any,
        state: Callable[[], State],
        now: Callable[[], float],
        coarse: Callable[[], float],
        lines_dropped: Callable[[], int],
    ) -> None:
        self._router = router
        self._counts = counts
        self._score = score
        self._gate = gate
        self._state = state
        self._now = now
        self._coarse = coarse
        self._lines_dropped = lines_dropped
        self._build = build()

    def unready(self) -> str | None:
        """Why no traffic should be sent here; ``None`` when it may be."""
        if self._gate.is_draining:
            return "The router is draining."
        plan = self._router.plan
        if plan.stable is None and plan.candidate is None:
            return "The application is not set up: no version of it is known."
        if not any(fleet and fleet.loads for fleet in self._fleets().values()):
            return "No version has an instance."
        return None

    def status(self) -> dict[str, Any]:
        """The JSON of ``/api/v1/status``."""
        state, snapshot = self._state(), self._router.plan.snapshot
        self._count_connections()
        return {
            "app": snapshot.app,
            "router": {"version": rolling_router.__version__, "draining": self._gate.is_draining},
            "store": {
                "description": state.store,
                "source": state.source.value if state.source else None,
                "age_seconds": state.age(self._now()),
                "changed_at": state.changed_at,
                "revision": state.revision,
                "trouble": state.trouble,
            },
            "snapshot": self._snapshot(snapshot),
            "counts": self._counts.totals(),
        }

    def metrics(self) -> bytes:
        """The text that Prometheus scrapes."""
        self._count_connections()
        return expose(RouterCollector(self._counts, self._moment, self._build))

    def _snapshot(self, snapshot: Snapshot) -> dict[str, Any]:
        return {
            **{role.word: self._version(snapshot.version(role), fleet) for role, fleet in self._fleets().items()},
            "blend": snapshot.blend,
            "stickiness": snapshot.stickiness,
            "problems": [
                {"key": one.key, "value": one.value, "text": one.text} for one in snapshot.problems
            ],
        }

    def _version(self, version: Version | None, fleet: Fleet | None) -> dict[str, Any] | None:
        if version is None or fleet is None:
            return None
        now = self._coarse()
        return {
            "version": version.id,
            "port": version.port,
            "instances": [
                {"address": str(load.instance), "in_flight": load.outstanding, "usable": load.out_until <= now}
                for load in fleet.loads
            ],
        }

    def _moment(self) -> Moment:
        state, now = self._state(), self._coarse()
        in_flight, usable = {}, {}
        for role, fleet in self._fleets().items():
            if fleet is None:
                continue
            usable[fleet.version.id, role.word] = sum(load.out_until <= now for load in fleet.loads)
            for load in fleet.loads:
                in_flight[fleet.version.id, role.word, str(load.instance)] = load.outstanding
        return Moment(
            blend=self._router.plan.split.blend,
            snapshot_age=state.age(self._now()),
            is_store_up=state.read_at is not None and state.trouble is None,
            in_flight=in_flight,
            usable=usable,
            log_lines_dropped=self._lines_dropped(),
        )

    def _fleets(self) -> dict[Role, Fleet | None]:
        return {role: self._router.plan.fleet(role) for role in Role}

    def _count_connections(self) -> None:
        counts = self._counts
        counts.clients_accepted, counts.clients_open = self._gate.accepted, self._gate.open
        counts.upstream_opened, counts.upstream_reused = self._score.opened, self._score.reused
