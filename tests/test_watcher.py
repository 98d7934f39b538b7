"""The watcher, by a clock that is turned by hand and a store that does as it is told."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import attrs
import pytest
from twisted.internet.defer import Deferred, fail, maybeDeferred, succeed
from twisted.internet.task import Clock
from twisted.logger import LogLevel, capturedLogs, formatEvent
from zope.interface import implementer
from zope.interface.verify import verifyObject

from rolling_router.errors import StoreLost
from rolling_router.interfaces import IStore, Reading
from rolling_router.rollout.model import Instance, Snapshot, Version
from rolling_router.rollout.reader import CHASES
from rolling_router.rollout.saved import Kept, Saved
from rolling_router.rollout.watcher import (
    GAP_SECONDS,
    READ_SECONDS,
    SAVED_SECONDS,
    Source,
    State,
    Watcher,
    retry_seconds,
)

OLD, NEW = "apps/app-shop-1-8080/containers", "apps/app-shop-2-8080/containers"
KEYS = {
    "rolling/shop/stable/id": OLD,
    "rolling/shop/candidate/id": "rolling/null",
    "rolling/shop/blendpercent": "0",
    "rolling/shop/stickyness": "1",
    f"{OLD}/a": "10.0.0.1:1",
    f"{NEW}/a": "10.0.0.2:2",
}
SNAPSHOT = Snapshot("shop", Version("shop-1", 8080, (Instance("10.0.0.1", 1),)), stickiness="cookie")


@implementer(IStore)
class FakeStore:
    """Holds `keys`; `answer`, if set, is what its reads do instead."""

    description = "fake:shop"
    is_atomic = True

    def __init__(self, keys: Mapping[str, str] = KEYS) -> None:
        self.keys = dict(keys)
        self.answer: Callable[[], Any] | None = None
        self.reads: list[Sequence[str]] = []
        self.changed: Callable[[], None] = lambda: None
        self.is_closed = False

    def read(self, prefixes: Sequence[str]) -> Any:
        self.reads.append(list(prefixes))
        return self.reading(prefixes) if self.answer is None else self.answer()

    def reading(self, prefixes: Sequence[str]) -> Deferred[Reading]:
        found = {key: text for key, text in self.keys.items() if key.startswith(tuple(prefixes))}
        return succeed(Reading(found, str(hash(frozenset(self.keys.items())))))

    def put(self, changes: Mapping[str, str | None], expected: Mapping[str, str | None]) -> Deferred[None]:
        raise AssertionError("the watcher never writes")

    def watch(self, changed: Callable[[], None]) -> None:
        self.changed = changed

    def close(self) -> Deferred[None]:
        self.is_closed = True
        return succeed(None)


class World:
    """A watcher with all that it is handed."""

    def __init__(self, store: FakeStore | None = None, saved: Saved | None = None) -> None:
        self.clock = Clock()
        self.store = FakeStore() if store is None else store
        self.published: list[Snapshot] = []
        self.watcher = self.make(self.published.append, saved)

    def make(self, publish: Callable[[Snapshot], None], saved: Saved | None = None) -> Watcher:
        return Watcher(
            self.clock,
            "shop",
            self.store,
            publish,
            strategies=["cookie", "ip-hash"],
            default="cookie",
            random=lambda: 1.0,
            saved=saved,
        )

    @property
    def state(self) -> State:
        return self.watcher.state

    def start(self) -> World:
        self.watcher.startService()
        return self

    def change(self, **keys: str) -> None:
        self.store.keys.update({f"rolling/shop/{key}": text for key, text in keys.items()})
        self.hint()

    def hint(self) -> None:
        self.store.changed()
        self.clock.advance(GAP_SECONDS)

    def lose(self, why: str = "fake:shop is away") -> None:
        self.store.answer = lambda: fail(StoreLost(why))
        self.hint()


@pytest.fixture
def world():
    return World().start()


def fired(deferred: Deferred[Any]) -> Any:
    """What it fired with; an AssertionError if it has not."""
    results: list[Any] = []
    deferred.addBoth(results.append)
    assert results, "it has not fired"
    return results[0]


def messages(events: Sequence[Mapping[str, Any]], *words: str) -> list[str]:
    texts = [event["log_format"].format(**event) for event in events]
    return [text for text in texts if all(word in text for word in words)]


def test_the_fake_provides_the_interface():
    assert verifyObject(IStore, FakeStore())


def test_the_first_read_is_published_and_the_state_says_where_it_came_from():
    world = World()
    world.clock.advance(1000)
    assert world.state == State("fake:shop")
    assert world.state.age(1000) is None
    world.start()
    assert fired(world.watcher.first) is None
    assert world.published == [SNAPSHOT]
    revision = world.state.revision
    assert revision is not None
    assert world.state == State("fake:shop", SNAPSHOT, Source.STORE, 1000, 1000, revision=revision)


def test_a_read_asks_for_roles_and_known_instances_at_once(world):
    assert world.store.reads == [["rolling/shop/"], ["rolling/shop/", f"{OLD}/"]]
    world.hint()
    assert world.store.reads[2:] == [["rolling/shop/", f"{OLD}/"]]


def test_only_a_snapshot_that_differs_is_published(world):
    world.clock.advance(5)
    world.store.keys["rolling/other/blendpercent"] = "1"
    world.hint()
    assert world.published == [SNAPSHOT]
    assert (world.state.read_at, world.state.changed_at) == (5 + GAP_SECONDS, 0)
    world.change(blendpercent="20")
    assert world.published[1:] == [attrs.evolve(SNAPSHOT, blend=20)]
    assert world.state.changed_at == world.clock.seconds()


def test_a_snapshot_that_does_not_differ_stays_the_same_object(world):
    before = world.state.snapshot
    world.hint()
    assert world.state.snapshot is before


def test_ids_that_move_are_followed_without_a_torn_view(world):
    """The promote happens between two reads: ids of one and instances of the other never were there together."""

    def promote() -> Deferred[Reading]:
        world.store.answer = None
        found = world.store.reading(world.store.reads[-1])
        world.store.keys |= {"rolling/shop/candidate/id": "rolling/null", "rolling/shop/stable/id": NEW}
        del world.store.keys[f"{OLD}/a"]
        return found

    world.store.keys["rolling/shop/candidate/id"] = NEW
    world.store.answer = promote
    world.hint()
    after = attrs.evolve(SNAPSHOT, stable=Version("shop-2", 8080, (Instance("10.0.0.2", 2),)))
    assert world.published == [SNAPSHOT, after]


def test_ids_that_never_stop_moving_are_not_chased_for_ever(world):
    count = 0

    def move() -> Reading:
        nonlocal count
        count += 1
        return Reading({"rolling/shop/stable/id": f"apps/app-v{count}-80/containers"})

    world.store.answer = move
    world.hint()
    assert count == CHASES
    assert "changed" in world.state.trouble
    assert world.published == [SNAPSHOT]


def test_hints_during_a_read_add_up_to_one_more(world):
    slow: Deferred[Reading] = Deferred()
    world.store.answer = lambda: slow
    world.hint()
    before = len(world.store.reads)
    for _ in range(100):
        world.store.changed()
    world.store.answer = None
    slow.callback(Reading(dict(KEYS)))
    world.clock.pump([GAP_SECONDS] * 10)
    assert len(world.store.reads) == before + 1


def test_hints_in_a_burst_cost_one_read(world):
    before = len(world.store.reads)
    for _ in range(100):
        world.store.changed()
    world.clock.pump([GAP_SECONDS] * 10)
    assert len(world.store.reads) == before + 1


def test_a_store_that_hints_at_every_read_does_not_make_it_spin(world):
    def hint_again() -> Deferred[Reading]:
        world.store.changed()
        return world.store.reading(world.store.reads[-1])

    world.store.answer = hint_again
    before = len(world.store.reads)
    world.hint()
    world.clock.pump([GAP_SECONDS] * 10)
    assert len(world.store.reads) == before + 11


async def _coroutine(answer: Any) -> Any:
    if isinstance(answer, BaseException):
        raise answer
    return answer


def _raise(wrong: BaseException) -> Any:
    raise wrong


@pytest.mark.parametrize("wrap", [lambda it: it, succeed, _coroutine], ids=["value", "Deferred", "coroutine"])
def test_a_plugin_may_answer_with_a_value_a_deferred_or_a_coroutine(world, wrap):
    world.store.answer = lambda: wrap(Reading({**KEYS, "rolling/shop/blendpercent": "7"}))
    world.hint()
    assert world.state.snapshot.blend == 7


BAD_READS: dict[str, Callable[[], Any]] = {
    "lost": lambda: fail(StoreLost("away")),
    "lost, raised": lambda: _raise(StoreLost("away")),
    "lost, in a coroutine": lambda: _coroutine(StoreLost("away")),
    "a mistake": lambda: _raise(KeyError("oops")),
    "a mistake, later": lambda: fail(ZeroDivisionError("oops")),
    "cancelled by itself": lambda: fail(asyncio.CancelledError()),
    "an exit": lambda: _raise(SystemExit(1)),
    "no Reading": lambda: None,
    "keys that are no mapping": lambda: Reading([1, 2]),  # type: ignore[arg-type]
    "keys that are numbers": lambda: Reading({1: "2"}),  # type: ignore[dict-item]
    "texts that are numbers": lambda: Reading({**KEYS, "rolling/shop/blendpercent": 7}),  # type: ignore[dict-item]
    "a Deferred cancelled": lambda: _cancelled(),
}


def _cancelled() -> Deferred[Any]:
    deferred: Deferred[Any] = Deferred()
    deferred.cancel()
    return deferred


@pytest.mark.parametrize("answer", BAD_READS.values(), ids=BAD_READS)
def test_whatever_a_read_does_the_last_snapshot_stays_and_the_watching_goes_on(world, answer):
    with capturedLogs() as events:
        world.store.answer = answer
        world.hint()
        assert world.state.trouble
        assert world.state.snapshot is world.published[0]
        assert messages(events, "the store is lost")
        world.store.answer = None
        world.store.keys["rolling/shop/blendpercent"] = "9"
        world.clock.pump([retry_seconds(1, 1.0), GAP_SECONDS])  # without a hint
    assert world.state.trouble is None
    assert world.published[-1].blend == 9


def test_a_first_read_that_fails_ends_the_waiting_too():
    world = World()
    world.store.answer = lambda: fail(StoreLost("away"))
    world.start()
    assert fired(world.watcher.first) is None
    assert world.published == []
    assert (world.state.snapshot, world.state.trouble) == (None, "away")
    assert not world.watcher.known.called
    world.store.answer = None
    world.hint()
    assert fired(world.watcher.known) is None


def test_a_read_without_an_answer_is_given_up():
    world = World()
    given_up = []
    world.store.answer = lambda: Deferred(given_up.append)
    world.start()
    world.clock.advance(READ_SECONDS - 0.1)
    assert not world.watcher.first.called
    world.clock.advance(0.1)
    assert world.watcher.first.called
    assert len(given_up) == 1
    assert "no answer within 10 seconds" in world.state.trouble


def test_retries_wait_longer_and_longer_and_never_too_long():
    for draw in (0.0, 0.5, 1.0):
        waits = [retry_seconds(failures, draw) for failures in range(1, 2000)]
        assert waits == sorted(waits)
        assert 0.25 <= waits[0] <= 0.5
        assert 2.5 <= waits[-1] <= 5.0


def test_it_retries_without_any_hint_until_the_store_is_back(world):
    world.lose()
    before, begun = len(world.store.reads), world.clock.seconds()
    world.clock.pump([0.05] * 1200)
    tries = len(world.store.reads) - before
    assert 10 <= tries <= 16, "0.5, 1, 2, 4, then every 5 seconds, in one minute"
    assert world.state.lost_at == begun
    assert world.state.age(world.clock.seconds()) == pytest.approx(60)
    world.store.answer = None
    world.clock.pump([5.0, GAP_SECONDS])
    assert (world.state.trouble, world.state.lost_at) == (None, None)
    assert world.state.age(world.clock.seconds() + 1000) == 0


def test_a_store_lost_is_logged_once_and_its_return_once(world):
    with capturedLogs() as events:
        world.lose()
        world.clock.pump([0.05] * 1200)
        world.store.answer = None
        world.hint()
        world.hint()
    assert messages(events, "shop: the store is lost: fake:shop is away") == messages(events, "lost")
    assert len(messages(events, "lost")) == 1
    assert len(messages(events, "back after 60")) == 1


def test_another_reason_is_logged_as_well_and_all_of_them_anew_after_a_return(world):
    with capturedLogs() as events:
        world.lose("line 3")
        world.lose("line 5")
        world.lose("line 3")
        assert len(messages(events, "lost")) == 2
        world.store.answer = None
        world.hint()
        world.lose("line 3")
        assert len(messages(events, "lost")) == 3


def test_reasons_without_end_do_not_fill_the_log(world):
    with capturedLogs() as events:
        for number in range(1000):
            world.lose(f"fake:shop is away for the {number}th time")
    assert 1 < len(messages(events, "lost")) <= 20


def test_a_problem_is_logged_once_for_each_time_that_it_appears(world):
    with capturedLogs() as events:
        world.change(blendpercent="much")
        world.change(stickyness="0")
        assert len(messages(events, "blendpercent is 'much'")) == 1
        world.change(blendpercent="1")
        world.change(blendpercent="much")
        assert len(messages(events, "blendpercent is 'much'")) == 2
    assert {event["log_level"] for event in events if "problem" in event} == {LogLevel.warn}


def test_a_receiver_that_fails_does_not_end_the_watching():
    world = World()
    world.watcher = world.make(lambda snapshot: _raise(ValueError("no")))
    with capturedLogs() as events:
        world.start()
        world.change(blendpercent="3")
    assert world.state.snapshot.blend == 3
    assert len(messages(events, "could not be put in force")) == 2


@pytest.mark.parametrize("wrong", [KeyError("oops"), StoreLost("away")])
def test_a_store_that_cannot_be_watched_is_read_now_and_then(wrong):
    world = World()
    world.store.watch = lambda changed: _raise(wrong)
    world.start()
    world.store.keys["rolling/shop/blendpercent"] = "3"
    world.clock.pump([0.5] * 20)
    assert world.state.snapshot.blend == 3
    assert 3 <= len(world.store.reads) <= 6


# Who has just written


def test_refresh_fires_after_a_read_that_began_after_it(world):
    slow: Deferred[Reading] = Deferred()
    world.store.answer = lambda: slow
    world.hint()
    asked = world.watcher.refresh()
    world.store.answer = None
    world.store.keys["rolling/shop/blendpercent"] = "33"
    slow.callback(Reading(dict(KEYS)))
    assert not asked.called
    world.clock.advance(GAP_SECONDS)
    assert fired(asked).snapshot.blend == 33


def test_refresh_of_a_store_that_is_away_says_so(world):
    world.store.answer = lambda: fail(StoreLost("away"))
    asked, forgotten = world.watcher.refresh(), world.watcher.refresh()
    forgotten.addErrback(lambda reason: None)
    forgotten.cancel()
    world.clock.advance(GAP_SECONDS)
    assert fired(asked).trouble == "away"


def test_refresh_ends_when_the_watcher_is_stopped(world):
    world.store.answer = Deferred
    early = world.watcher.refresh()
    world.clock.advance(GAP_SECONDS)
    late = world.watcher.refresh()
    world.watcher.stopService()
    assert fired(early) == fired(late) == fired(world.watcher.refresh()) == world.state


# Stopping


def _in_a_read(world: World) -> None:
    world.store.answer = Deferred
    world.hint()


STAGES: dict[str, Callable[[World], Any]] = {
    "waiting for a hint": lambda world: None,
    "in a read": _in_a_read,
    "between hint and read": lambda world: world.store.changed(),
    "waiting for a retry": lambda world: world.lose(),
}


@pytest.mark.parametrize("stage", STAGES.values(), ids=STAGES)
def test_stopping_ends_all_waits_and_closes_the_store(world, stage):
    stage(world)
    with capturedLogs() as events:
        assert fired(world.watcher.stopService()) is None
    assert world.store.is_closed
    assert world.clock.getDelayedCalls() == []
    assert events == []
    reads = len(world.store.reads)
    world.store.changed()
    world.store.changed()
    world.clock.advance(1000)
    assert len(world.store.reads) == reads


def test_stopping_in_the_first_read_ends_the_waiting_for_it():
    world = World()
    world.store.answer = Deferred
    world.start()
    world.watcher.stopService()
    assert fired(world.watcher.first) is None
    assert world.state.trouble is None


@pytest.mark.parametrize("close", [lambda: _raise(KeyError()), lambda: fail(KeyError()), Deferred])
def test_a_store_that_does_not_close_is_left_behind(world, close):
    world.store.close = close
    stopped = world.watcher.stopService()
    world.clock.advance(READ_SECONDS)
    assert fired(stopped) is None
    assert world.clock.getDelayedCalls() == []


# The snapshot on disk


def _saved(tmp_path) -> Saved:
    return Saved(str(tmp_path), "shop", maybeDeferred)


def test_started_without_the_store_it_serves_what_was_saved(tmp_path):
    before = World(saved=_saved(tmp_path))
    before.clock.advance(500)
    before.start()
    world = World(saved=_saved(tmp_path))
    world.clock.advance(560)
    world.store.answer = lambda: fail(StoreLost("away"))
    with capturedLogs() as events:
        world.start()
    assert "shop: serving what fake:shop held 60 s ago" in [formatEvent(event) for event in events]
    assert world.published == [SNAPSHOT]
    assert world.state == State("fake:shop", SNAPSHOT, Source.SAVED, 500, 560, 560, "away")
    assert world.state.age(600) == 100
    world.store.answer = None
    world.hint()
    assert world.published == [SNAPSHOT], "it was the same"
    assert (world.state.source, world.state.trouble) == (Source.STORE, None)


def test_a_store_that_hangs_at_the_start_is_waited_for_two_seconds(tmp_path):
    World(saved=_saved(tmp_path)).start()
    world = World(saved=_saved(tmp_path))
    hanging: Deferred[Reading] = Deferred()
    world.store.answer = lambda: hanging
    world.start()
    world.clock.advance(SAVED_SECONDS - 0.1)
    assert not world.watcher.first.called
    world.clock.advance(0.1)
    assert world.watcher.first.called
    assert world.watcher.known.called
    assert world.published == [SNAPSHOT]
    assert (world.state.source, world.state.trouble) == (Source.SAVED, None)
    world.store.answer = None
    world.store.reading(["rolling/shop/"]).addCallback(hanging.callback)
    assert world.state.source is Source.STORE
    world.watcher.stopService()
    assert world.clock.getDelayedCalls() == []


def test_a_hanging_store_with_nothing_saved_is_waited_for(tmp_path):
    world = World(saved=_saved(tmp_path))
    world.store.answer = Deferred
    world.start()
    world.clock.advance(SAVED_SECONDS)
    assert not world.watcher.first.called
    world.watcher.stopService()
    assert world.clock.getDelayedCalls() == []


def test_what_was_saved_is_not_looked_at_when_the_store_answers(tmp_path):
    _saved(tmp_path).keep(Kept({"rolling/shop/blendpercent": "99"}, 1.0, "fake:old"))
    world = World(saved=_saved(tmp_path)).start()
    assert world.published == [SNAPSHOT]
    world.lose()
    assert world.published == [SNAPSHOT]


def test_only_the_keys_that_make_the_snapshot_are_saved(tmp_path):
    world = World(saved=_saved(tmp_path)).start()
    world.store.keys["rolling/shop/stable/id"] = NEW
    world.hint()
    kept = _saved(tmp_path).load()
    assert kept is not None
    assert kept.keys == {key: text for key, text in world.store.keys.items() if not key.startswith(OLD)}


def test_an_empty_state_directory_is_no_trouble(tmp_path):
    world = World(saved=_saved(tmp_path / "not there yet"))
    world.store.answer = lambda: fail(StoreLost("away"))
    world.start()
    assert world.state.snapshot is None
    world.store.answer = None
    world.hint()
    assert (tmp_path / "not there yet").exists()
