"""What may be done to a rollout, and in which order it is written."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import attrs
import pytest

from rolling_router.errors import SettingError
from rolling_router.interfaces import KnownVersion
from rolling_router.rollout.change import (
    Change,
    Ground,
    Operation,
    Promote,
    Restore,
    RollBack,
    SetBlend,
    SetCandidate,
    SetStable,
    SetStickiness,
    SetUp,
    decide,
)
from rolling_router.rollout.choices import find_choices
from rolling_router.rollout.order import shares
from rolling_router.rollout.standing import Standing, Texts

APP = "shop"
A, B, C = (f"apps/app-{name}-3000/containers" for name in "abc")
INSTANCES = {f"{path}/1": f"10.0.0.{number}:1" for number, path in enumerate((A, B, C), 1)}
STRATEGIES = ("cookie", "ip-hash")


def ground(texts: Texts, *listed: KnownVersion, instances=INSTANCES, null: bool = True, force: bool = False) -> Ground:
    keys = {key: text for key, text in texts.as_keys(APP).items() if text is not None}
    keys.update({**instances, **({"rolling/null": "-"} if null else {})})
    standing = Standing.read(APP, keys, STRATEGIES, "cookie")
    return Ground(standing, find_choices(keys, listed), STRATEGIES, force)


def decided(operation: Operation, texts: Texts, *listed: KnownVersion, **how) -> Change:
    return decide(operation, ground(texts, *listed, **how))


def short(change: Change) -> dict[str, str | None]:
    return {key.removeprefix("rolling/shop/"): text for key, text in change.changes.items()}


BOTH = Texts(A, B, "30", "1")
ALONE = Texts(A, "rolling/null", "0", "0")


def test_a_promote_writes_stable_first_then_blend_then_candidate():
    change = decided(Promote(), BOTH)
    assert list(short(change).items()) == [("stable/id", B), ("blendpercent", "0"), ("candidate/id", "rolling/null")]
    assert change.expected == BOTH.as_keys(APP)


def test_a_roll_back_writes_blend_first_and_leaves_stable_alone():
    assert list(short(decided(RollBack(), BOTH)).items()) == [("blendpercent", "0"), ("candidate/id", "rolling/null")]


def test_another_candidate_begins_at_blend_0_which_is_written_first():
    assert list(short(decided(SetCandidate("c"), BOTH)).items()) == [("blendpercent", "0"), ("candidate/id", C)]
    assert decided(SetCandidate("b"), BOTH).changes == {}


def test_no_candidate_is_a_choice_too():
    for none in (None, "rolling/null"):
        assert short(decided(SetCandidate(none), BOTH)) == {"blendpercent": "0", "candidate/id": "rolling/null"}


def test_every_blend_can_be_set_and_nothing_else():
    for percent in range(101):
        assert short(decided(SetBlend(percent), BOTH)) == ({} if percent == 30 else {"blendpercent": str(percent)})
    for wrong in (-1, 101, 1.5, "5", None, True):
        with pytest.raises(SettingError, match=r"blend is .*; it must be a whole number from 0 to 100"):
            decided(SetBlend(wrong), BOTH)


def test_a_blend_without_a_candidate_is_refused_unless_forced():
    with pytest.raises(SettingError, match="no candidate"):
        decided(SetBlend(5), ALONE)
    assert short(decided(SetBlend(5), ALONE, force=True)) == {"blendpercent": "5"}
    assert decided(SetBlend(0), ALONE).changes == {}


def test_stickiness_is_0_or_1_or_a_strategy():
    for word in ("0", "1", *STRATEGIES):
        assert short(decided(SetStickiness(word), BOTH)) == ({} if word == "1" else {"stickyness": word})
    refusal = r"stickiness is 'cooky'; it must be on \(1\), off \(0\) or one of: cookie, ip-hash"
    with pytest.raises(SettingError, match=refusal):
        decided(SetStickiness("cooky"), BOTH)
    assert short(decided(SetStickiness("cooky"), BOTH, force=True)) == {"stickyness": "cooky"}


def test_what_changes_nothing_writes_nothing_however_it_is_written():
    loose = Texts(f" {A}/", "apps/app-rolling/null-3000/containers", " 0 ", "1\n")
    for operation in (SetStable("a"), SetCandidate(None), SetBlend(0), SetStickiness("1"), RollBack(), SetUp("a")):
        assert decided(operation, loose, null=False).changes == (
            {"rolling/null": "-"} if operation == SetUp("a") else {}
        )


@pytest.mark.parametrize(
    ("operation", "texts", "text"),
    [
        (Promote(), ALONE, "there is no candidate to promote; choose one first"),
        (Promote("c"), BOTH, "the candidate is b, not c; look again"),
        (Promote(), Texts(A, "apps/app-gone-3000/containers", "5", "0"), "the candidate gone has no instance"),
        (SetCandidate("a"), BOTH, "a is the stable version already; choose another one"),
        (SetStable("b"), BOTH, "b is the candidate version already; promote it instead"),
        (SetCandidate("nope"), BOTH, "there is no version 'nope'; there are: a, b, c"),
        (SetCandidate("a/b"), BOTH, "the candidate version is 'a/b'; it must be"),
        (SetCandidate("c", 3001), BOTH, "the version c is not registered with port 3001; it is with: 3000"),
        (SetCandidate("c", 0), BOTH, "the port is 0; it must be a number from 1 to 65535"),
        (SetStable(None), BOTH, "a serves now, and without a stable version nobody is served"),
        (SetBlend(1), Texts(), "the app shop is not set up in this store; set it up first"),
    ],
    ids=str,
)
def test_refusals_name_the_thing_the_value_and_the_mend(operation, texts, text):
    with pytest.raises(SettingError, match=text):
        decided(operation, texts)


def test_what_is_refused_to_protect_from_mishaps_can_be_forced():
    gone = Texts(A, "apps/app-gone-3000/containers", "5", "0")
    assert decided(Promote(), gone, force=True).aim == Texts(gone.candidate, "rolling/null", "0", "0")
    assert decided(SetCandidate("nope"), BOTH, force=True).aim.candidate == "apps/app-nope-3000/containers"
    assert decided(SetStable(None), BOTH, force=True).aim.stable == "rolling/null"


def test_a_promote_that_was_broken_off_is_finished_by_another():
    assert decided(Promote(), Texts(B, B, "30", "1")).aim == Texts(B, "rolling/null", "0", "1")
    assert decided(Promote(), Texts(B, B, "0", "1")).aim == Texts(B, "rolling/null", "0", "1")
    assert decided(Promote("b"), Texts(B, "rolling/null", "0", "1")).changes == {}


# Ports


def test_the_port_is_that_under_which_the_version_is_registered():
    instances = {"apps/app-d-x-4000/containers/1": "h:1", "apps/app-d-x-5000/containers/1": "h:2"}
    with pytest.raises(SettingError, match="d-x is registered with more than one port; give one of: 4000, 5000"):
        decided(SetCandidate("d-x"), ALONE, instances={**INSTANCES, **instances})
    aim = decided(SetCandidate("d-x", 5000), ALONE, instances={**INSTANCES, **instances}).aim
    assert aim.candidate == "apps/app-d-x-5000/containers"
    del instances["apps/app-d-x-4000/containers/1"]
    assert decided(SetCandidate("d-x"), ALONE, instances=instances, force=True).aim == aim


def test_the_port_of_a_version_that_never_ran_is_the_other_roles_or_everyones():
    listed = KnownVersion("new", "New one")
    assert decided(SetCandidate("new"), ALONE, listed).aim.candidate == "apps/app-new-3000/containers"
    empty = Texts("rolling/null", "rolling/null", "0", "0")
    assert decided(SetStable("new"), empty, listed).aim.stable == "apps/app-new-3000/containers"
    with pytest.raises(SettingError, match="the port of new is not known; give it"):
        decided(SetStable("new"), empty, listed, instances={})
    assert decided(SetStable("new", 80), empty, listed, instances={}).aim.stable == "apps/app-new-80/containers"


# Set up


def test_setting_up_makes_all_keys_and_repeats_well():
    change = decided(SetUp(), Texts(), instances={}, null=False)
    assert change.aim == Texts("rolling/null", "rolling/null", "0", "0")
    assert next(iter(change.changes)) == "rolling/null"
    assert decided(SetUp(), change.aim).changes == {}


def test_setting_up_leaves_what_is_there_and_mends_what_cannot_be_read():
    assert decided(SetUp(), BOTH).changes == {}
    assert decided(SetUp("c"), BOTH).aim == attrs.evolve(BOTH, stable=C)
    assert decided(SetUp(), Texts("nonsense", None, "many", "no")).aim == Texts(
        "rolling/null", "rolling/null", "0", "0"
    )
    gone = Texts("apps/app-gone-3000/containers", B, "5", "0")
    assert decided(SetUp(), gone).aim == gone


def test_all_can_be_set_up_at_once():
    change = decided(SetUp("a", "b", 25, "ip-hash", 3000), Texts(), null=False)
    assert change.aim == Texts(A, B, "25", "ip-hash")


# All states

TEXTS = [None, "rolling/null", A, B]
STATES = [
    Texts(*texts) for texts in itertools.product(TEXTS, [*TEXTS, C, "bad"], [None, "0", "30", "100", "x"], ["0", "1"])
]
OPERATIONS: list[Operation] = [
    SetUp(),
    SetUp("a", "b", 50),
    *(SetStable(one) for one in (None, "a", "c")),
    *(SetCandidate(one) for one in (None, "a", "c")),
    *(SetBlend(percent) for percent in (0, 1, 100)),
    SetStickiness("cookie"),
    Promote(),
    RollBack(),
]


def steps(before: Texts, change: Change) -> Iterator[Texts]:
    """The settings after each single write."""
    keys = before.as_keys(APP)
    for key, text in change.changes.items():
        if key in keys:
            keys[key] = text
        yield Texts(*keys.values())


def check(before: Texts, change: Change) -> None:
    *between, last = [before, *steps(before, change)]
    assert last == change.aim
    involved = {*shares(before), *shares(last)}
    for texts in between:
        assert set(shares(texts)) <= involved, (before, last, texts)


@pytest.mark.parametrize("operation", OPERATIONS, ids=str)
def test_no_state_between_sends_traffic_to_a_version_that_the_change_does_not_involve(operation):
    tried = 0
    for before, force in itertools.product(STATES, (False, True)):
        try:
            change = decided(operation, before, force=force)
        except SettingError:
            continue
        tried += 1
        check(before, change)
        again = decided(operation, change.aim, force=True) if not isinstance(operation, Promote) else None
        assert again is None or again.changes == {}, (operation, before)
    assert tried > 100


def test_restoring_is_exact_and_safe_from_everywhere_to_everywhere():
    for before, wanted in itertools.product(STATES[::2], STATES[1::3]):
        change = decided(Restore(wanted), before, force=True)
        assert change.aim == wanted
        check(before, change)


def test_a_promote_an_undone_promote_and_a_new_candidate_never_move_more_traffic_than_they_mean():
    for blend in range(101):
        both = Texts(A, B, str(blend), "1")
        for operation, texts in (
            (Promote(), both),
            (Restore(both), Texts(B, "rolling/null", "0", "1")),
            (SetCandidate("c"), both),
            (RollBack(), both),
        ):
            change = decided(operation, texts)
            first, last = shares(texts), shares(change.aim)
            for between in steps(texts, change):
                now = shares(between)
                for version in {*first, *last, *now}:
                    low, high = sorted((first.get(version, 0), last.get(version, 0)))
                    assert low <= now.get(version, 0) <= high
