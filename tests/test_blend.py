"""Whose turn it is: rule 1, the exact blend."""

from __future__ import annotations

import itertools

from rolling_router.rollout.model import Role
from rolling_router.routing.blend import turn


def choices(blend: int, carried: int, count: int) -> list[bool]:
    """Whether each of so many choices in a row fell on the candidate."""
    taken = []
    for _ in range(count):
        role, carried = turn(blend, carried)
        taken.append(role is Role.CANDIDATE)
    return taken


def test_every_run_of_choices_is_within_one_of_its_share():
    for blend, before in itertools.product(range(101), range(100)):  # `before`: whatever was carried in
        taken = 0
        for count, is_candidate in enumerate(choices(blend, before, 100), 1):
            taken += is_candidate
            assert abs(taken * 100 - count * blend) < 100, (blend, before, count)


def test_a_hundred_choices_are_shared_to_the_one():
    for blend, before in itertools.product(range(101), range(100)):
        assert sum(choices(blend, before, 100)) == blend


def test_what_is_carried_stays_within_its_range():
    for blend, before in itertools.product(range(101), range(100)):
        _, carried = turn(blend, before)
        assert 0 <= carried <= 99


def test_at_fifty_every_other_choice_is_the_candidate():
    assert choices(50, 0, 6) == [False, True, False, True, False, True]


def test_at_nought_nobody_and_at_a_hundred_everybody_goes_to_the_candidate():
    for before in range(100):
        assert not any(choices(0, before, 200))
        assert all(choices(100, before, 200))


def test_a_change_of_the_blend_on_the_way_keeps_the_sum_of_the_shares():
    carried, taken, share = 0, 0, 0
    for blend in itertools.chain(range(101), reversed(range(101)), [1, 99] * 50):
        role, carried = turn(blend, carried)
        taken += role is Role.CANDIDATE
        share += blend
        assert abs(taken * 100 - share) < 100
