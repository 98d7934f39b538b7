"""What is kept on disk of the last good snapshot."""

from __future__ import annotations

import json
import os
import stat
from typing import Any

import pytest
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.logger import capturedLogs

from rolling_router.rollout.saved import Kept, Saved

KEPT = Kept({"rolling/shop/blendpercent": "20", "rolling/shop/stable/id": "äöü \u2028"}, 1795000000.25, "file:/x.json")


class Aside:
    """A thread that works when it is told to."""

    def __init__(self) -> None:
        self.calls: list[tuple[Deferred[Any], Any]] = []

    def __call__(self, call: Any, *args: Any) -> Deferred[Any]:
        done: Deferred[Any] = Deferred()
        self.calls.append((done, lambda: call(*args)))
        return done

    def work(self) -> None:
        done, call = self.calls.pop(0)
        maybeDeferred(call).chainDeferred(done)


def saved(directory: Any, aside: Any = maybeDeferred) -> Saved:
    return Saved(str(directory), "shop", aside)


def test_what_is_kept_is_loaded_by_the_next_process(tmp_path):
    saved(tmp_path).keep(KEPT)
    assert saved(tmp_path).load() == KEPT


def test_the_file_is_for_the_router_alone_and_the_only_one(tmp_path):
    one = saved(tmp_path / "state")
    one.keep(KEPT)
    assert stat.S_IMODE(os.stat(one.path).st_mode) == 0o600
    assert stat.S_IMODE(os.stat(tmp_path / "state").st_mode) == 0o700
    assert os.listdir(tmp_path / "state") == ["snapshot-shop.json"]


def test_every_app_has_its_own_file(tmp_path):
    for app in ("..", "shop", ".shop", "my shop"):
        Saved(str(tmp_path), app, maybeDeferred).keep(Kept({"app": app}, 1.0, ""))
    for app in ("..", "shop", ".shop", "my shop"):
        kept = Saved(str(tmp_path), app, maybeDeferred).load()
        assert kept is not None
        assert kept.keys == {"app": app}
    assert len(os.listdir(tmp_path)) == 4


def test_only_a_change_is_written(tmp_path):
    aside = Aside()
    one = saved(tmp_path, aside)
    one.keep(KEPT)
    aside.work()
    one.keep(Kept(dict(KEPT.keys), KEPT.read_at + 60, KEPT.store))
    assert aside.calls == []
    again = saved(tmp_path, aside)
    again.load()
    again.keep(KEPT)
    assert aside.calls == []
    again.keep(Kept({}, 1.0, KEPT.store))
    assert len(aside.calls) == 1


def test_a_newer_one_overtakes_those_not_yet_written(tmp_path):
    aside = Aside()
    one = saved(tmp_path, aside)
    for number in range(5):
        one.keep(Kept({"n": str(number)}, float(number), "s"))
    settled = one.settled()
    aside.work()
    assert not settled.called
    aside.work()
    assert settled.called
    assert aside.calls == []
    assert saved(tmp_path).load() == Kept({"n": "4"}, 4.0, "s")


def test_nothing_being_written_is_settled(tmp_path):
    assert saved(tmp_path).settled().called


def test_nothing_kept_is_nothing_to_complain_of(tmp_path):
    with capturedLogs() as events:
        assert saved(tmp_path).load() is None
        assert saved(tmp_path / "no directory").load() is None
    assert events == []


GOOD = {"keys": {"a": "b"}, "read_at": 1.0, "store": "s"}
DAMAGED = {
    "empty": "",
    "cut off": json.dumps(GOOD)[:-5],
    "another thing": "[]",
    "no keys": json.dumps({**GOOD, "keys": None}),
    "keys in a list": json.dumps({**GOOD, "keys": ["a"]}),
    "a number for a text": json.dumps({**GOOD, "keys": {"a": 1}}),
    "no time": json.dumps({**GOOD, "read_at": "today"}),
    "an endless time": json.dumps({**GOOD, "read_at": float("inf")}),
    "a time beyond measure": json.dumps(GOOD).replace("1.0", "9" * 5000),
    "no store": json.dumps({**GOOD, "store": 3}),
    "deeply nested": "[" * 100_000,
}


@pytest.mark.parametrize("text", DAMAGED.values(), ids=DAMAGED)
def test_a_damaged_file_is_named_and_ignored_and_mended_by_the_next_snapshot(tmp_path, text):
    one = saved(tmp_path)
    with open(one.path, "w", encoding="utf-8") as file:
        file.write(text)
    with capturedLogs() as events:
        assert one.load() is None
    assert [event["path"] for event in events] == [one.path]
    one.keep(KEPT)
    assert saved(tmp_path).load() == KEPT


@pytest.mark.parametrize("content", [b"\xff\xfe", b"{\x00"])
def test_a_file_that_is_not_text_is_ignored_as_well(tmp_path, content):
    one = saved(tmp_path)
    (tmp_path / "snapshot-shop.json").write_bytes(content)
    assert one.load() is None


def test_a_directory_in_its_place_is_named_and_does_no_harm(tmp_path):
    one = saved(tmp_path)
    os.mkdir(one.path)
    with capturedLogs() as events:
        assert one.load() is None
        one.keep(KEPT)
    assert [event["path"] for event in events] == [one.path, one.path]
    assert os.listdir(tmp_path) == ["snapshot-shop.json"], "no temporary file is left"


def test_what_could_not_be_written_is_tried_again(tmp_path):
    directory = tmp_path / "state"
    directory.write_text("a file where a directory should be")
    one = saved(directory)
    with capturedLogs() as events:
        one.keep(KEPT)
    assert len(events) == 1
    directory.unlink()
    one.keep(KEPT)
    assert saved(directory).load() == KEPT
