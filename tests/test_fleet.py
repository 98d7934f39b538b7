"""One version's instances: the fewest requests outstanding, ties in turn (rule 2)."""

from __future__ import annotations

from collections import Counter

from rolling_router.rollout.model import Instance
from rolling_router.routing.fleet import Fleet, Load
from tests.rollouts import version


def fleet(count: int) -> Fleet:
    made = version("v", count)
    return Fleet(made, [Load(one) for one in made.instances])


def test_without_outstanding_requests_all_take_turns():
    ours = fleet(3)
    assert [ours.loads.index(ours.pick(0.0)) for _ in range(7)] == [0, 1, 2, 0, 1, 2, 0]


def test_the_one_with_the_fewest_outstanding_is_picked():
    ours = fleet(3)
    for load, outstanding in zip(ours.loads, (2, 1, 3), strict=True):
        load.outstanding = outstanding
    assert [ours.pick(0.0) for _ in range(3)] == [ours.loads[1]] * 3


def test_ties_among_the_least_busy_take_turns_and_the_busy_one_is_passed_over():
    ours = fleet(4)
    ours.loads[2].outstanding = 5
    assert Counter(ours.loads.index(ours.pick(0.0)) for _ in range(30)) == {0: 10, 1: 10, 3: 10}


def test_requests_that_stay_are_spread_evenly():
    ours = fleet(3)
    for _ in range(10):
        ours.pick(0.0).outstanding += 1
    assert sorted(load.outstanding for load in ours.loads) == [3, 3, 4]


def test_an_instance_alone_is_picked_however_busy_it_is():
    ours = fleet(1)
    ours.loads[0].outstanding = 1000
    assert ours.pick(0.0) is ours.loads[0]


def test_an_empty_version_has_nobody():
    ours = fleet(0)
    assert ours.pick(0.0) is None
    assert ours.pick_ejected() is None


def test_an_ejected_instance_is_left_out_until_its_time_has_come():
    ours = fleet(2)
    ours.loads[0].out_until = 10.0
    assert {ours.pick(9.9) for _ in range(4)} == {ours.loads[1]}
    assert {ours.pick(10.0) for _ in range(4)} == set(ours.loads)


def test_instances_that_were_tried_are_out_of_the_question():
    ours = fleet(3)
    first, second, third = ours.loads
    assert {ours.pick(0.0, [first, third]) for _ in range(3)} == {second}
    assert ours.pick(0.0, ours.loads) is None


def test_of_the_ejected_the_one_that_is_due_first_is_tried():
    ours = fleet(3)
    for load, until in zip(ours.loads, (30.0, 10.0, 20.0), strict=True):
        load.out_until = until
    assert ours.pick(0.0) is None
    assert ours.pick_ejected() is ours.loads[1]
    assert ours.pick_ejected([ours.loads[1]]) is ours.loads[2]
    assert ours.pick_ejected(ours.loads) is None


def test_find_gives_the_very_instance_while_it_is_usable():
    ours = fleet(2)
    second = ours.loads[1]
    assert ours.find(second.instance, 0.0) is second
    second.out_until = 5.0
    assert ours.find(second.instance, 4.9) is None
    assert ours.find(second.instance, 5.0) is second
    assert ours.find(Instance("elsewhere.test", 1), 0.0) is None
    assert ours.find(None, 0.0) is None


def test_find_gives_a_busy_instance_too():
    ours = fleet(2)
    ours.loads[0].outstanding = 1000
    assert ours.find(ours.loads[0].instance, 0.0) is ours.loads[0]
