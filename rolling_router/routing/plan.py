"""routing.plan: a snapshot made ready for placing. Made once per change by `routing.router`; pure."""

from __future__ import annotations

import attrs

from rolling_router.interfaces import IStrategy, Split
from rolling_router.rollout.model import Instance, Role, Snapshot, Version
from rolling_router.routing.fleet import Fleet, Load


@attrs.frozen(eq=False)
class Plan:
    """
    One snapshot with its running records. Requests hold on to the plan that they were placed by.

    :ivar strategy: the strategy in force; ``None`` when stickiness is off.
    """

    snapshot: Snapshot
    split: Split
    strategy: IStrategy | None
    stable: Fleet | None
    candidate: Fleet | None

    @classmethod
    def of(cls, snapshot: Snapshot, strategy: IStrategy | None, loads: dict[Instance, Load]) -> Plan:
        """
        :param loads: the records known so far; new instances are added to it, so that a record outlives snapshots.
        """

        def fleet(version: Version | None) -> Fleet | None:
            if version is None:
                return None
            return Fleet(version, [loads.setdefault(one, Load(one)) for one in version.instances])

        split = Split(snapshot.app, snapshot.stable, snapshot.candidate, snapshot.blend)
        return cls(snapshot, split, strategy, fleet(snapshot.stable), fleet(snapshot.candidate))

    def fleet(self, role: Role) -> Fleet | None:
        return self.stable if role is Role.STABLE else self.candidate

    def gives_traffic(self, role: Role) -> bool:
        """Whether the blend leaves this role anything: the candidate at 0 and stable at 100 get nothing."""
        if role is Role.CANDIDATE:
            return self.split.blend > 0
        return self.split.blend < 100 or self.candidate is None

    def role_of(self, version: Version) -> Role | None:
        """The role that a version of this id plays now."""
        if self.stable is not None and self.stable.version.id == version.id:
            return Role.STABLE
        if self.candidate is not None and self.candidate.version.id == version.id:
            return Role.CANDIDATE
        return None
