"""routing.fleet: what is known of each instance while the process runs, and the choice among several. No I/O."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from rolling_router.rollout.model import Instance, Version


class Load:
    """
    One instance's running record. One per instance and process; it outlives snapshots.

    :ivar outstanding: requests in flight on it.    :ivar out_until: ejected until this moment, in the seconds of the
        clock that `Fleet.pick` is handed.    :ivar failures: attempts that failed in a row; `rolling_router.health`
        keeps both.
    """

    __slots__ = ("failures", "instance", "out_until", "outstanding")

    def __init__(self, instance: Instance) -> None:
        self.instance = instance
        self.outstanding = 0
        self.out_until = 0.0
        self.failures = 0

    def __repr__(self) -> str:
        return f"<Load {self.instance}: {self.outstanding} outstanding, out until {self.out_until}>"


class Fleet:
    """The instances of one version, in the store's order, and whose turn it is among equals."""

    __slots__ = ("_by_instance", "_turn", "loads", "version")

    def __init__(self, version: Version, loads: Sequence[Load]) -> None:
        self.version = version
        self.loads = tuple(loads)
        self._by_instance = {load.instance: load for load in loads}
        self._turn = 0

    def pick(self, now: float, tried: Collection[Load] = ()) -> Load | None:
        """
        The usable instance with the fewest requests outstanding, ties in turn; ``None`` if there is none.

        :param now: seconds.    :param tried: instances that are out of the question for this request.
        """
        loads, count = self.loads, len(self.loads)
        best, best_at = None, 0
        for at in range(self._turn, self._turn + count):
            load = loads[at % count]
            if load.out_until > now or load in tried:
                continue
            if best is None or load.outstanding < best.outstanding:
                best, best_at = load, at
        if best is not None and count > 1:
            self._turn = (best_at + 1) % count
        return best

    def pick_ejected(self, tried: Collection[Load] = ()) -> Load | None:
        """The instance that is due back first: when nobody is usable, trying it beats an error."""
        return min((load for load in self.loads if load not in tried), key=lambda load: load.out_until, default=None)

    def find(self, instance: Instance | None, now: float) -> Load | None:
        """This very instance, if it belongs to the version and is usable."""
        load = self._by_instance.get(instance) if instance is not None else None
        return load if load is not None and load.out_until <= now else None
