"""Splitting, by the real process and a file that is edited: exact at every blend, and in force at once."""

from __future__ import annotations

import itertools
import time
from collections import Counter

import pytest

from .conftest import StartInstance, StartRouter
from .instance import Instance
from .router import Router, rollout, until
from .wire import Wire, get


@pytest.fixture(scope="module")
def instances(start_instance: StartInstance) -> dict[str, Instance]:
    """One of stable, three of the candidate: their number must not bend the blend."""
    made = [start_instance("1.0", "a"), *(start_instance("1.1", name) for name in "bcd"), start_instance("1.2", "e")]
    return {one.name: one for one in made}


@pytest.fixture(scope="module")
def router(start_router: StartRouter, instances: dict[str, Instance]) -> Router:
    return start_router(rollout([instances["a"]]))


def versions(wire: Wire, count: int) -> list[str]:
    """Who answers so many requests on one connection, sent in one go."""
    wire.send(get() * count)
    return [wire.answer().version for _ in range(count)]


def test_all_101_blends_are_exact(router: Router, instances: dict[str, Instance]) -> None:
    stable, candidate = [instances["a"]], [instances[name] for name in "bcd"]
    for blend in range(101):
        router.put(rollout(stable, candidate, blend))
        with router.wire() as wire:  # another one each time: a connection may ask 10,000 times, and no more
            assert Counter(versions(wire, 100))["1.1"] == blend, blend


def test_blends_come_down_as_exactly_as_they_went_up_and_zero_is_zero(
    router: Router, instances: dict[str, Instance]
) -> None:
    stable, candidate = [instances["a"]], [instances[name] for name in "bcd"]
    with router.wire() as wire:
        for blend in (100, 99, 51, 50, 49, 1, 0):
            router.put(rollout(stable, candidate, blend))
            assert Counter(versions(wire, 100))["1.1"] == blend, blend


def test_at_fifty_versions_take_turns_over_any_number_of_connections(
    router: Router, instances: dict[str, Instance]
) -> None:
    router.put(rollout([instances["a"]], [instances["b"]], 50))
    seen = [router.ask(get()).version for _ in range(20)]
    assert all(one != other for one, other in itertools.pairwise(seen)), seen


def test_the_number_of_instances_does_not_bend_the_blend_and_each_has_its_turn(
    router: Router, instances: dict[str, Instance]
) -> None:
    router.put(rollout([instances["a"]], [instances[name] for name in "bcd"], 75))
    with router.wire() as wire:
        wire.send(get() * 400)
        names = Counter(wire.answer().one(b"X-Instance") for _ in range(400))
    assert names == {b"a": 100, b"b": 100, b"c": 100, b"d": 100}


def test_a_promote_and_a_new_candidate_come_by_the_file(router: Router, instances: dict[str, Instance]) -> None:
    a, b, e = instances["a"], instances["b"], instances["e"]
    with router.wire() as wire:
        router.put(rollout([a], [b], 30))
        assert Counter(versions(wire, 10)) == {"1.0": 7, "1.1": 3}
        router.put(rollout([b]))
        assert Counter(versions(wire, 10)) == {"1.1": 10}
        router.put(rollout([b], [e], 20))
        assert Counter(versions(wire, 10)) == {"1.1": 8, "1.2": 2}
        router.put(rollout([b]))
        assert Counter(versions(wire, 10)) == {"1.1": 10}


def test_a_change_of_the_file_is_in_force_at_once(router: Router, instances: dict[str, Instance]) -> None:
    stable, candidate = [instances["a"]], [instances["b"]]
    router.put(rollout(stable, candidate, 0))
    took = []
    with router.wire() as wire:
        for blend, expected in [(100, "1.1"), (0, "1.0")] * 10:
            router.write(rollout(stable, candidate, blend))
            began = time.monotonic()
            until(lambda expected=expected: wire.ask(get()).version == expected)
            took.append(time.monotonic() - began)
    took.sort()
    print(f"in force after {took[len(took) // 2] * 1000:.0f} ms (median), {took[-1] * 1000:.0f} ms (longest)")
    # Each began right after the last look at the file: with one look a second, none would be so quick.
    assert took[0] < 0.2
