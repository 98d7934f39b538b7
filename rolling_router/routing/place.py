"""routing.place: version, then instance, then the fallbacks. Pure; called by `routing.router` for each request."""

from __future__ import annotations

import enum
from collections.abc import Collection

import attrs

from rolling_router.interfaces import Pin
from rolling_router.rollout.model import Role
from rolling_router.routing.fleet import Fleet, Load
from rolling_router.routing.plan import Plan


class Reason(enum.Enum):
    """Why a decision fell as it did; the word that the access log and the metrics use."""

    BLEND = "blend"  # stickiness is off: the blend decided for this one request
    NEW = "new"  # stickiness is on, and the client had no pin: the blend decided
    PINNED = "pinned"  # the strategy named the version, and it could serve
    PIN_ENDED = "pin-ended"  # the strategy named a version that has no role, no traffic or no instance: placed anew
    ABSOLUTE = "absolute"  # there was nothing to decide: blend 0 or 100, or one version only
    CANDIDATE_DOWN = "candidate-down"  # meant for the candidate, which cannot serve
    STABLE_DOWN = "stable-down"  # meant for stable, which cannot serve
    NOT_SET_UP = "not-set-up"  # neither version is known
    NO_INSTANCE = "no-instance"  # no instance that may serve this request can
    FULL = "full"  # every instance of its version has as many requests as it may
    REFUSED = "refused"  # it was no request that could be placed: malformed, too large, too slow

    def __init__(self, word: str) -> None:
        self.word = word  # what `value` is, as a plain attribute: Enum computes that one anew each time


# By names of this module: to look a member up in its class costs as much as a call, up to Python 3.11.
_STABLE, _CANDIDATE = Role
_PINNED = Reason.PINNED


@attrs.define(eq=False)
class Placement:
    """
    Where one request goes, and why.

    :ivar asked: the role that the blend gave it before any fallback; ``None`` for a pinned client.
    :ivar pin: what the strategy had recalled, if anything.
    """

    plan: Plan
    role: Role
    fleet: Fleet
    load: Load
    reason: Reason
    asked: Role | None
    pin: Pin | None

    @property
    def is_news(self) -> bool:
        """Whether the client's strategy has something to tell it: it was served elsewhere than it was pinned."""
        if self.plan.strategy is None:
            return False
        pin, instance = self.pin, self.load.instance
        if pin is None or pin.version.id != self.fleet.version.id:
            return True
        return pin.instance is not instance and pin.instance != instance


def place_pinned(plan: Plan, pin: Pin, now: float) -> Placement | None:
    """Follow a pin, unless it has ended: its version has no role, no traffic or no usable instance."""
    role = plan.role_of(pin.version)
    if role is None or not plan.gives_traffic(role):
        return None
    fleet = plan.fleet(role)
    assert fleet is not None
    load = fleet.find(pin.instance, now) or fleet.pick(now)
    return None if load is None else Placement(plan, role, fleet, load, _PINNED, None, pin)


def place_role(
    plan: Plan, role: Role, reason: Reason, pin: Pin | None, now: float, tried: Collection[Load] = ()
) -> Placement | None:
    """
    Find an instance for a request that is meant for `role`; ``None`` when no instance may serve it.

    The candidate's share goes to stable when the candidate cannot serve; stable's goes to the candidate only while
    the blend lets somebody see it. Ejected instances come last: a try beats a certain error.
    """
    fleet = plan.fleet(role)
    if fleet is not None:
        load = fleet.pick(now, tried)
        if load is not None:
            return Placement(plan, role, fleet, load, reason, role, pin)
    roles = (role, role.other) if role is _CANDIDATE or plan.split.blend > 0 else (role,)
    for use_ejected in (False, True):
        for one in roles:
            fleet = plan.fleet(one)
            if fleet is None:
                continue
            load = fleet.pick_ejected(tried) if use_ejected else fleet.pick(now, tried)
            if load is not None:
                return Placement(plan, one, fleet, load, reason if one is role else _DOWN[role], role, pin)
    return None


_DOWN = {_CANDIDATE: Reason.CANDIDATE_DOWN, _STABLE: Reason.STABLE_DOWN}
