"""How the occs store looks, hints and writes: in memory, with a clock turned by hand."""

from __future__ import annotations

from typing import Any

import pytest
from treq.testing import RequestTraversalAgent
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from zope.interface.verify import verifyObject

from rolling_router.interfaces import Conflict, IVersionLister, SettingError, StoreContext, StoreLost
from rolling_router.occs.client import OccsClient
from rolling_router.occs.token import Token
from rolling_router.rollout.reader import Reader
from rolling_router_plugins.occs_store import OccsStore
from tests.occs_fakes import SECRET, Bench, KeysManager, said

OLD, NEW = "apps/app-shop-1-80/containers", "apps/app-shop-2-80/containers"
KEYS = {
    "rolling/null": "-",
    "rolling/shop/stable/id": OLD,
    "rolling/shop/candidate/id": "rolling/null",
    "rolling/shop/blendpercent": "0",
    "rolling/shop/stickyness": "0",
    f"{OLD}/a": "10.0.0.1:80",
    f"{NEW}/a": "10.0.0.2:80",
}


class House:
    """A manager in memory, a store on it, and a reader as the router's that reads at each hint."""

    def __init__(self, poll_seconds: float = 1.0) -> None:
        self.manager = KeysManager(KEYS)
        self.clock = Clock()
        client = OccsClient(self.clock, RequestTraversalAgent(self.manager), "https://m", Token(SECRET))
        self.store = OccsStore(StoreContext(self.clock, "shop", {}), client, client, poll_seconds)
        self.reader = Reader("shop", self.store)
        self.hints = 0
        self.outcomes: list[Any] = []
        self.read()
        self.store.watch(self._hinted)

    def _hinted(self) -> None:
        self.hints += 1
        self.clock.callLater(0.01, self.read)

    def read(self) -> None:
        Deferred.fromCoroutine(self.reader.read()).addBoth(self.outcomes.append)

    def go_on(self, seconds: float) -> list[str]:
        """Let time pass; what was asked meanwhile."""
        self.manager.asked.clear()
        self.clock.pump([0.01] * round(seconds * 100))
        return list(self.manager.asked)

    def last(self) -> Any:
        """What the reader knows, or why it does not."""
        return self.outcomes[-1].value if isinstance(self.outcomes[-1], Failure) else dict(self.outcomes[-1].keys)

    def ended(self, call: Deferred[Any], seconds: float = 5.0) -> Any:
        results: list[Any] = []
        call.addBoth(results.append)
        self.go_on(seconds)
        if isinstance(results[0], Failure):
            results[0].raiseException()
        return results[0]


@pytest.fixture
def house():
    return House()


APP, INSTANCES = "GET rolling/shop/", f"GET {OLD}/"


def test_a_quiet_store_is_asked_once_a_second_for_each_prefix_and_gives_no_hint(house):
    asked = house.go_on(100)
    assert set(asked) == {APP, INSTANCES}
    assert asked.count(APP) == asked.count(INSTANCES)
    assert 90 <= asked.count(APP) <= 112
    assert house.hints == 0


def test_polls_are_not_in_step_with_other_routers():
    first, second = House(), House()
    times = []
    for house in (first, second):
        house.manager.asked.clear()
        while not house.manager.asked:
            house.clock.advance(0.001)
        times.append(house.clock.seconds())
    assert times[0] != times[1]
    assert all(0.899 <= one <= 1.101 for one in times)


def test_another_version_is_known_whole_within_one_poll_which_reads_no_prefix_twice(house):
    house.manager.keys["rolling/shop/candidate/id"] = NEW
    house.manager.keys["rolling/shop/blendpercent"] = "50"
    asked = house.go_on(1.15)
    assert house.hints == 1
    assert house.last()["rolling/shop/candidate/id"] == NEW
    assert house.last()[f"{NEW}/a"] == "10.0.0.2:80"
    assert sorted(asked) == sorted([APP, INSTANCES, f"GET {NEW}/"])
    assert set(house.go_on(10)) == {APP, INSTANCES, f"GET {NEW}/"}
    assert house.hints == 1


@pytest.mark.parametrize(("key", "text"), [(f"{OLD}/b", "10.0.0.3:80"), (f"{OLD}/a", None), ("rolling/shop/x", "")])
def test_any_difference_is_hinted_at_once(house, key, text):
    if text is None:
        del house.manager.keys[key]
    else:
        house.manager.keys[key] = text
    house.go_on(10)
    assert house.hints == 1
    assert house.last().get(key) == text


def test_what_concerns_another_app_is_no_change(house):
    house.manager.keys["rolling/shop2/blendpercent"] = "1"
    house.manager.keys[f"{NEW}/b"] = "10.0.0.3:80"
    house.go_on(10)
    assert house.hints == 0


def test_who_looks_at_all_versions_does_not_change_what_is_followed(house):
    found = house.ended(house.store.read(["rolling/shop/", "rolling/null", "apps/app-"]), 0.0)
    assert dict(found.keys) == KEYS
    assert set(house.go_on(5)) == {APP, INSTANCES}
    assert house.hints == 0


# Loss


def test_a_loss_is_told_once_and_so_is_the_return(house):
    house.manager.status = 500
    house.go_on(5)
    assert house.hints == 1
    assert isinstance(house.last(), StoreLost)
    house.go_on(60)
    assert house.hints == 1
    house.manager.status = 200
    house.go_on(2.0)
    assert house.hints == 2
    assert house.last()["rolling/shop/stable/id"] == OLD
    house.go_on(10)
    assert house.hints == 2


def test_a_lost_store_is_asked_less_for_less(house):
    house.manager.status = 500
    house.go_on(5)
    asked = house.go_on(60)
    assert set(asked) == {APP}
    assert 30 <= len(asked) <= 46


def test_a_store_that_hiccups_is_not_lost(house):
    house.go_on(0.85)
    house.manager.status = 503
    asked = house.go_on(0.35)
    assert asked
    house.manager.status = 200
    house.go_on(5)
    assert house.hints == 0


def test_a_change_while_it_was_lost_is_seen_at_its_return(house):
    house.manager.status = 401
    house.go_on(5)
    house.manager.keys["rolling/shop/blendpercent"] = "7"
    house.manager.status = 200
    house.go_on(2.0)
    assert house.last()["rolling/shop/blendpercent"] == "7"


def test_a_store_that_is_closed_asks_no_more(house):
    closing = house.store.close()
    assert house.go_on(10) == []
    assert closing.called
    with pytest.raises(StoreLost, match="closed"):
        house.ended(house.store.read(["rolling/"]))
    assert house.clock.getDelayedCalls() == []


# Writing


def test_keys_are_written_in_the_given_order(house):
    changes = {"rolling/shop/stable/id": NEW, "rolling/shop/blendpercent": "0", "rolling/shop/candidate/id": None}
    house.manager.asked.clear()
    results = []
    house.store.put(changes, {"rolling/shop/blendpercent": "0"}).addBoth(results.append)
    assert results == [None]
    assert house.manager.asked == [
        "GET rolling/shop/blendpercent",
        "PUT rolling/shop/stable/id",
        "PUT rolling/shop/blendpercent",
        "DELETE rolling/shop/candidate/id",
    ]
    house.go_on(0.05)
    assert house.last()["rolling/shop/stable/id"] == NEW, "one's own change is hinted at without waiting for a poll"


def test_a_read_after_a_write_is_never_of_before(house):
    house.store.read(["rolling/shop/"])
    house.store.put({"rolling/shop/blendpercent": "9"}, {})
    (found,) = [house.ended(house.store.read(["rolling/shop/"]), 0.0)]
    assert found.keys["rolling/shop/blendpercent"] == "9"


def test_an_unmet_expectation_writes_nothing(house):
    with pytest.raises(Conflict, match="blendpercent is '0', not '5' any more"):
        house.ended(house.store.put({"rolling/shop/blendpercent": "9"}, {"rolling/shop/blendpercent": "5"}))
    assert house.manager.keys == KEYS


def test_a_write_that_breaks_off_says_how_far_it_came(house):
    manager = house.manager
    render = manager.render

    def once(request):
        answer = render(request)
        manager.status = 500 if request.method == b"PUT" else 200
        return answer

    manager.render = once
    changes = {"rolling/shop/stable/id": NEW, "rolling/shop/blendpercent": "0", "rolling/shop/candidate/id": OLD}
    with pytest.raises(StoreLost, match="written until then: rolling/shop/stable/id; not written: rolling/shop/blend"):
        house.ended(house.store.put(changes, {}))


def test_a_manager_lists_versions(house):
    assert verifyObject(IVersionLister, house.store)


@pytest.mark.parametrize("status", [500, 409, 200])
def test_a_manager_that_will_not_list_versions_counts_as_lost(status):
    bench = Bench(said({"errors": [{"message": "Internal Server Error"}]}, status))
    store = OccsStore(StoreContext(bench.clock, "shop", {}), bench.client, bench.client, 1.0)
    told: list[Any] = []
    store.versions().addErrback(told.append)
    bench.clock.pump([0.1] * 100)
    assert told[0].check(StoreLost), told
    assert "was refused: Internal Server Error" in told[0].getErrorMessage()


def test_a_node_alone_cannot_be_written_and_lists_no_versions():
    manager, clock = KeysManager(KEYS), Clock()
    client = OccsClient(clock, RequestTraversalAgent(manager), "http://172.17.0.1:9109")
    store = OccsStore(StoreContext(clock, "shop", {}), client, None, 1.0)
    results = []
    store.put({"rolling/shop/blendpercent": "9"}, {}).addErrback(results.append)
    assert results[0].check(SettingError)
    assert "set OCCS_MANAGER" in results[0].getErrorMessage()
    assert manager.asked == []
    assert not IVersionLister.providedBy(store)
