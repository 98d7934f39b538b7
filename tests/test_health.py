"""What probes and traffic tell of an instance -> until when it is left alone, and how its share comes back."""

from __future__ import annotations

import math
import random
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.error import ConnectError, ConnectionRefusedError, DNSLookupError, TimeoutError

from rolling_router.health import (
    FIRST_SECONDS,
    LONGEST_SECONDS,
    STRIKES,
    Check,
    Rules,
    answered,
    distrust,
    failed,
    newcomers,
    no_connection,
    probed,
    reached,
    unasked,
    unreachable,
)
from rolling_router.rollout.model import HealthKeys, Instance, Role, Snapshot
from rolling_router.routing.fleet import Fleet, Load, Standing
from rolling_router.routing.plan import Plan
from rolling_router.routing.router import Router
from tests.rollouts import APP, CANDIDATE, STABLE, Visitor, snapshot, version

CHECK = Check("/", rise=2, fall=3)
RULES = Rules(ramp_seconds=10.0)


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (ConnectionRefusedError(111, "Connection refused"), "Connection refused"),
        (ConnectError(string="TLS: its certificate is for another name"), "TLS: its certificate is for another name"),
        (TimeoutError(), "it took no connection in time"),
        (
            DNSLookupError("no results for hostname lookup: nonesuch"),
            "DNS lookup failed: no results for hostname lookup: nonesuch",
        ),
        (ValueError("odd."), "odd"),
    ],
)
def test_why_there_is_no_connection_is_told_once_and_is_no_sentence(wrong: Exception, words: str) -> None:
    assert no_connection(wrong) == words


@pytest.fixture
def load() -> Load:
    return Load(Instance("app.test", 80))


def fleet(count: int) -> Fleet:
    made = version("v", count)
    return Fleet(made, [Load(one) for one in made.instances])


# Connections that are not taken


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
    reached(load, 1.5)
    assert (load.out_until, load.failures, load.ejections) == (1.5, 0, 0)
    unreachable(load, 10.0)
    assert load.out_until == 11.0


def test_attempts_that_fail_together_count_as_one(load):
    for _ in range(50):  # as many clients were connecting when the instance went away for a moment
        unreachable(load, 7.0)
    assert load.out_until == 7.0 + FIRST_SECONDS


# Requests that fail


def test_some_failures_in_a_row_eject_and_a_good_answer_between_them_forgives():
    ours = fleet(2)
    load = ours.loads[0]
    for _ in range(20):
        assert [failed(load, ours, 0.0, RULES) for _ in range(STRIKES - 1)] == [False] * (STRIKES - 1)
        answered(load, 0.0)
    assert load.out_until <= 0.0
    assert [failed(load, ours, 5.0, RULES) for _ in range(STRIKES)] == [False] * (STRIKES - 1) + [True]
    assert load.out_until == 5.0 + FIRST_SECONDS


def test_one_that_flaps_is_out_longer_each_time_though_it_takes_connections():
    ours, now, lengths = fleet(2), 0.0, []
    load = ours.loads[0]
    for _ in range(8):
        while not failed(load, ours, now, RULES):
            reached(load, now)
        lengths.append(load.out_until - now)
        now = load.out_until
    assert lengths == [1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0, 30.0]


def test_that_it_is_back_is_news_once_for_each_ejection():
    ours = fleet(2)
    load = ours.loads[0]
    assert not any((reached(load, 0.0), answered(load, 0.0)))
    unreachable(load, 0.0)
    assert [reached(load, 0.5), reached(load, 0.6)] == [True, False]
    for _ in range(STRIKES):
        failed(load, ours, 1.0, RULES)
    assert not reached(load, 1.0 + FIRST_SECONDS), "to take a connection is not enough for one that failed requests"
    assert not answered(load, 1.5), "what was under way when it was ejected"
    for _ in range(STRIKES):
        failed(load, ours, 1.5, RULES)
    assert [answered(load, 1.0 + FIRST_SECONDS), answered(load, 9.0)] == [True, False]
    unreachable(load, 20.0)
    load.standing = Standing.DOWN
    assert not reached(load, 30.0), "the probes keep it out"


def test_after_a_good_while_it_begins_with_a_short_one_again():
    ours = fleet(2)
    load = ours.loads[0]
    for now in (0.0, 1.0, 3.0):
        while not failed(load, ours, now, RULES):
            pass
    answered(load, 8.0)
    assert load.ejections == 3, "it is hardly back"
    answered(load, load.ramp_until)
    assert (load.ejections, load.failures) == (0, 0)


def test_requests_never_eject_the_last_usable_instance_of_a_version():
    alone = fleet(1)
    assert not any(failed(alone.loads[0], alone, 0.0, RULES) for _ in range(100))
    ours = fleet(3)
    for load in ours.loads:
        for _ in range(100):
            failed(load, ours, 0.0, RULES)
    assert [load.out_until > 0.0 for load in ours.loads] == [True, True, False]


@settings(max_examples=300, deadline=None)
@given(
    count=st.integers(1, 5),
    events=st.lists(st.tuples(st.sampled_from("fga"), st.integers(0, 4), st.floats(0, 3)), max_size=120),
)
def test_whatever_requests_tell_one_instance_stays_usable(count, events):
    ours, now = fleet(count), 0.0
    for event, at, seconds in events:
        load = ours.loads[at % count]
        now += seconds if event == "a" else 0.0
        if event == "f":
            failed(load, ours, now, RULES)
        elif event == "g" and load.failures:
            answered(load, now)
        assert any(one.out_until <= now for one in ours.loads)
        assert ours.pick(now) is not None


# Slow start


def shares(ours: Fleet, seconds: float, outstanding: int) -> float:
    """The first instance's share of 2000 picks so long after its return, with so many requests in flight at a time."""
    load, now = ours.loads[0], 0.0
    while not failed(load, ours, now, RULES):
        pass
    now = load.out_until + seconds
    taken: Counter[Load] = Counter()
    flying: list[Load] = []
    for _ in range(2000):
        picked = ours.pick(now)
        assert picked is not None
        taken[picked] += 1
        flying.append(picked)
        picked.outstanding += 1
        if len(flying) > outstanding:
            flying.pop(0).outstanding -= 1
    return taken[load] / 2000


@pytest.mark.parametrize("outstanding", [0, 1, 7, 50])
@pytest.mark.parametrize("count", [2, 3, 8])
def test_one_that_is_back_gets_a_growing_share_of_its_versions_picks(count, outstanding):
    grown = [shares(fleet(count), seconds, outstanding) * count for seconds in (0.0, 2.5, 5.0, 7.5, 10.0)]
    assert grown == sorted(grown), grown
    assert 0.02 < grown[0] < 0.25
    assert 0.25 < grown[2] < 0.75
    assert 0.9 < grown[4] < 1.1


def test_one_that_is_back_and_alone_gets_everything():
    ours = fleet(2)
    for load in ours.loads:
        load.ramp_from, load.ramp_until = 0.0, 10.0
    assert all(ours.pick(1.0) is not None for _ in range(50))
    ours.loads[1].out_until = math.inf
    assert {ours.pick(1.0) for _ in range(50)} == {ours.loads[0]}


@settings(max_examples=60, deadline=None)
@given(blend=st.integers(1, 99), seed=st.integers())
def test_the_blend_is_exact_while_instances_are_ejected_and_come_back(blend, seed):
    lots = random.Random(seed)
    ours = Router(APP, {})
    ours.follow(snapshot(blend, stable=version("old", 3), candidate=version("new", 2)))
    now, taken = 0.0, 0
    for asked in range(1, 400):
        now += lots.random()
        placement = ours.place(Visitor(), now)
        taken += placement.role is Role.CANDIDATE
        assert abs(taken * 100 - asked * blend) < 100
        if lots.random() < 0.6:
            failed(placement.load, placement.fleet, now, RULES)
        elif placement.load.failures:
            answered(placement.load, now)


# Probes


def outcomes(load: Load, text: str, check: Check = CHECK) -> list[bool]:
    """Probe after probe: ``.`` passes, ``x`` fails."""
    return [probed(load, None if one == "." else "it is ill", check, 0.0, RULES) for one in text]


def test_it_falls_after_some_failures_in_a_row_and_rises_after_some_passes(load):
    assert outcomes(load, "xx.xx.xxx") == [False] * 8 + [True]
    assert (load.standing, load.out_until, load.why) == (Standing.DOWN, math.inf, "it is ill")
    assert outcomes(load, "xxxx.x.x..") == [False] * 9 + [True]
    assert (load.standing, load.out_until) == (Standing.TRUSTED, 0.0)
    assert load.ramp_until > 0.0, "slow start"


def test_a_new_one_needs_one_pass_and_a_first_failure_of_it_is_news(load):
    distrust([load])
    assert load.out_until == math.inf
    assert outcomes(load, "xxxx.") == [True, False, False, False, True]
    assert (load.standing, load.out_until, load.ramp_until) == (Standing.TRUSTED, 0.0, 0.0)


def test_probes_and_traffic_do_not_undo_each_other(load):
    unreachable(load, 0.0)
    outcomes(load, "xxx..")
    assert load.out_until == load.ejected_until == 1.0
    outcomes(load, "xxx")
    reached(load, 0.5)
    assert load.out_until == math.inf
    unasked([load])
    assert load.out_until == 0.5


@settings(max_examples=300, deadline=None)
@given(rise=st.integers(1, 4), fall=st.integers(1, 4), text=st.text(".x", max_size=60))
def test_rise_and_fall_are_what_they_say(rise, fall, text):
    load, up = Load(Instance("app.test", 80)), True
    for at in range(len(text)):
        outcomes(load, text[at], Check("/", rise=rise, fall=fall))
        so_far = text[: at + 1]
        if up and so_far.endswith("x" * fall) and load.fails >= fall:
            up = False
        elif not up and load.passes >= rise:
            up = True
        assert (load.standing is Standing.TRUSTED) is up


def plan_of(router: Router, now: Snapshot) -> Plan:
    router.follow(now)
    return router.plan


def new_names(before: Plan, plan: Plan) -> set[str]:
    return {load.instance.host for load in newcomers(before, plan)}


def test_who_is_new():
    ours = Router(APP, {})
    empty = ours.plan
    both = plan_of(ours, snapshot())
    assert new_names(empty, both) == {"old.test", "new.test"}
    promoted = plan_of(ours, snapshot(0, stable=CANDIDATE, candidate=None))
    assert new_names(both, promoted) == set(), "promoted, and known"
    newer = plan_of(ours, snapshot(0, stable=CANDIDATE, candidate=version("newer")))
    assert new_names(promoted, newer) == {"newer.test"}


def test_one_more_instance_of_a_known_version_is_new_and_a_change_of_all_is_not():
    ours = Router(APP, {})
    two = plan_of(ours, snapshot())
    three = plan_of(ours, snapshot(stable=version("old", 3)))
    assert [load.instance.port for load in newcomers(two, three)] == [1002]
    moved = plan_of(ours, snapshot(stable=type(STABLE)("old", 8080, (Instance("elsewhere.test", 1),))))
    assert newcomers(three, moved) == []


def test_an_address_that_a_new_version_took_over_is_new():
    ours = Router(APP, {})
    before = plan_of(ours, snapshot())
    taken = type(CANDIDATE)("newest", 8080, CANDIDATE.instances)
    assert len(newcomers(before, plan_of(ours, snapshot(candidate=taken)))) == 2


def test_the_store_overrides_the_options_one_by_one():
    assert CHECK.overridden(HealthKeys()) == CHECK
    assert CHECK.overridden(HealthKeys(path="off", fall=9)) == Check("off", rise=2, fall=9)
