"""The file of changes: forged, torn, long and written by several processes."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import attrs
import pytest
from twisted.internet.defer import execute

from rolling_router.errors import SettingError
from rolling_router.rollout import history as rollout_history
from rolling_router.rollout.history import Entry, History
from rolling_router.rollout.standing import Texts

ENTRY = Entry(1_795_435_100.125, "ann", "blend", "why", Texts("a", "b", "5", "1"), Texts("a", "b", "6", None), "x", "y")


def opened(path, app="shop"):
    return History(str(path), app, execute)


def got(deferred):
    results = []
    deferred.addBoth(results.append)
    if hasattr(results[0], "raiseException"):
        results[0].raiseException()
    return results[0]


def test_what_is_added_comes_back_newest_first(tmp_path):
    history = opened(tmp_path / "made" / "on the way")
    entries = [attrs.evolve(ENTRY, who=str(number)) for number in range(30)]
    for entry in entries:
        got(history.add(entry))
    assert got(history.last(5)) == tuple(entries[:-6:-1])
    assert got(history.last(100)) == tuple(reversed(entries))
    assert got(history.last(0)) == got(history.last(-3)) == ()


@pytest.mark.parametrize(
    "hostile",
    [
        "a\nb",
        "a\r\nb",
        "\u2028\u2029\x85",
        "\x00\x1b[2J",
        "\udce4",
        '"}\n{"who": "forged"}',
        "\u202e",
        "x" * 1000,
        "{}",
    ],
    ids=ascii,
)
def test_nothing_that_people_type_makes_a_line_or_reaches_a_terminal_raw(tmp_path, hostile):
    history = opened(tmp_path)
    entry = attrs.evolve(ENTRY, who=hostile, why=hostile, old=Texts(hostile, hostile, hostile, hostile))
    got(history.add(entry))
    got(history.add(ENTRY))
    raw = history.path.read_bytes()
    assert raw.count(b"\n") == 2
    assert all(32 <= one < 127 or one == 10 for one in raw)
    assert got(history.last(5)) == (ENTRY, entry)


@pytest.mark.parametrize("at", range(0, 300, 7))
def test_a_line_torn_anywhere_costs_that_line_alone(tmp_path, at):
    history = opened(tmp_path)
    got(history.add(ENTRY))
    whole = history.path.read_bytes()
    history.path.write_bytes(whole + whole[: at % len(whole)])
    after = attrs.evolve(ENTRY, who="after")
    got(history.add(after))
    assert got(history.last(5)) == (after, ENTRY)


@pytest.mark.parametrize(
    "line",
    [
        b"[]",
        b"null",
        b"7",
        b"{}",
        b"\xff\xfe",
        b"[" * 100_000,
        json.dumps({**ENTRY.as_dict(), "who": 7}).encode(),
        json.dumps({**ENTRY.as_dict(), "when": "soon"}).encode(),
        json.dumps({**ENTRY.as_dict(), "from": {"stable": 5}}).encode(),
        json.dumps({**ENTRY.as_dict(), "from": {"other": "x"}}).encode(),
        json.dumps({**ENTRY.as_dict(), "to": None}).encode(),
    ],
    ids=lambda line: ascii(line[:30]),
)
def test_lines_of_others_are_passed_over(tmp_path, line):
    history = opened(tmp_path)
    got(history.add(ENTRY))
    with history.path.open("ab") as file:
        file.write(line + b"\n")
    assert got(history.last(5)) == (ENTRY,)
    assert got(history.open()) is None


def test_a_long_file_is_read_from_its_end_only(tmp_path, monkeypatch):
    history = opened(tmp_path)
    line = json.dumps(ENTRY.as_dict()).encode() + b"\n"
    history.path.write_bytes(line * 60_000)
    got(history.add(attrs.evolve(ENTRY, who="last")))
    read = []
    pread = os.pread
    monkeypatch.setattr(os, "pread", lambda *how: read.append(how[1]) or pread(*how))
    assert [entry.who for entry in got(history.last(3))] == ["last", "ann", "ann"]
    assert sum(read) <= rollout_history._BLOCK
    monkeypatch.setattr(rollout_history, "_READ_MOST", 1_000_000)
    assert 1 < len(got(history.last(1_000_000))) <= 1_000_000 / len(line)


def test_blocks_that_end_anywhere_lose_no_line(tmp_path, monkeypatch):
    history = opened(tmp_path)
    entries = [attrs.evolve(ENTRY, who=str(number)) for number in range(5)]
    for entry in entries:
        got(history.add(entry))
    for size in (1, 2, 3, 100, 263, 264, 265, 266, 1000):
        monkeypatch.setattr(rollout_history, "_BLOCK", size)
        assert got(history.last(10)) == tuple(reversed(entries))


def test_a_change_that_was_begun_is_open_until_it_is_added(tmp_path):
    history = opened(tmp_path)
    assert got(history.open()) is None
    got(history.begin(ENTRY))
    assert got(history.open()) == ENTRY
    assert got(history.last(5)) == ()
    got(history.add(attrs.evolve(ENTRY, who="somebody else")))
    assert got(history.open()) == ENTRY
    got(history.add(ENTRY))
    assert got(history.open()) is None


def test_each_app_has_a_file_of_its_own_whatever_its_name(tmp_path):
    for app in ("shop", "..", "한글 shop%"):
        history = opened(tmp_path, app)
        got(history.add(attrs.evolve(ENTRY, who=app)))
        assert history.path.parent == tmp_path
        assert [entry.who for entry in got(history.last(5))] == [app]


def test_a_link_in_its_place_is_not_followed(tmp_path):
    target = tmp_path / "target"
    target.write_text("")
    history = opened(tmp_path)
    history.path.symlink_to(target)
    with pytest.raises(OSError, match="symbolic links"):
        got(history.add(ENTRY))
    with pytest.raises(SettingError, match=r"the history .* cannot be read"):
        got(history.last(1))
    assert target.read_text() == ""


WRITER = """
import sys
import attrs
from twisted.internet.defer import execute
from tests.test_history import ENTRY, opened
for number in range(50):
    opened(sys.argv[1]).add(attrs.evolve(ENTRY, who=f"{sys.argv[2]} {number}", why="x" * 1000))
"""


def test_several_processes_write_whole_lines(tmp_path):
    environ = {**os.environ, "PYTHONPATH": "."}
    writers = [
        subprocess.Popen([sys.executable, "-c", WRITER, str(tmp_path), name], env=environ) for name in ("a", "b", "c")
    ]
    assert [one.wait(60) for one in writers] == [0, 0, 0]
    found = [entry.who for entry in got(opened(tmp_path).last(1000))]
    assert sorted(found) == sorted(f"{name} {number}" for name in "abc" for number in range(50))
    for name in "abc":  # each one's own, in order
        own = [who for who in found if who.startswith(name)]
        assert own == [f"{name} {number}" for number in reversed(range(50))]
