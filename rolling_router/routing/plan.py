"""routing.plan: a snapshot made ready for placing. Made once per change by `routing.router`; pure."""

from __future__ import annotations

import attrs

from rolling_router.interfaces import IStrategy, Split
from rolling_router.rollout.model import Instance, Role, Snapshot, Version
from rolling_router.routing.fleet import Fleet, Load

# By names of this module: to look a member up in its class costs as much as a call, up to Python 3.11.
_STABLE, _CANDIDATE = Role


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
        return self.stable if role is _STABLE else self.candidate

    def whose(self, load: Load) -> tuple[Role, Version] | None:
        """The version that an instance belongs to; the candidate, should both name it."""
        for role in (_CANDIDATE, _STABLE):
            fleet = self.fleet(role)
            if fleet is not None and load in fleet.loads:
                return role, fleet.version
        return None

    def gives_traffic(self, role: Role) -> bool:
        """Whether the blend leaves this role anything: the candidate at 0 and stable at 100 get nothing."""
        if role is _CANDIDATE:
            return self.split.blend > 0
        return self.split.blend < 100 or self.candidate is None

    def role_of(self, version: Version) -> Role | None:
        """The role that a version of this id plays now."""
        if self.stable is not None and self.stable.version.id == version.id:
            return _STABLE
        if self.candidate is not None and self.candidate.version.id == version.id:
            return _CANDIDATE
        return None
