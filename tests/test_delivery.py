"""The deploy step's decisions, its names, and its turns, in memory."""

from __future__ import annotations

import json
from collections.abc import Coroutine
from itertools import product
from typing import Any

import attrs
import pytest
import yaml
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from rolling_router.delivery.build import Build, started_at
from rolling_router.delivery.keys import Keys
from rolling_router.delivery.moves import Move, Seat, seat, to_be_gone, to_run
from rolling_router.delivery.patience import Patience
from rolling_router.delivery.running import Running
from rolling_router.delivery.telling import Teller
from rolling_router.delivery.turn import GONE_SECONDS, Turn
from rolling_router.errors import SettingError, StoreLost
from rolling_router.occs.calls import Refused
from rolling_router.occs.deployments import RUNNING, STOPPED, Deployment, Deployments
from rolling_router.rollout.model import Version
from rolling_router.rollout.standing import Standing, Texts
from tests.stores import MemoryStore

BUILD = Build("shop", "The Shop", "me/shop", "1497966712", 1497966712, 3000, 2, 'run "it": {now}')


def deployment(desired: int, current: int) -> Deployment:
    return Deployment("shop-1", "shop", desired, current, {})


# Names


def test_a_builds_names_come_of_the_build_alone():
    assert BUILD.id(0) == BUILD.id(1e9) == "shop-20170620-135152"
    assert BUILD.title == "The Shop 1497966712"
    assert [started_at(text) for text in ("1497966712", "1.0", "12345678", "")] == [1497966712, None, None, None]


def test_its_service_is_yaml_whatever_its_command_has_in_it():
    document = BUILD.document("shop-1")
    assert yaml.safe_load(document["stack"]["content"]) == {
        "version": 2,
        "services": {
            "app": {
                "image": "me/shop:1497966712",
                "command": 'run "it": {now}',
                "environment": ["occs:availability=per-pool", "occs:scheduler=random"],
                "ports": ["3000/tcp"],
            }
        },
    }
    assert (document["quantities"], document["desired_state"]) == ({"app": 2}, 1)


@pytest.mark.parametrize(
    ("id", "name", "is_its_own"),
    [
        ("shop-20170620-135152", "The Shop 1497966712", True),
        ("shop-20170620-135152", "The Shop 1497966713", False),
        ("shop-eu-20170620-135152", "The Shop 1497966712", False),  # another app's, of the same image and name
        ("shop-shop-20170620-135152", "The Shop 1497966712", False),
        ("shop-by-hand", "The Shop 1497966712", False),
    ],
)
def test_a_deployment_is_a_builds_own_by_its_name_and_the_whole_id(id: str, name: str, is_its_own: bool) -> None:
    assert BUILD.is_of(Deployment(id, name, RUNNING, RUNNING, {})) is is_its_own


@pytest.mark.parametrize("line", ["image: me/shop:1.0", 'image: "me/shop:1.0"', "image: 'me/shop:1.0'", "me/shop:1.0"])
def test_a_deployment_of_the_same_image_is_taken_however_its_yaml_is_written(line: str) -> None:
    attrs.evolve(BUILD, tag="1.0").check_same(of_yaml(f"version: 2\nservices:\n  app:\n    {line}\n"))


@pytest.mark.parametrize("image", ["me/shop:1.0.1", "me/shop:1.0-rc", "you/me/shop:1.0", "me/shop:1"])
def test_an_image_whose_name_has_ours_in_it_is_another(image: str) -> None:
    with pytest.raises(SettingError, match=r"of another image than me/shop:1\.0;"):
        attrs.evolve(BUILD, tag="1.0").check_same(of_yaml(f"services:\n  app:\n    image: {json.dumps(image)}\n"))


def of_yaml(content: str) -> Deployment:
    return Deployment("shop-1", "shop", RUNNING, RUNNING, {"stack": {"content": content}})


# Moves


def test_nothing_that_a_key_names_is_stopped_or_removed_in_any_state():
    for desired, current in product((STOPPED, RUNNING), repeat=2):
        assert to_be_gone(deployment(desired, current), True) in (Move.KEEP, Move.START, Move.WAIT)
    assert to_be_gone(deployment(STOPPED, STOPPED), True) is Move.START


def test_what_nobody_names_is_stopped_then_removed():
    states = [(RUNNING, STOPPED), (RUNNING, RUNNING), (STOPPED, RUNNING), (STOPPED, STOPPED)]
    moves = [to_be_gone(deployment(*one), False) for one in states]
    assert moves == [Move.STOP, Move.STOP, Move.WAIT, Move.DELETE]
    assert to_be_gone(None, False) is Move.DONE


def test_a_deployment_runs_when_the_platform_says_so_and_it_is_registered():
    assert to_run(None, 0) is Move.CREATE
    assert to_run(deployment(STOPPED, STOPPED), 0) is Move.START
    assert to_run(deployment(RUNNING, STOPPED), 1) is Move.WAIT
    assert to_run(deployment(STOPPED, RUNNING), 1) is Move.WAIT
    assert to_run(deployment(RUNNING, RUNNING), 0) is Move.WAIT
    assert to_run(deployment(RUNNING, RUNNING), 1) is Move.DONE


@pytest.mark.parametrize(
    ("stable", "candidate", "began_with", "found"),
    [
        ("a", None, None, Seat()),
        ("a", "b", "b", Seat(replaced=Version("b", 80))),
        ("a", None, "b", Seat()),  # promoted, or let go
        ("b", "c", "b", Seat(other=Version("c", 80))),
        ("a", "c", None, Seat(other=Version("c", 80))),
        ("a", "new", "b", Seat(is_ours=True)),
        ("new", "b", "b", Seat(is_ours=True)),
    ],
)
def test_who_has_the_candidates_role(stable: str, candidate: str | None, began_with: str | None, found: Seat) -> None:
    paths = [f"apps/app-{one}-80/containers" if one else "rolling/null" for one in (stable, candidate)]
    keys = {key: text for key, text in Texts(*paths, "0", "0").as_keys("shop").items() if text is not None}
    assert seat(Standing.read("shop", keys, (), ""), began_with, "new", 80) == found


class Slow(Deployments):
    """A platform that takes a removal's word at once, and shows the deployment for a while after it."""

    def __init__(self, refusals: int) -> None:
        self.refusals = refusals

    async def get(self, id: str) -> Deployment | None:
        return deployment(STOPPED, STOPPED)

    async def delete(self, id: str) -> None:
        self.refusals -= 1
        if self.refusals >= 0:
            raise Refused("not yet")


@pytest.mark.parametrize(("refusals", "why"), [(0, "it is still there after its removal"), (1000, "not yet")])
def test_what_cannot_be_removed_is_told_with_the_reason(refusals: int, why: str) -> None:
    clock, said = Clock(), []
    teller = Teller(clock, said.append, said.append)
    patience = Patience(clock, teller)
    keys = Keys("shop", MemoryStore({}, is_atomic=False), patience)
    removing = Deferred.fromCoroutine(Running(Slow(refusals), keys, patience, teller).take_away("shop-1"))
    clock.pump([1.0] * 400)
    assert removing.result is False
    assert said[-1] == f"shop-1 could not be removed: {why}; run this deploy again, or remove it by hand"
    assert any("to remove shop-1: " in line for line in said) is bool(refusals), "progress is of refusals"


# Turns


class Deploys:
    """Turns on one store, at a clock that is turned by hand."""

    def __init__(self) -> None:
        self.store = MemoryStore({}, is_atomic=False)
        self.clock = Clock()
        self.inside: list[str] = []

    def turn(self) -> Turn:
        patience = Patience(self.clock, Teller(self.clock, print, print))
        return Turn(Keys("shop", self.store, patience), patience, lambda: 0.5)

    async def have(self, version: str, until: Deferred[None]) -> None:
        async with self.turn().of(version):
            self.inside.append(version)
            await until

    def start(self, work: Coroutine[Any, Any, Any]) -> Deferred[Any]:
        return Deferred.fromCoroutine(work)


def test_one_at_a_time_has_a_turn_and_the_next_one_after_it():
    deploys, ends = Deploys(), [Deferred() for _ in range(2)]
    over = [deploys.start(deploys.have(name, end)) for name, end in zip("ab", ends, strict=True)]
    deploys.clock.pump([0.5] * 20)
    assert deploys.inside == ["a"]
    ends[0].callback(None)
    deploys.clock.pump([0.5] * 4)
    assert deploys.inside == ["a", "b"]
    ends[1].callback(None)
    assert [one.called for one in over] == [True, True]
    assert deploys.store.keys == {}


def test_one_that_was_killed_is_waited_for_a_while_and_not_for_ever():
    deploys = Deploys()
    deploys.store.keys["rolling-deploy/shop/turn/a"] = "mark"
    end: Deferred[None] = Deferred()
    deploys.start(deploys.have("b", end))
    deploys.clock.pump([1.0] * int(GONE_SECONDS - 2))
    assert deploys.inside == []
    deploys.clock.pump([1.0] * 4)
    assert deploys.inside == ["b"]
    end.callback(None)
    assert deploys.store.keys == {}


def test_a_killed_one_is_not_waited_for_by_its_own_build():
    deploys = Deploys()
    deploys.store.keys["rolling-deploy/shop/turn/a"] = "mark"
    deploys.start(deploys.have("a", Deferred()))
    assert deploys.inside == ["a"]


def test_one_that_is_told_to_end_while_it_waits_leaves_no_mark():
    deploys = Deploys()
    deploys.store.keys["rolling-deploy/shop/turn/a"] = "mark"
    waiting = deploys.start(deploys.have("b", Deferred())).addErrback(lambda _: None)
    deploys.clock.advance(0.2)
    waiting.cancel()
    assert list(deploys.store.keys) == ["rolling-deploy/shop/turn/a"]


def test_a_store_that_is_away_at_the_end_of_a_turn_is_waited_for_so_that_no_mark_stays():
    deploys, end = Deploys(), Deferred()
    over = deploys.start(deploys.have("a", end))
    deploys.store.is_away = True
    end.callback(None)
    deploys.clock.pump([1.0] * 5)
    assert (over.called, len(deploys.store.keys)) == (False, 1)
    deploys.store.is_away = False
    deploys.clock.pump([1.0] * 2)
    assert (over.called, deploys.store.keys) == (True, {})


def test_one_that_is_told_to_end_at_the_end_of_its_turn_tries_once_more_to_leave_no_mark():
    deploys, end = Deploys(), Deferred()
    over = deploys.start(deploys.have("a", end)).addErrback(lambda _: None)
    deploys.store.is_away = True
    end.callback(None)
    deploys.clock.pump([1.0] * 5)
    deploys.store.is_away = False
    over.cancel()
    assert (over.called, deploys.store.keys) == (True, {})


# Patience


def test_a_store_that_is_away_is_asked_again_for_a_while():
    deploys, told = Deploys(), []
    patience = Patience(deploys.clock, Teller(deploys.clock, told.append, told.append), 60)
    keys = Keys("shop", deploys.store, patience)
    deploys.store.is_away = True
    asking = deploys.start(keys.notes())
    deploys.clock.pump([1.0] * 20)
    deploys.store.is_away = False
    deploys.clock.advance(1)
    assert asking.result == {}
    assert told[0] == "after 5 s: away; trying again"
    deploys.store.is_away = True
    failures: list[Any] = []
    deploys.start(keys.notes()).addErrback(failures.append)
    deploys.clock.pump([1.0] * 61)
    assert failures[0].check(StoreLost)
