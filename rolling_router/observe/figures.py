"""observe.figures: what one process, or several together, can say of their traffic at one moment. Read by `report`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import attrs

from rolling_router.observe.counts import Counts


@attrs.frozen
class Ailment:
    """
    Why an instance gets nothing for now.

    :ivar state: ``unproven``, ``down`` (both by probes) or ``ejected`` (by traffic).    :ivar text: for people.
    """

    state: str
    text: str


@attrs.frozen
class Leaving:
    """What is in flight on an instance that is in play no more."""

    version: str
    instance: str
    in_flight: int


@attrs.frozen
class Figures:
    """
    :ivar in_flight: instance -> requests outstanding on it.
    :ivar ejected: instances that get nothing for now -> how that came, and why, in words.
    :ivar is_draining: no request is taken after those in hand.    :ivar lines_dropped: lost lines of the access log.
    :ivar leaving: instances that are in play no more, with requests in flight.
    :ivar queued: requests that wait for an instance with room, by version.
    :ivar revision: of the settings that are in force; ``None`` before the first ones, and while processes differ.
    :ivar certificates: when those shown to clients end, in seconds since 1970, by name.
    :ivar silent: processes that did not answer in time: what they counted is missing.
    """

    counts: Counts
    in_flight: Mapping[str, int]
    ejected: Mapping[str, Ailment]
    is_draining: bool
    lines_dropped: int
    revision: str | None = None
    leaving: Sequence[Leaving] = ()
    queued: Mapping[str, int] = attrs.field(factory=dict)
    silent: int = 0
    certificates: Mapping[str, float] = attrs.field(factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """Fit for JSON: what `merged` in another process takes."""
        return {
            "counts": self.counts.as_dict(),
            "in_flight": dict(self.in_flight),
            "ejected": {instance: attrs.asdict(why) for instance, why in self.ejected.items()},
            "is_draining": self.is_draining,
            "lines_dropped": self.lines_dropped,
            "revision": self.revision,
            "queued": dict(self.queued),
            "leaving": [attrs.asdict(one) for one in self.leaving],
            "certificates": dict(self.certificates),
        }

    @classmethod
    def merged(cls, app: str, told: Iterable[Mapping[str, Any]], is_draining: bool) -> Figures:
        """The figures of several processes as one. An instance that one of them left alone counts as ejected."""
        counts, in_flight, ejected, dropped = Counts(app), dict[str, int](), dict[str, Ailment](), 0
        revisions = set()
        told = list(told)
        leaving, queued = dict[tuple[str, str], int](), dict[str, int]()
        for one in told:
            counts.merge(one["counts"])
            for instance, number in one["in_flight"].items():
                in_flight[instance] = in_flight.get(instance, 0) + number
            ejected.update({instance: Ailment(**why) for instance, why in one["ejected"].items()})
            dropped += one["lines_dropped"]
            revisions.add(one["revision"])
            for version, number in one["queued"].items():
                queued[version] = queued.get(version, 0) + number
            for left in one["leaving"]:
                key = left["version"], left["instance"]
                leaving[key] = leaving.get(key, 0) + left["in_flight"]
        revision = revisions.pop() if len(revisions) == 1 else None
        left = [Leaving(*key, number) for key, number in leaving.items()]
        ends = earliest(one["certificates"] for one in told)
        return cls(counts, in_flight, ejected, is_draining, dropped, revision, left, queued, certificates=ends)


def earliest(expiries: Iterable[Mapping[str, float]]) -> dict[str, float]:
    """Of each name the first end: what one is warned of must be the worst of it."""
    found: dict[str, float] = {}
    for one in expiries:
        for name, end in one.items():
            found[name] = min(end, found.get(name, end))
    return found
