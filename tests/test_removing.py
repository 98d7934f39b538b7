"""Which registrations may be taken away, in memory."""

from __future__ import annotations

from typing import Any

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from rolling_router.delivery.keys import Keys
from rolling_router.delivery.patience import Patience
from rolling_router.delivery.removing import Needed, unregister
from rolling_router.delivery.telling import Teller
from rolling_router.errors import SettingError
from rolling_router.rollout.model import Instance
from tests.stores import MemoryStore

STABLE, CANDIDATE = "rolling/shop/stable/id", "rolling/shop/candidate/id"
A, B = "apps/app-a-80/containers", "apps/app-b-80/containers"
KEYS = {
    STABLE: A,
    CANDIDATE: B,
    f"{A}/x": "h:1",
    f"{A}/y": "h:2",
    f"{B}/x": "h:3",
    "apps/app-c-80/containers/x": "h:4",
    "apps/app-c-81/containers/x": "https://h:4",
    "apps/app-c-d-80/containers/x": "h:4",  # of another version
}


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore(KEYS)


def remove(store: MemoryStore, version: str, *instances: str) -> Any:
    """What went, or why nothing did."""
    clock, ends = Clock(), list[Any]()
    keys = Keys("shop", store, Patience(clock, Teller(clock, print, print), 5.0))
    work = unregister(keys, version, [Instance.parse(one) for one in instances])
    Deferred.fromCoroutine(work).addBoth(ends.append)
    clock.pump([1.0] * 10)
    (end,) = ends
    return getattr(end, "value", end)


def gone(store: MemoryStore) -> set[str]:
    return set(KEYS) - set(store.keys)


def test_all_of_a_version_without_a_role_goes_whatever_its_ports(store):
    assert remove(store, "c") == ("h:4", "https://h:4")
    assert gone(store) == {"apps/app-c-80/containers/x", "apps/app-c-81/containers/x"}


def test_what_is_gone_already_writes_nothing(store):
    assert remove(store, "e") == ()
    assert store.puts == []


def test_only_the_instances_that_are_named_go(store):
    assert remove(store, "c", "https://h:4") == ("https://h:4",)
    assert remove(store, "a", "h:1") == ("h:1",)
    assert gone(store) == {"apps/app-c-81/containers/x", f"{A}/x"}


def test_an_instance_goes_by_all_of_its_keys_however_it_is_spelt(store):
    store.keys[f"{A}/again"] = " h:1\n"
    assert remove(store, "a", "h:1") == ("h:1", " h:1\n")
    assert gone(store) == {f"{A}/x"}
    assert f"{A}/again" not in store.keys


@pytest.mark.parametrize(
    ("version", "said"),
    [
        (
            "a",
            "a is stable of shop (rolling/shop/stable/id), and would be left without an instance; "
            "make another version stable first",
        ),
        (
            "b",
            "b is the candidate of shop (rolling/shop/candidate/id), and would be left without an instance; "
            "let it go first, by: rolling-router rollback",
        ),
    ],
)
def test_all_of_a_version_that_has_a_role_is_refused(store, version, said):
    assert str(remove(store, version)) == said
    assert store.puts == []


@pytest.mark.parametrize(("version", "instances"), [("a", ["h:1", "h:2"]), ("b", ["h:3"])])
def test_the_last_instance_of_a_version_that_has_a_role_is_refused(store, version, instances):
    assert isinstance(remove(store, version, *instances), Needed)
    assert store.puts == []


@pytest.mark.parametrize(
    "left",
    [
        {"apps/app-b-81/containers/y": "h:5"},  # below another port than the role's
        {f"{B}/y": "no instance"},
        {f"{B}/y": "h:3"},
    ],
)
def test_what_would_be_left_does_not_count_where_the_role_cannot_use_it(store, left):
    store.keys.update(left)
    assert isinstance(remove(store, "b", "h:3"), Needed)
    assert store.puts == []


def test_a_role_in_another_app_counts(store):
    store.keys["rolling/other/stable/id"] = "apps/app-c-80/containers"
    assert "c is stable of other (rolling/other/stable/id)" in str(remove(store, "c"))
    assert remove(store, "c", "https://h:4") == ("https://h:4",)


def test_an_instance_that_is_not_registered_is_named_and_nothing_goes(store):
    refused = remove(store, "a", "h:1", "h:9")
    assert isinstance(refused, SettingError)
    assert str(refused) == "no instance of a is registered as h:9; there are: h:1, h:2"
    assert str(remove(store, "e", "h:1")) == "no instance of e is registered as h:1; there are: none"
    assert store.puts == []


@pytest.mark.parametrize("instances", [(), ("h:4", "https://h:4")])
def test_a_version_that_gets_a_role_meanwhile_is_kept(store, instances):
    store.before_put = lambda: store.write(CANDIDATE, "apps/app-c-80/containers")
    assert isinstance(remove(store, "c", *instances), Needed)
    assert store.puts == []


def test_of_two_who_remove_an_instance_each_one_is_refused(store):
    store.before_put = lambda: store.write(f"{A}/y", None)  # the other one was faster
    assert isinstance(remove(store, "a", "h:1"), Needed)
    assert gone(store) == {f"{A}/y"}


@pytest.mark.parametrize("instances", [(), ("h:4", "https://h:4")])
def test_a_removal_that_the_store_did_not_confirm_is_done_again(store, instances):
    store.break_after = 9  # it is written, and the answer is lost
    assert remove(store, "c", *instances) == ("h:4", "https://h:4")
    assert len(store.puts) == 2
