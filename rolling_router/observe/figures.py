"""observe.figures: what one process, or several together, can say of their traffic at one moment. Read by `report`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import attrs

from rolling_router.observe.counts import Counts


@attrs.frozen
class Figures:
    """
    :ivar in_flight: instance -> requests outstanding on it.    :ivar ejected: instances that are left alone for now.
    :ivar is_draining: no request is taken after those in hand.    :ivar lines_dropped: lost lines of the access log.
    """

    counts: Counts
    in_flight: Mapping[str, int]
    ejected: frozenset[str]
    is_draining: bool
    lines_dropped: int

    def as_dict(self) -> dict[str, Any]:
        """Fit for JSON: what `merged` in another process takes."""
        return {
            "counts": self.counts.as_dict(),
            "in_flight": dict(self.in_flight),
            "ejected": sorted(self.ejected),
            "is_draining": self.is_draining,
            "lines_dropped": self.lines_dropped,
        }

    @classmethod
    def merged(cls, app: str, told: Iterable[Mapping[str, Any]], is_draining: bool) -> Figures:
        """The figures of several processes as one. An instance that one of them left alone counts as ejected."""
        counts, in_flight, ejected, dropped = Counts(app), dict[str, int](), set[str](), 0
        for one in told:
            counts.merge(one["counts"])
            for instance, number in one["in_flight"].items():
                in_flight[instance] = in_flight.get(instance, 0) + number
            ejected.update(one["ejected"])
            dropped += one["lines_dropped"]
        return cls(counts, in_flight, frozenset(ejected), is_draining, dropped)
