"""What traffic tells of an instance -> until when it is left alone."""

from __future__ import annotations

import pytest

from rolling_router.health import FIRST_SECONDS, LONGEST_SECONDS, reached, unreachable
from rolling_router.rollout.model import Instance
from rolling_router.routing.fleet import Load


@pytest.fixture
def load() -> Load:
    return Load(Instance("app.test", 80))


def test_the_first_failure_ejects_for_a_short_while(load):
    unreachable(load, 100.0)
    assert load.out_until == 100.0 + FIRST_SECONDS


def test_each_further_failure_after_the_ejection_doubles_it_up_to_the_longest(load):
    now, lengths = 0.0, []
    for _ in range(2000):
        unreachable(load, now)
        lengths.append(load.out_until - now)
        now = load.out_until
    assert lengths[:6] == [1.0, 2.0, 4.0, 8.0, 16.0, LONGEST_SECONDS]
    assert set(lengths[5:]) == {LONGEST_SECONDS}


def test_one_connection_taken_brings_it_back_at_once(load):
    unreachable(load, 0.0)
    unreachable(load, 1.0)
    reached(load)
    assert (load.out_until, load.failures) == (0.0, 0)
    unreachable(load, 10.0)
    assert load.out_until == 11.0


def test_attempts_that_fail_together_count_as_one(load):
    for _ in range(50):  # as many clients were connecting when the instance went away for a moment
        unreachable(load, 7.0)
    assert load.out_until == 7.0 + FIRST_SECONDS
