"""Changes on their way to a store: others write meanwhile, the store breaks off, and each end is told truly."""

from __future__ import annotations

import random
import stat
from collections.abc import Coroutine
from typing import Any

import pytest
from twisted.internet.defer import CancelledError, Deferred, execute, fail
from twisted.internet.task import Clock

from rolling_router.errors import Conflict, RouterError, SettingError, StoreLost
from rolling_router.interfaces import KnownVersion
from rolling_router.rollout.change import Operation, Promote, Restore, RollBack, SetBlend, SetCandidate, SetUp
from rolling_router.rollout.control import Control, Outcome, Stale, Unfinished
from rolling_router.rollout.history import History
from rolling_router.rollout.standing import Texts
from tests.stores import MemoryStore

A, B, C = (f"apps/app-{name}-3000/containers" for name in "abc")
INSTANCES = {f"{path}/1": f"10.0.0.{number}:1" for number, path in enumerate((A, B, C), 1)}
BOTH = Texts(A, B, "30", "1")


def keys(texts: Texts) -> dict[str, str]:
    return {key: text for key, text in texts.as_keys("shop").items() if text is not None}


def memory(texts: Texts = BOTH, *, is_atomic: bool = True) -> MemoryStore:
    return MemoryStore({"rolling/null": "-", **keys(texts), **INSTANCES}, is_atomic=is_atomic)


def texts_of(store: MemoryStore) -> Texts:
    return Texts.of("shop", store.keys)


class Desk:
    """A control, and a clock that goes on by itself when somebody waits for it."""

    def __init__(self, store: MemoryStore, path: Any = None, seed: int = 1) -> None:
        self.clock = Clock()
        self.clock.advance(1_795_000_000)
        self.history = None if path is None else History(str(path), "shop", execute)
        self.control = Control(
            "shop",
            store,
            strategies=("cookie", "ip-hash"),
            default="cookie",
            clock=self.clock,
            random=random.Random(seed).random,
            history=self.history,
        )

    def wait(self, work: Coroutine[Any, Any, Any]) -> Any:
        results: list[Any] = []
        Deferred.fromCoroutine(work).addBoth(results.append)
        for _ in range(1000):
            if results:
                break
            self.clock.advance(0.1)
        (result,) = results
        if hasattr(result, "raiseException"):
            result.raiseException()
        return result

    def change(self, operation: Operation, **how: Any) -> Outcome:
        return self.wait(self.control.change(operation, **{"who": "test", **how}))

    def told(self, operation: Operation, **how: Any) -> Outcome | RouterError:
        """What came of it, good or bad."""
        try:
            return self.change(operation, **how)
        except RouterError as wrong:
            return wrong


def test_a_change_is_written_and_its_outcome_says_what_came_of_it():
    store = memory()
    outcome = Desk(store).change(SetBlend(40))
    assert outcome.is_changed
    assert (outcome.before.snapshot.blend, outcome.standing.snapshot.blend) == (30, 40)
    assert store.keys["rolling/shop/blendpercent"] == "40"
    assert outcome.standing.revision != outcome.before.revision


def test_a_change_that_changes_nothing_writes_nothing(tmp_path):
    store = memory()
    outcome = Desk(store, tmp_path).change(SetBlend(30))
    assert not outcome.is_changed
    assert store.puts == []
    assert list(tmp_path.iterdir()) == []


def test_the_revision_is_of_the_four_settings_alone():
    store = memory()
    desk = Desk(store)
    before = desk.wait(desk.control.view()).revision
    store.write(f"{A}/2", "10.0.0.9:1")
    store.write("rolling/shop/health/path", "/up")
    assert desk.wait(desk.control.view()).revision == before
    desk.change(SetBlend(5), based_on=before)
    with pytest.raises(Stale, match=r"at revision .*, not .* any more") as stale:
        desk.change(SetBlend(6), based_on=before)
    assert stale.value.standing.snapshot.blend == 5
    assert store.keys["rolling/shop/blendpercent"] == "5"


def test_a_change_is_worked_out_anew_when_somebody_else_was_faster():
    store = memory()
    store.before_put = lambda: store.write("rolling/shop/stickyness", "0")
    assert Desk(store).change(SetBlend(40)).standing.texts == Texts(A, B, "40", "0")
    assert len(store.puts) == 1


def test_a_change_based_on_a_revision_is_not_repeated_blindly():
    store = memory()
    store.before_put = lambda: store.write("rolling/shop/stickyness", "0")
    desk = Desk(store)
    with pytest.raises(Stale):
        desk.change(SetBlend(40), based_on=desk.wait(desk.control.view()).revision)
    assert store.puts == []


def test_others_who_write_without_end_end_in_a_conflict():
    store = memory()
    count = iter(range(1000))
    store.before_put = lambda: store.write("rolling/shop/stickyness", f"{next(count)}")
    with pytest.raises(Conflict, match="nothing was written; try again"):
        Desk(store).change(SetBlend(40))


def test_a_change_that_is_there_already_is_done_whatever_it_was_based_on():
    desk = Desk(memory())
    old = desk.wait(desk.control.view()).revision
    assert desk.change(Promote("b"), based_on=old).is_changed
    assert not desk.change(Promote("b"), based_on=old).is_changed
    with pytest.raises(Stale):  # rather than be told that there is no candidate, which is news
        desk.change(Promote("c"), based_on=old)


# Set up


def test_versions_that_a_store_lists_and_those_that_have_instances_can_be_chosen():
    store = memory()
    store.lists(KnownVersion("d", "Fourth", None, False), KnownVersion("a", "First", None, True))
    desk = Desk(store)
    found = desk.wait(desk.control.versions())
    assert [(one.id, one.name, one.port, one.instances, one.is_ready) for one in found] == [
        ("d", "Fourth", None, 0, False),
        ("a", "First", 3000, 1, True),
        ("b", "b", 3000, 1, None),
        ("c", "c", 3000, 1, None),
    ]
    assert desk.change(SetCandidate("d")).standing.texts.candidate == "apps/app-d-3000/containers"


def test_what_names_no_version_does_not_need_the_list():
    store = memory()
    store.lists()
    store.versions = lambda: fail(StoreLost("no list"))
    desk = Desk(store)
    for operation in (SetBlend(1), Promote(), RollBack(), Restore(BOTH)):
        assert desk.change(operation).is_changed or operation == RollBack()
    with pytest.raises(StoreLost, match="no list"):
        desk.change(SetCandidate("c"))


class MadeByItsFirstWrite(MemoryStore):
    """As a file that is not there."""

    def read(self, prefixes):
        self.is_away = not self.keys
        try:
            return super().read(prefixes)
        finally:
            self.is_away = False


def test_a_store_that_is_made_by_its_first_write_can_be_set_up():
    store = MadeByItsFirstWrite({})
    assert Desk(store).change(SetUp()).is_changed
    assert store.keys == {"rolling/null": "-", **keys(Texts("rolling/null", "rolling/null", "0", "0"))}
    with pytest.raises(StoreLost):
        Desk(MadeByItsFirstWrite({})).change(RollBack())


def test_a_change_whose_client_leaves_goes_on_to_its_end(tmp_path):
    store = memory(is_atomic=False)
    desk = Desk(store, tmp_path)
    put, held = store.put, []

    def slow(changes, expected):
        held.append((changes, expected, waiting := Deferred()))
        return waiting

    store.put = slow
    ends = []
    asked = Deferred.fromCoroutine(desk.control.change(Promote(), who="ann"))
    asked.addBoth(ends.append)
    asked.cancel()
    assert ends[0].check(CancelledError)
    settled = desk.control.settled()
    assert not settled.called
    ((changes, expected, waiting),) = held
    put(changes, expected).chainDeferred(waiting)
    desk.clock.advance(1)
    assert settled.called
    assert desk.control.settled().called
    assert texts_of(store) == Texts(B, "rolling/null", "0", "1")
    assert [entry.who for entry in desk.wait(desk.control.last())] == ["ann"]


# By lot


@pytest.mark.parametrize("is_atomic", [True, False])
@pytest.mark.parametrize("seed", range(300))
def test_whatever_happens_what_is_told_is_true(seed, is_atomic):
    lot = random.Random(seed)
    store = memory(Texts(lot.choice([A, C]), lot.choice([B, "rolling/null"]), lot.choice(["0", "30", "100"]), "1"))
    store.is_atomic = is_atomic
    desk, other = Desk(store, seed=seed), Desk(store, seed=seed + 1)
    store.break_after = lot.choice([None, None, 0, 1, 2, 3])
    if lot.random() < 0.3:
        texts = iter([lot.choice(["0", "1", "cookie"])])
        store.before_put = lambda: [store.write("rolling/shop/stickyness", text) for text in texts]
    based_on = lot.choice([None, desk.wait(desk.control.view()).revision])
    before = texts_of(store)
    operation = lot.choice([*OPERATIONS, SetBlend(50), SetCandidate("a"), SetUp("a", "b", 10)])
    told = desk.told(operation, based_on=based_on)
    now = texts_of(store)
    if isinstance(told, Outcome):
        assert told.standing.texts == now
        assert told.is_changed == (store.puts != [])
        assert other.wait(other.control.view()).revision == told.standing.revision
    elif isinstance(told, Stale):
        assert told.standing.texts == now
    else:
        assert isinstance(told, SettingError) or "othing was" in str(told), told
        assert (now.stable, now.candidate, now.blend) == (before.stable, before.candidate, before.blend)


# Stores that are not atomic, and stores that break off

OPERATIONS = [
    Promote(),
    RollBack(),
    SetCandidate("c"),
    SetBlend(7),
    SetUp("c", None, 3),
    Restore(Texts(B, None, "0", "1")),
]


@pytest.mark.parametrize("operation", OPERATIONS, ids=str)
@pytest.mark.parametrize("is_atomic", [True, False])
def test_a_write_that_breaks_off_anywhere_is_finished_or_told(operation, is_atomic, tmp_path):
    whole = memory(is_atomic=is_atomic)
    aim = Desk(whole).change(operation, force=True).standing.texts
    assert texts_of(whole) == aim
    for at in range(len(whole.puts[0]) + 1):
        store = memory(is_atomic=is_atomic)
        store.break_after = at
        desk = Desk(store, tmp_path)
        if at == 0:
            with pytest.raises(StoreLost, match="Nothing was changed; try again"):
                desk.change(operation, force=True)
            assert texts_of(store) == BOTH
        else:
            assert desk.change(operation, force=True).standing.texts == aim
            assert texts_of(store) == aim


@pytest.mark.parametrize("operation", OPERATIONS, ids=str)
def test_a_process_that_died_between_two_writes_is_made_good_by_the_same_change(operation):
    whole = memory(is_atomic=False)
    aim = Desk(whole).change(operation, force=True).standing.texts
    for state in whole.states:
        store = MemoryStore(state, is_atomic=False)
        if isinstance(operation, Promote) and Texts.of("shop", state) == aim:
            continue  # a second promote has no candidate
        assert Desk(store).change(operation, force=True).standing.texts == aim


@pytest.mark.parametrize("operation", [Promote(), RollBack(), SetCandidate("c")], ids=str)
def test_a_change_whose_writer_died_is_told_a_minute_later_and_can_be_undone(operation, tmp_path):
    store = memory(is_atomic=False)
    desk = Desk(store, tmp_path)
    store.put = lambda changes, expected: store.write(*next(iter(changes.items()))) or Deferred()
    dying = Deferred.fromCoroutine(desk.control.change(operation, who="ann"))
    dying.addErrback(lambda reason: None)
    del store.put
    assert texts_of(store) != BOTH
    later = Desk(store, tmp_path)
    assert later.wait(later.control.interrupted()) is None  # it may be at it still
    later.clock.advance(61)
    entry = later.wait(later.control.interrupted())
    assert (entry.who, entry.what, entry.old) == ("ann", operation.what, BOTH)
    assert later.wait(later.control.undo(who="bob")).standing.texts == BOTH
    assert later.wait(later.control.interrupted()) is None
    dying.cancel()


def test_what_ended_well_or_was_overtaken_is_not_told_as_half_done(tmp_path):
    store = memory(is_atomic=False)
    desk = Desk(store, tmp_path)
    desk.change(Promote())
    desk.clock.advance(61)
    assert desk.wait(desk.control.interrupted()) is None
    assert [entry.what for entry in desk.wait(desk.control.last())] == ["promote"]


def test_a_store_that_stays_away_after_half_a_change_is_told_as_such():
    store = memory(is_atomic=False)
    store.break_after = 1
    desk = Desk(store)
    seen = []
    write = store.write

    def cut(key, text):
        write(key, text)
        seen.append(key)
        store.is_away = True

    store.write = cut
    with pytest.raises(StoreLost, match="Whether the change happened is not known"):
        desk.change(Promote())
    store.is_away, store.write = False, write
    assert seen == ["rolling/shop/stable/id"]
    assert desk.change(Promote()).standing.texts == Texts(B, "rolling/null", "0", "1")


def test_half_a_change_that_cannot_be_finished_is_told_as_such():
    store = memory(is_atomic=False)
    store.break_after = 1
    tries = iter(range(100))

    def refuse():
        store.break_after = 1 if next(tries) == 0 else 0

    store.before_put = refuse
    with pytest.raises(Unfinished, match="The change was begun and not finished; make it again"):
        Desk(store).change(Promote())
    assert texts_of(store) == Texts(B, B, "30", "1")


def test_a_writer_who_comes_in_between_is_not_overwritten():
    store = memory(is_atomic=False)
    write = store.write

    def other(key, text):
        write(key, text)
        write("rolling/shop/blendpercent", "77")

    store.write = other
    with pytest.raises(Stale, match="changed by somebody else") as stale:
        Desk(store).change(SetCandidate("c"))
    assert stale.value.standing.texts == Texts(A, C, "77", "1")


@pytest.mark.parametrize("at", [0, 1, 2])
def test_a_writer_who_comes_in_after_a_broken_write_is_not_overwritten(at):
    store = memory(is_atomic=False)
    store.break_after = at
    put = store.put

    def then_another(changes, expected):
        broken = put(changes, expected)
        store.write("rolling/shop/stickyness", "ip-hash")
        return broken

    store.put = then_another
    with pytest.raises(Stale, match="while it was being written, somebody else changed shop") as stale:
        Desk(store).change(Promote())
    assert stale.value.standing.texts == texts_of(store)
    assert texts_of(store).stickiness == "ip-hash"
    assert len(store.puts) == 1


# History and undo


def test_the_history_has_who_when_what_from_to_and_why(tmp_path):
    desk = Desk(memory(), tmp_path)
    outcome = desk.change(Promote(), who="Ann\nBob", why="it\u2028works\x1b[31m")
    (entry,) = desk.wait(desk.control.last())
    assert (entry.who, entry.why, entry.what) == ("Ann\nBob", "it\u2028works\x1b[31m", "promote")
    assert (entry.old, entry.new) == (BOTH, Texts(B, "rolling/null", "0", "1"))
    assert (entry.before, entry.after) == (outcome.before.revision, outcome.standing.revision)
    assert entry.as_dict()["when"].startswith("2026-11-18T")
    line = desk.history.path.read_bytes()
    assert line.count(b"\n") == 1
    assert line.isascii()
    assert b"\x1b" not in line
    assert stat.S_IMODE(desk.history.path.stat().st_mode) == 0o600


def test_undo_puts_back_letter_by_letter_and_undoing_that_does_it_again(tmp_path):
    before = Texts(f" {A}", B, " 30", None)
    desk = Desk(store := memory(before), tmp_path)
    after = desk.change(Promote()).standing.texts
    assert desk.wait(desk.control.undo(who="test")).standing.texts == before
    assert texts_of(store) == before
    assert desk.wait(desk.control.undo(who="test")).standing.texts == after
    assert [entry.what for entry in desk.wait(desk.control.last())] == ["undo", "undo", "promote"]


def test_undo_is_refused_when_somebody_changed_the_settings_since_unless_forced(tmp_path):
    desk = Desk(store := memory(), tmp_path)
    desk.change(SetBlend(40))
    store.write("rolling/shop/blendpercent", "50")
    with pytest.raises(Stale, match="since the last change in the history, blend by test"):
        desk.wait(desk.control.undo(who="test"))
    assert desk.wait(desk.control.undo(who="test", force=True)).standing.texts == BOTH


def test_an_undo_that_was_based_on_something_else_is_not_repeated(tmp_path):
    desk = Desk(memory(), tmp_path)
    now = desk.change(SetBlend(40)).standing.revision
    assert desk.wait(desk.control.undo(who="test", based_on=now)).is_changed
    with pytest.raises(Stale):
        desk.wait(desk.control.undo(who="test", based_on=now))


def test_undo_without_a_history_says_so(tmp_path):
    desk, empty = Desk(memory()), Desk(memory(), tmp_path)
    with pytest.raises(SettingError, match="no history is kept"):
        desk.wait(desk.control.undo(who="test"))
    with pytest.raises(SettingError, match="the history of shop has no change yet"):
        empty.wait(empty.control.undo(who="test"))


def test_a_history_that_cannot_be_written_does_not_fail_the_change(tmp_path):
    (tmp_path / "file").write_text("")
    outcome = Desk(memory(), tmp_path / "file").change(SetBlend(1))
    assert outcome.is_changed
    assert "the history cannot be written" in outcome.trouble


def test_words_for_the_history_have_a_bound():
    with pytest.raises(SettingError, match="the reason has 1001 characters; it may have 1000"):
        Desk(memory()).change(SetBlend(1), why="x" * 1001)
