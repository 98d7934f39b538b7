"""The rules of routing, through the router as `proxy` asks it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

import attrs
import pytest

from rolling_router.interfaces import Pin
from rolling_router.rollout.model import Role, Snapshot, Version
from rolling_router.routing.fleet import Load
from rolling_router.routing.place import Placement, Reason
from rolling_router.routing.router import NoInstance, Router
from tests.rollouts import APP, CANDIDATE, STABLE, Named, Visitor, router, snapshot, version

SOMEBODY = Visitor()
EMPTY_STABLE = attrs.evolve(STABLE, instances=())
EMPTY_CANDIDATE = attrs.evolve(CANDIDATE, instances=())


def placed(ours: Router, now: float = 0.0) -> Placement:
    return ours.place(SOMEBODY, now)


def roles(ours: Router, count: int) -> list[Role]:
    return [placed(ours).role for _ in range(count)]


def eject(ours: Router, one: Version, until: float = 100.0) -> None:
    for load in ours.loads:
        if load.instance in one.instances:
            load.out_until = until


def pinned_router(pin: Pin | None, **changes: object) -> tuple[Router, Named]:
    strategy = Named(lambda client, split: pin)
    return router(snapshot(stickiness="named", **changes), named=strategy), strategy


def refusal(ours: Router) -> Reason:
    with pytest.raises(NoInstance) as none:
        placed(ours)
    return none.value.reason


# Rule 1: the exact blend


@pytest.mark.parametrize(("stables", "candidates"), [(1, 1), (1, 7), (9, 2)])
def test_any_run_of_requests_is_shared_exactly_whatever_the_number_of_instances(stables, candidates):
    for blend in range(101):
        ours = router(snapshot(blend, stable=version("old", stables), candidate=version("new", candidates)))
        taken = 0
        for count in range(1, 201):
            taken += placed(ours).role is Role.CANDIDATE
            assert abs(taken * 100 - count * blend) < 100, (blend, count)


def test_outstanding_requests_do_not_bend_the_blend():
    for blend in range(101):
        ours = router(snapshot(blend))
        for load in ours.loads:
            load.outstanding = 50 if load.instance in CANDIDATE.instances else 0
        assert roles(ours, 100).count(Role.CANDIDATE) == blend


def test_a_new_snapshot_does_not_start_the_count_anew():
    ours = router(snapshot(50))
    taken = []
    for at in range(100):
        ours.follow(snapshot(50, candidate=version("new", 1 + at % 3)))
        taken.append(placed(ours).role)
    assert taken.count(Role.CANDIDATE) == 50


def test_pinned_clients_do_not_count_as_choices():
    at_home = Visitor(address="at home")
    strategy = Named(lambda client, split: Pin(split.stable) if client is at_home else None)
    ours = router(snapshot(25, "named"), named=strategy)
    taken = []
    for _ in range(100):
        ours.place(at_home, 0.0)
        taken.append(placed(ours).role)
    assert taken.count(Role.CANDIDATE) == 25


# Zero is zero, and other absolutes


def test_at_blend_nought_nobody_reaches_the_candidate():
    ours = router(snapshot(0))
    assert {(one.role, one.reason) for one in (placed(ours) for _ in range(300))} == {(Role.STABLE, Reason.ABSOLUTE)}


def test_at_blend_a_hundred_everybody_reaches_the_candidate():
    ours = router(snapshot(100))
    assert {(one.role, one.reason) for one in (placed(ours) for _ in range(300))} == {(Role.CANDIDATE, Reason.ABSOLUTE)}


@pytest.mark.parametrize("blend", [0, 1, 50, 100])
def test_without_a_candidate_all_goes_to_stable(blend):
    one = placed(router(snapshot(blend, candidate=None)))
    assert (one.role, one.reason) == (Role.STABLE, Reason.ABSOLUTE)


@pytest.mark.parametrize("blend", [1, 50, 100])
def test_without_stable_all_goes_to_the_candidate_while_it_may_be_seen(blend):
    one = placed(router(snapshot(blend, stable=None)))
    assert (one.role, one.reason) == (Role.CANDIDATE, Reason.ABSOLUTE)


def test_without_stable_the_candidate_at_nought_serves_nobody():
    assert refusal(router(snapshot(0, stable=None))) is Reason.NO_INSTANCE


# Rule 2: inside a version


def test_inside_a_version_the_least_busy_instance_serves():
    ours = router(snapshot(0, stable=version("old", 3)))
    for _ in range(9):
        placed(ours).load.outstanding += 1
    assert [load.outstanding for load in ours.plan.stable.loads] == [3, 3, 3]


# Rule 3 and 4: pins


@pytest.mark.parametrize("home", [STABLE, CANDIDATE], ids=["stable", "candidate"])
@pytest.mark.parametrize("at", [0, 1])
def test_a_pin_is_followed_to_its_version_and_its_instance(home, at):
    ours, strategy = pinned_router(Pin(home, home.instances[at]))
    for _ in range(20):
        one = placed(ours)
        assert (one.fleet.version, one.load.instance, one.reason) == (home, home.instances[at], Reason.PINNED)
        assert one.asked is None
        assert not one.is_news
        assert ours.tell(one, SOMEBODY) == ()
    assert strategy.remembered == []


def test_a_pin_without_an_instance_gets_one_and_the_client_is_told():
    ours, strategy = pinned_router(Pin(CANDIDATE))
    one = placed(ours)
    assert (one.role, one.reason, one.is_news) == (Role.CANDIDATE, Reason.PINNED, True)
    assert ours.tell(one, SOMEBODY)
    assert strategy.remembered == [Pin(CANDIDATE, one.load.instance)]


def test_a_pin_to_an_instance_that_is_gone_keeps_the_version_and_is_told_anew():
    ours, strategy = pinned_router(Pin(STABLE, version("old", 9).instances[8]))
    one = placed(ours)
    assert (one.role, one.reason, one.is_news) == (Role.STABLE, Reason.PINNED, True)
    ours.tell(one, SOMEBODY)
    assert strategy.remembered == [Pin(STABLE, one.load.instance)]


def test_a_pin_to_an_ejected_instance_keeps_the_version():
    ours, _ = pinned_router(Pin(STABLE, STABLE.instances[0]))
    eject(ours, attrs.evolve(STABLE, instances=STABLE.instances[:1]))
    one = placed(ours)
    assert (one.load.instance, one.reason, one.is_news) == (STABLE.instances[1], Reason.PINNED, True)
    assert placed(ours, now=100.0).load.instance == STABLE.instances[0]


def test_a_new_client_is_told_where_it_was_served():
    ours, strategy = pinned_router(None)
    one = placed(ours)
    assert (one.reason, one.is_news) == (Reason.NEW, True)
    assert ours.tell(one, SOMEBODY) == [(b"Set-Cookie", b"named=1")]
    assert strategy.remembered == [Pin(one.fleet.version, one.load.instance)]


def test_with_stickiness_off_nobody_is_recalled_or_told():
    strategy = Named(lambda client, split: pytest.fail("nobody was to be recalled"))
    ours = router(snapshot(50), named=strategy)
    ones = [placed(ours) for _ in range(10)]
    assert {one.reason for one in ones} == {Reason.BLEND}
    assert not any(one.is_news or ours.tell(one, SOMEBODY) for one in ones)


@pytest.mark.parametrize(
    ("pin", "changes", "expected"),
    [
        (Pin(version("older")), {}, Reason.PIN_ENDED),
        (Pin(CANDIDATE, CANDIDATE.instances[0]), {"blend": 0}, Reason.ABSOLUTE),
        (Pin(STABLE, STABLE.instances[0]), {"blend": 100}, Reason.ABSOLUTE),
        (Pin(CANDIDATE), {"candidate": EMPTY_CANDIDATE, "blend": 1}, Reason.PIN_ENDED),
    ],
    ids=["no role", "candidate at 0", "stable at 100", "no instance"],
)
def test_a_pin_ends_and_the_client_is_placed_anew_and_told(pin, changes, expected):
    ours, strategy = pinned_router(pin, **changes)
    one = placed(ours)
    assert one.fleet.version.id != pin.version.id
    assert one.reason is expected
    assert one.is_news
    ours.tell(one, SOMEBODY)
    assert strategy.remembered == [Pin(one.fleet.version, one.load.instance)]


def test_a_pin_to_stable_without_a_candidate_holds_at_any_blend():
    for blend in (0, 50, 100):
        ours, _ = pinned_router(Pin(STABLE, STABLE.instances[1]), blend=blend, candidate=None)
        assert placed(ours).reason is Reason.PINNED


def test_clients_whose_pins_ended_are_shared_by_the_blend():
    for blend in range(1, 100):
        ours, _ = pinned_router(Pin(version("older")), blend=blend)
        assert roles(ours, 100).count(Role.CANDIDATE) == blend


def test_a_pin_whose_version_has_only_ejected_instances_is_not_followed():
    ours, _ = pinned_router(Pin(CANDIDATE, CANDIDATE.instances[0]), blend=1)
    eject(ours, CANDIDATE)
    one = placed(ours)
    assert (one.role, one.reason, one.is_news) == (Role.STABLE, Reason.PIN_ENDED, True)


def test_a_promote_moves_nobody_who_was_on_the_candidate():
    for at in (0, 1):
        ours, _ = pinned_router(Pin(CANDIDATE, CANDIDATE.instances[at]))
        before = placed(ours)
        ours.follow(Snapshot(APP, stable=CANDIDATE, stickiness="named"))
        after = placed(ours)
        assert (before.role, after.role) == (Role.CANDIDATE, Role.STABLE)
        assert after.load is before.load
        assert (after.reason, after.is_news) == (Reason.PINNED, False)


# Rule 6: never a needless error


@pytest.mark.parametrize("blend", [1, 50, 100])
@pytest.mark.parametrize("is_empty", [True, False])
def test_the_candidates_share_goes_to_stable_when_the_candidate_cannot_serve(blend, is_empty):
    ours = router(snapshot(blend, candidate=EMPTY_CANDIDATE if is_empty else CANDIDATE))
    eject(ours, CANDIDATE)
    ones = [placed(ours) for _ in range(100)]
    assert {one.role for one in ones} == {Role.STABLE}
    down = [one for one in ones if one.reason is Reason.CANDIDATE_DOWN]
    assert len(down) == blend
    assert all(one.asked is Role.CANDIDATE for one in down)


@pytest.mark.parametrize("blend", [1, 50, 99])
@pytest.mark.parametrize("is_empty", [True, False])
def test_stables_share_goes_to_the_candidate_when_stable_cannot_serve(blend, is_empty):
    ours = router(snapshot(blend, stable=EMPTY_STABLE if is_empty else STABLE))
    eject(ours, STABLE)
    ones = [placed(ours) for _ in range(100)]
    assert {one.role for one in ones} == {Role.CANDIDATE}
    down = [one for one in ones if one.reason is Reason.STABLE_DOWN]
    assert len(down) == 100 - blend
    assert all(one.asked is Role.STABLE for one in down)


def test_stables_share_never_goes_to_a_candidate_at_nought():
    assert refusal(router(snapshot(0, stable=EMPTY_STABLE))) is Reason.NO_INSTANCE


def test_ejected_instances_of_stable_are_tried_before_a_candidate_at_nought():
    ours = router(snapshot(0))
    eject(ours, STABLE)
    assert placed(ours).role is Role.STABLE


def test_when_all_are_ejected_the_one_meant_is_tried_and_not_an_error_given():
    for blend, role in ((0, Role.STABLE), (100, Role.CANDIDATE)):
        ours = router(snapshot(blend))
        eject(ours, STABLE)
        eject(ours, CANDIDATE)
        one = placed(ours)
        assert (one.role, one.reason) == (role, Reason.ABSOLUTE)


def test_an_ejected_instance_comes_after_every_usable_one_of_the_other_version():
    ours = router(snapshot(100))
    eject(ours, CANDIDATE)
    assert placed(ours).role is Role.STABLE
    assert placed(ours, now=100.0).role is Role.CANDIDATE


def test_an_app_of_which_nothing_is_known_is_not_set_up():
    assert refusal(router(Snapshot(APP))) is Reason.NOT_SET_UP
    assert refusal(Router(APP, {})) is Reason.NOT_SET_UP


@pytest.mark.parametrize("blend", [0, 50, 100])
def test_versions_without_any_instance_are_something_else_than_not_set_up(blend):
    assert refusal(router(snapshot(blend, stable=EMPTY_STABLE, candidate=EMPTY_CANDIDATE))) is Reason.NO_INSTANCE
    assert refusal(router(snapshot(blend, stable=EMPTY_STABLE, candidate=None))) is Reason.NO_INSTANCE


# Placing again


def tries(ours: Router, first: Placement) -> Iterable[Placement]:
    """All placements of a request whose instances fail one after the other."""
    tried: list[Load] = []
    one = first
    while True:
        yield one
        tried.append(one.load)
        try:
            one = ours.place_again(one, tried, 0.0)
        except NoInstance:
            return


def test_placing_again_goes_through_the_version_then_through_the_other_one():
    ours = router(snapshot(100))
    ones = list(tries(ours, placed(ours)))
    assert [one.role for one in ones] == [Role.CANDIDATE] * 2 + [Role.STABLE] * 2
    assert [one.reason for one in ones] == [Reason.ABSOLUTE] * 2 + [Reason.CANDIDATE_DOWN] * 2
    assert {one.load.instance for one in ones} == {*STABLE.instances, *CANDIDATE.instances}
    assert {one.asked for one in ones} == {Role.CANDIDATE}


def test_placing_again_stays_off_a_candidate_at_nought():
    ours = router(snapshot(0))
    assert [one.role for one in tries(ours, placed(ours))] == [Role.STABLE] * 2


def test_placing_a_request_of_stable_again_may_end_at_the_candidate():
    ours = router(snapshot(1))
    ones = list(tries(ours, placed(ours)))
    assert [one.role for one in ones] == [Role.STABLE] * 2 + [Role.CANDIDATE] * 2
    assert [one.reason for one in ones] == [Reason.BLEND] * 2 + [Reason.STABLE_DOWN] * 2


def test_a_pinned_client_placed_again_stays_on_its_version_and_is_told_its_new_instance():
    ours, _ = pinned_router(Pin(CANDIDATE, CANDIDATE.instances[0]))
    ones = list(tries(ours, placed(ours)))
    assert [(one.reason, one.is_news) for one in ones] == [
        (Reason.PINNED, False),
        (Reason.PINNED, True),
        (Reason.CANDIDATE_DOWN, True),
        (Reason.CANDIDATE_DOWN, True),
    ]
    assert {one.asked for one in ones} == {None}


def test_placing_again_tries_ejected_instances_last():
    ours = router(snapshot(0, stable=version("old", 3)))
    first, second, third = ours.plan.stable.loads
    second.out_until = 50.0
    assert [one.load for one in tries(ours, placed(ours))] == [first, third, second]


# Snapshots come and go


def test_a_placement_keeps_its_plan_while_snapshots_change():
    ours = router(snapshot(0))
    one = placed(ours)
    ours.follow(snapshot(100, stable=version("other"), candidate=version("another")))
    again = ours.place_again(one, [one.load], 0.0)
    assert again.plan is one.plan
    assert again.fleet.version is STABLE
    assert placed(ours).fleet.version == version("another")


def test_an_instance_that_left_is_asked_only_if_there_is_no_other():
    three = version("three", 3)
    ours = router(snapshot(0, stable=three))
    one = placed(ours)
    first, second, third = one.fleet.loads
    assert one.load is first
    third.outstanding = 5
    ours.follow(snapshot(0, stable=attrs.evolve(three, instances=(first.instance, third.instance))))
    assert ours.place_again(one, [first], 0.0).load is third
    assert ours.place_again(one, [first, third], 0.0).load is second, "a try beats a certain error"


def test_records_outlive_snapshots():
    ours = router(snapshot(0))
    load = placed(ours).load
    load.outstanding, load.out_until = 3, 7.0
    ours.follow(snapshot(30, candidate=STABLE, stable=CANDIDATE))
    assert load in ours.loads
    assert load in ours.plan.candidate.loads
    assert (load.outstanding, load.out_until) == (3, 7.0)


def test_an_instance_that_both_versions_name_has_one_record():
    shared = attrs.evolve(CANDIDATE, instances=STABLE.instances)
    ours = router(snapshot(50, candidate=shared))
    assert set(ours.plan.stable.loads) == set(ours.plan.candidate.loads) == set(ours.loads)


def test_follow_returns_the_records_that_left():
    ours = router(snapshot())
    gone = {load for load in ours.loads if load.instance in CANDIDATE.instances}
    assert set(ours.follow(snapshot(candidate=None))) == gone
    assert ours.follow(snapshot(candidate=None)) == []
    assert {load.instance for load in ours.follow(Snapshot(APP))} == set(STABLE.instances)
    assert list(ours.loads) == []


def test_an_instance_that_comes_back_begins_anew():
    ours = router(snapshot())
    (gone, _) = ours.follow(snapshot(candidate=None))
    gone.out_until = 99.0
    ours.follow(snapshot())
    assert all(load.out_until == 0.0 for load in ours.plan.candidate.loads)
    assert gone not in ours.loads


# Strategies that fail


class Failing(Named):
    def remember(self, client, split, pin):
        raise RuntimeError("remember")


def fails(client, split):
    raise RuntimeError("recall")


def test_a_strategy_that_fails_to_recall_leaves_the_choice_to_the_blend():
    ours = router(snapshot(30, "named"), named=Named(fails))
    ones = [placed(ours) for _ in range(100)]
    assert [one.role for one in ones].count(Role.CANDIDATE) == 30
    assert {one.reason for one in ones} == {Reason.NEW}


def test_a_strategy_that_fails_to_remember_tells_nothing():
    ours = router(snapshot(30, "named"), named=Failing())
    assert ours.tell(placed(ours), SOMEBODY) == ()


# The words


def test_private_cookies_of_all_strategies_are_kept_from_instances():
    first, second = Named(), Named()
    second.private_cookies = (b"b", b"c")
    assert Router(APP, {"one": first, "two": second}).private_cookies == {b"named", b"b", b"c"}


def test_every_reason_is_a_word_of_its_own():
    words = Counter(reason.word for reason in Reason)
    assert set(words.values()) == {1}
    assert all(reason.word == reason.value for reason in Reason)
    assert {"new", "pinned", "blend", "absolute", "candidate-down", "stable-down"} <= set(words)
