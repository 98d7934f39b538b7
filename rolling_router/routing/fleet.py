"""routing.fleet: what is known of each instance while the process runs, and the choice among several. No I/O."""

from __future__ import annotations

import enum
from collections.abc import Collection, Sequence

from rolling_router.interfaces import Pin
from rolling_router.rollout.model import Instance, Version

LEAST_SHARE = 0.1
"""Of its ordinary share, what an instance gets in the first moment after it is back."""


class Standing(enum.Enum):
    """What the health probes make of an instance."""

    TRUSTED = "trusted"  # it passed, or nobody asks
    UNPROVEN = "unproven"  # it is new, and has not passed once
    DOWN = "down"  # it failed too often in a row


class Load:
    """
    One instance's running record. One per instance and process; it outlives snapshots.

    Times are of the clock that `Fleet.pick` is handed. All but `outstanding` is kept by `rolling_router.health`.

    :ivar outstanding: requests in flight on it.
    :ivar out_until: it gets nothing until this moment; for ever, while the probes do not trust it.
    :ivar standing: what the probes make of it.    :ivar passes: probes passed in a row, `fails` failed likewise.
    :ivar ejected_until: by what traffic told.    :ivar ejections: in a row: how much longer the next one is.
    :ivar failures: what went wrong in a row since the last good answer; not 0 while `ejections` is not.
    :ivar ramp_from: when it came back from an ejection, or will.    :ivar ramp_until: when its share is whole again.
    :ivar credit: turns that it has saved up while it ramps.    :ivar credited: the fleet's picks when it last did.
    :ivar why: why it is out, for people.    :ivar is_missed: it was ejected, and has given no good sign since.
    """

    __slots__ = (
        "credit",
        "credited",
        "ejected_until",
        "ejections",
        "fails",
        "failures",
        "instance",
        "is_missed",
        "out_until",
        "outstanding",
        "passes",
        "ramp_from",
        "ramp_until",
        "standing",
        "why",
    )

    def __init__(self, instance: Instance) -> None:
        self.instance = instance
        self.outstanding = 0
        self.out_until = 0.0
        self.standing = Standing.TRUSTED
        self.passes = 0
        self.fails = 0
        self.ejected_until = 0.0
        self.ejections = 0
        self.failures = 0
        self.ramp_from = 0.0
        self.ramp_until = 0.0
        self.credit = 0.0
        self.credited = 0
        self.why = ""
        self.is_missed = False

    def __repr__(self) -> str:
        return f"<Load {self.instance}: {self.outstanding} outstanding, out until {self.out_until}>"


class Fleet:
    """The instances of one version, in the store's order, and whose turn it is among equals."""

    __slots__ = ("_by_instance", "_picks", "_pins", "_turn", "loads", "version")

    def __init__(self, version: Version, loads: Sequence[Load]) -> None:
        self.version = version
        self.loads = tuple(loads)
        self._by_instance = {load.instance: load for load in loads}
        self._turn = 0
        self._picks = 0
        self._pins = {load: Pin(version, load.instance) for load in loads}

    def pick(self, now: float, tried: Collection[Load] = ()) -> Load | None:
        """
        The usable instance with the fewest requests outstanding, ties in turn; ``None`` if there is none.

        :param now: seconds.    :param tried: instances that are out of the question for this request.
        """
        loads, count = self.loads, len(self.loads)
        if count == 1:
            return loads[0] if loads[0].out_until <= now and loads[0] not in tried else None
        best, best_at = None, 0
        for at in range(self._turn, self._turn + count):
            load = loads[at % count]
            if load.out_until > now or load in tried:
                continue
            if best is None or load.outstanding < best.outstanding:
                best, best_at = load, at
        if best is not None:
            self._picks += 1
            if best.ramp_until > now and not self._takes_its_turn(best, now):
                # Its turn goes to another one of this version, so that no ramp can bend the blend.
                self._picks -= 1  # it is one and the same pick
                best = self.pick(now, (*tried, best)) or best
            else:
                self._turn = (best_at + 1) % count
        return best

    def pick_ejected(self, tried: Collection[Load] = ()) -> Load | None:
        """
        When nobody is usable, trying one beats an error: the one that is due back first.

        Those that the probes hold back are never due. They come last: unproven ones first, then by who is least busy.
        """
        left = [load for load in self.loads if load not in tried]
        return min(left, key=_least_hopeless, default=None)

    def pin_to(self, load: Load) -> Pin:
        """The pin of a client that one of these instances served."""
        return self._pins[load]

    def find(self, instance: Instance | None, now: float) -> Load | None:
        """This very instance, if it belongs to the version and is usable."""
        load = self._by_instance.get(instance) if instance is not None else None
        return load if load is not None and load.out_until <= now else None

    def _takes_its_turn(self, load: Load, now: float) -> bool:
        """Whether an instance that came back a short while ago takes this turn: it gets a growing share of its own."""
        share = max(LEAST_SHARE, (now - load.ramp_from) / (load.ramp_until - load.ramp_from))
        since = min(self._picks - load.credited, len(self.loads))
        load.credited = self._picks
        load.credit += share * max(since, 1) / len(self.loads)
        if load.credit < 1.0:
            return False
        load.credit -= 1.0
        return True


def _least_hopeless(load: Load) -> tuple[float, bool, int]:
    return load.out_until, load.standing is Standing.DOWN, load.outstanding
