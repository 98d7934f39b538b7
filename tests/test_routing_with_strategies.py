"""The rules of routing with the strategies that are shipped."""

from __future__ import annotations

import pytest

from rolling_router.rollout.model import Role, Snapshot
from rolling_router.routing.place import Reason
from rolling_router.routing.router import Router
from rolling_router_plugins.cookie import CookiePlugin
from rolling_router_plugins.ip_hash import IpHashPlugin
from tests.rollouts import APP, CANDIDATE, Visitor, snapshot, version


def shipped(first: Snapshot) -> Router:
    """A router as one process makes it: with its own instances of both strategies."""
    ours = Router(APP, {"cookie": CookiePlugin().make(APP, {}), "ip-hash": IpHashPlugin().make(APP, {})})
    ours.follow(first)
    return ours


def crowd(count: int) -> list[Visitor]:
    return [Visitor(address=f"198.51.{at // 250}.{at % 250}") for at in range(count)]


def visit(ours: Router, visitor: Visitor) -> tuple[Visitor, str, str, Reason]:
    """One request: the client with what it was told, its version, its instance, and why."""
    one = ours.place(visitor, 0.0)
    told = visitor.told(ours.tell(one, visitor))
    return told, one.fleet.version.id, str(one.load.instance), one.reason


@pytest.mark.parametrize("strategy", ["cookie", "ip-hash"])
def test_clients_stay_on_their_version_and_instance_on_every_router_while_the_blend_rises(strategy):
    here, elsewhere = shipped(snapshot(50, strategy)), shipped(snapshot(50, strategy))
    first = [visit(here, one) for one in crowd(200)]
    assert {name for _, name, _, _ in first} == {"old", "new"}
    for visitor, name, instance, _ in first:
        assert visit(elsewhere, visitor)[1:] == (name, instance, Reason.PINNED)
    here.follow(snapshot(80, strategy))
    for visitor, name, instance, _ in first:
        if name == CANDIDATE.id:
            assert visit(here, visitor)[1:] == (name, instance, Reason.PINNED)


@pytest.mark.parametrize("strategy", ["cookie", "ip-hash"])
def test_a_promote_moves_nobody_who_was_on_the_candidate(strategy):
    ours = shipped(snapshot(30, strategy))
    settled = [visit(ours, one) for one in crowd(300)]
    ours.follow(Snapshot(APP, stable=CANDIDATE, stickiness=strategy))
    on_candidate = [one for one in settled if one[1] == CANDIDATE.id]
    assert len(on_candidate) > 50
    for visitor, name, instance, _ in on_candidate:
        assert visit(ours, visitor)[1:] == (name, instance, Reason.PINNED)


def test_new_clients_with_cookies_are_shared_exactly():
    for blend in range(101):
        ours = shipped(snapshot(blend, "cookie"))
        assert sum(visit(ours, one)[1] == CANDIDATE.id for one in crowd(100)) == blend


def test_old_cookies_have_no_effect_while_stickiness_is_off():
    ours = shipped(snapshot(50, "cookie"))
    settled = [visit(ours, one)[0] for one in crowd(40)]
    ours.follow(snapshot(50))
    for visitor in settled:
        places = [ours.place(visitor, 0.0) for _ in range(4)]
        assert [one.role for one in places].count(Role.CANDIDATE) == 2
        assert {one.reason for one in places} == {Reason.BLEND}
        assert not any(ours.tell(one, visitor) for one in places)


def test_a_cookie_of_an_earlier_candidate_counts_for_nothing():
    ours = shipped(snapshot(100, "cookie"))
    visitor, _, _, _ = visit(ours, Visitor())
    ours.follow(snapshot(100, "cookie", candidate=version("newer", 2)))
    visitor, name, _, _ = visit(ours, visitor)
    assert name == "newer"
    assert visit(ours, visitor)[3] is Reason.PINNED


def test_rolling_back_brings_everybody_to_stable():
    for strategy in ("cookie", "ip-hash"):
        ours = shipped(snapshot(50, strategy))
        settled = [visit(ours, one)[0] for one in crowd(50)]
        ours.follow(snapshot(0, strategy, candidate=None))
        assert {visit(ours, visitor)[1] for visitor in settled} == {"old"}
