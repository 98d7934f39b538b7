"""observe.report: the state of the router, for the status page, the probes and the metrics. Reads, never changes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import rolling_router
from rolling_router.observe.figures import Figures
from rolling_router.observe.metrics import Moment, RouterCollector, build, expose
from rolling_router.rollout.model import Role, Snapshot, Version
from rolling_router.rollout.state import Source, State


class Report:
    """
    :param state: what is known of the store now.    :param snapshot: what is in force.
    :param now: wall-clock seconds.
    """

    def __init__(self, state: Callable[[], State], snapshot: Callable[[], Snapshot], now: Callable[[], float]) -> None:
        self._state = state
        self._snapshot = snapshot
        self.now = now
        self._build = build()

    def unready(self, figures: Figures) -> str | None:
        """Why no traffic should be sent here; ``None`` when it may be."""
        if figures.is_draining:
            return "The router is draining."
        versions = self._versions()
        if not any(versions.values()):
            return "The application is not set up: no version of it is known."
        if not any(version and version.instances for version in versions.values()):
            return "No version has an instance."
        return None

    def status(self, figures: Figures) -> dict[str, Any]:
        """The JSON of ``/api/v1/status``."""
        state, snapshot = self._state(), self._snapshot()
        versions = {role.word: _version(version, figures) for role, version in self._versions().items()}
        return {
            "app": snapshot.app,
            "router": {"version": rolling_router.__version__, "draining": figures.is_draining},
            "store": {
                "description": state.store,
                "source": state.source.value if state.source else None,
                "age_seconds": state.age(self.now()),
                "changed_at": state.changed_at,
                "revision": state.revision,
                "trouble": state.trouble,
            },
            "snapshot": {
                **versions,
                "blend": snapshot.blend,
                "stickiness": snapshot.stickiness,
                "revision": figures.revision,
                "problems": [{"key": one.key, "value": one.value, "text": one.text} for one in snapshot.problems],
            },
            "leaving": [
                {"version": one.version, "instance": one.instance, "in_flight": one.in_flight}
                for one in figures.leaving
            ],
            "health": {"problems": self._ailments(figures)},
            "counts": figures.counts.totals(),
        }

    def _ailments(self, figures: Figures) -> list[dict[str, str]]:
        """The instances in play that get nothing for now, the candidate's first: they are news."""
        return [
            {
                "role": role.word,
                "version": version.id,
                "instance": name,
                "state": figures.ejected[name].state,
                "text": figures.ejected[name].text,
            }
            for role in (Role.CANDIDATE, Role.STABLE)
            if (version := self._snapshot().version(role)) is not None
            for name in map(str, version.instances)
            if name in figures.ejected
        ]

    def metrics(self, figures: Figures) -> bytes:
        """The text that Prometheus scrapes."""
        return expose(RouterCollector(figures.counts, lambda: self._moment(figures), self._build))

    def _moment(self, figures: Figures) -> Moment:
        state = self._state()
        in_flight, usable = {}, {}
        for role, version in self._versions().items():
            if version is None:
                continue
            names = [str(one) for one in version.instances]
            usable[version.id, role.word] = sum(name not in figures.ejected for name in names)
            for name in names:
                in_flight[version.id, role.word, name] = figures.in_flight.get(name, 0)
        return Moment(
            blend=self._snapshot().blend,
            snapshot_age=state.age(self.now()),
            is_store_up=state.source is Source.STORE and state.trouble is None,
            in_flight=in_flight,
            usable=usable,
            leaving={(one.version, one.instance): one.in_flight for one in figures.leaving},
            queued=figures.queued,
            log_lines_dropped=figures.lines_dropped,
            certificates=figures.certificates,
        )

    def _versions(self) -> Mapping[Role, Version | None]:
        snapshot = self._snapshot()
        return {role: snapshot.version(role) for role in Role}


def _version(version: Version | None, figures: Figures) -> dict[str, Any] | None:
    if version is None:
        return None
    return {
        "version": version.id,
        "port": version.port,
        "instances": [
            {"address": name, "in_flight": figures.in_flight.get(name, 0), "usable": name not in figures.ejected}
            for name in map(str, version.instances)
        ],
    }
