"""routing.router: the snapshot in force and what is carried between choices. No I/O; asked by `proxy` per request."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from twisted.logger import Logger

from rolling_router.errors import RouterError
from rolling_router.interfaces import Client, IStrategy, Pin
from rolling_router.rollout.model import Instance, Role, Snapshot
from rolling_router.routing.blend import turn
from rolling_router.routing.fleet import Load
from rolling_router.routing.place import Placement, Reason, place_pinned, place_role
from rolling_router.routing.plan import Plan

_log = Logger()

# By names of this module: to look a member up in its class costs as much as a call, up to Python 3.11.
_STABLE, _CANDIDATE = Role
_BLEND, _NEW, _PIN_ENDED, _ABSOLUTE = Reason.BLEND, Reason.NEW, Reason.PIN_ENDED, Reason.ABSOLUTE


class NoInstance(RouterError):
    """No instance may serve this request."""

    def __init__(self, reason: Reason) -> None:
        super().__init__(reason.value)
        self.reason = reason


class Router:
    """
    Decides, for each request, who answers it.

    :param strategies: by the names that `Snapshot.stickiness` may have.
    """

    def __init__(self, app: str, strategies: Mapping[str, IStrategy]) -> None:
        self._strategies = strategies
        self._loads: dict[Instance, Load] = {}
        self._carried = 0
        self.plan = Plan.of(Snapshot(app), None, self._loads)
        self.private_cookies = frozenset(name for one in strategies.values() for name in one.private_cookies)

    @property
    def loads(self) -> Collection[Load]:
        """The records of all instances in the plan in force."""
        return self._loads.values()

    def follow(self, snapshot: Snapshot) -> list[Load]:
        """
        Put a snapshot in force, for the requests that come from now on.

        :returns: records of the instances that are in play no more; what is in flight on them ends there.
        """
        strategy = None if snapshot.stickiness is None else self._strategies[snapshot.stickiness]
        self.plan = Plan.of(snapshot, strategy, self._loads)
        in_play = {one for role in Role if (version := snapshot.version(role)) for one in version.instances}
        return [self._loads.pop(one) for one in set(self._loads) - in_play]

    def place(self, client: Client, now: float) -> Placement:
        """
        :param now: seconds, of the clock by which instances are ejected.
        :raises NoInstance: nobody may serve it.
        """
        plan = self.plan
        pin, reason = None, _BLEND
        if plan.strategy is not None:
            reason = _NEW
            pin = self._recall(plan, client)
            if pin is not None:
                placement = place_pinned(plan, pin, now)
                if placement is not None:
                    return placement
                reason = _PIN_ENDED
        role, reason = self._choose(plan, reason)
        return place_role(plan, role, reason, pin, now) or self._found(plan, None)

    def place_again(self, placement: Placement, tried: Collection[Load], now: float) -> Placement:
        """
        Find another instance for a request whose instance failed before anything was sent to it.

        :raises NoInstance: none is left.
        """
        left = self._left(placement.plan)
        again = place_role(placement.plan, placement.role, placement.reason, placement.pin, now, (*tried, *left))
        if again is None and left:  # a try beats a certain error
            again = place_role(placement.plan, placement.role, placement.reason, placement.pin, now, tried)
        again = self._found(placement.plan, again)
        again.asked = placement.asked
        return again

    def tell(self, placement: Placement, client: Client) -> Sequence[tuple[bytes, bytes]]:
        """What the client is to be told, so that it comes back to where it was served; often nothing."""
        if not placement.is_news:
            return ()
        plan = placement.plan
        assert plan.strategy is not None
        try:
            return plan.strategy.remember(client, plan.split, placement.fleet.pin_to(placement.load))
        except Exception:
            _log.failure("strategy {name} failed to remember a client", name=plan.snapshot.stickiness)
            return ()

    def _recall(self, plan: Plan, client: Client) -> Pin | None:
        assert plan.strategy is not None
        try:
            return plan.strategy.recall(client, plan.split)
        except Exception:
            _log.failure("strategy {name} failed to recall a client", name=plan.snapshot.stickiness)
            return None

    def _choose(self, plan: Plan, reason: Reason) -> tuple[Role, Reason]:
        if plan.candidate is None or plan.split.blend == 0:
            return _STABLE, _ABSOLUTE
        if plan.stable is None or plan.split.blend == 100:
            return _CANDIDATE, _ABSOLUTE
        role, self._carried = turn(plan.split.blend, self._carried)
        return role, reason

    def _left(self, plan: Plan) -> Sequence[Load]:
        """Instances of a plan that are in play no more, and about to stop."""
        if plan is self.plan:
            return ()
        loads = [load for fleet in (plan.stable, plan.candidate) if fleet is not None for load in fleet.loads]
        return [load for load in loads if self._loads.get(load.instance) is not load]

    def _found(self, plan: Plan, placement: Placement | None) -> Placement:
        if placement is None:
            unset = plan.stable is None and plan.candidate is None
            raise NoInstance(Reason.NOT_SET_UP if unset else Reason.NO_INSTANCE)
        return placement
