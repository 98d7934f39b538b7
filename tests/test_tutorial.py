"""The tutorial: all of its items are played, and its pages show no command that was not run."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest

from examples.tutorial import commands, workflow
from examples.tutorial.player import Elsewhere, Section, State, play, summary
from tests.outside import ROOT

PAGES = ("docs/tutorial.md", "docs/tutorial.ko.md")
ELSEWHERE = {1, 2, 4, 5, 10, 28, 35}
"""What wants a container engine, or an image that is published."""

_BLOCK = re.compile(r"^```bash\n(.*?)^```$", re.MULTILINE | re.DOTALL)


# The walk


class Marked:
    """A walk whose processes can be found, also those that have left its group."""

    def __init__(self, *arguments: str) -> None:
        # Containers get nothing of the environment but PATH and its like.
        self._mark = f"/nonexistent/tutorial-{os.getpid()}-{time.monotonic_ns()}"
        environ = {**os.environ, "PATH": f"{os.environ['PATH']}:{self._mark}", "PYTHONPATH": str(ROOT)}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "examples.tutorial", *arguments],
            cwd=ROOT,
            env=environ,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def left(self) -> list[str]:
        """The command lines of what still runs."""
        found = []
        for path in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):
                if self._mark.encode() in (path / "environ").read_bytes():
                    found.append((path / "cmdline").read_text().replace("\0", " "))
        return found

    def ends_all(self) -> bool:
        deadline = time.monotonic() + 10
        while self.left() and time.monotonic() < deadline:
            time.sleep(0.1)
        return self.left() == []


@pytest.fixture(scope="module")
def walked(tmp_path_factory):
    """What one whole walk has told, in words and for programs."""
    path = tmp_path_factory.mktemp("tutorial") / "results.json"
    walk = Marked("--json", str(path))
    printed = walk.process.communicate(timeout=550)[0]
    assert walk.ends_all(), walk.left()
    return walk.process.returncode, printed, json.loads(path.read_text("utf-8"))


@pytest.mark.timeout(600)
def test_all_68_items_are_played_and_none_fails(walked):
    status, printed, told = walked
    failed = [f"{one['number']}: {one['note']}" for one in told["items"] if one["state"] == "failed"]
    assert failed == [], printed
    assert status == 0
    assert [one["number"] for one in told["items"]] == list(range(1, 69))
    assert {one["number"] for one in told["items"] if one["state"] == "checked elsewhere"} == ELSEWHERE
    for one in told["items"]:
        assert f"{one['number']:2}. {one['sentence']}" in printed
    assert re.search(r"68 items in \d+ s: 61 passed, 7 checked elsewhere$", printed.strip())


@pytest.mark.timeout(600)
def test_each_command_of_the_tutorial_is_run_by_it_or_told_not_to_be(walked):
    assert set(commands.ALL.values()) - set(walked[2]["commands"]) - {commands.VARIABLES} == set(commands.NOT_RUN)


def test_ctrl_c_ends_all_that_the_walk_has_started():
    walk = Marked("--to", "C")
    assert walk.process.stdout is not None
    for line in walk.process.stdout:
        if line.startswith(" 9. "):
            break
    os.killpg(walk.process.pid, signal.SIGINT)
    printed = walk.process.stdout.read()
    assert walk.process.wait(60) == 130, printed
    assert "Told to end" in printed
    assert walk.ends_all(), walk.left()


# The pages


def blocks(page):
    return [text.strip() for text in _BLOCK.findall((ROOT / page).read_text("utf-8"))]


@pytest.mark.parametrize("page", PAGES)
def test_each_block_of_the_page_is_commands_of_the_walk(page):
    for block in blocks(page):
        left = block
        for command in sorted(commands.ALL.values(), key=len, reverse=True):
            if left.startswith(command) or f"\n{command}" in left:
                left = left.replace(command, "")
        assert left.strip() == "", f"not run by the walk: {left.strip()}"


def test_the_pages_show_the_same_commands_in_the_same_order():
    english, korean = (blocks(page) for page in PAGES)
    assert english == korean
    assert len(english) > 15


@pytest.mark.parametrize("page", PAGES)
def test_the_page_has_no_other_blocks_of_commands(page):
    fences = re.findall(r"^```(\w*)$", (ROOT / page).read_text("utf-8"), re.MULTILINE)[::2]
    assert set(fences) <= {"bash", "text", "yaml"}


# The player


def test_what_fails_and_what_is_seen_elsewhere_is_told_apart():
    section = Section("X", "An example")

    @section.item(1, "It works.")
    def works(walk):
        return "twice"

    @section.item(2, "It does not.")
    def fails(walk):
        raise AssertionError("3 of 100")

    @section.item(3, "It cannot be seen here.")
    def elsewhere(walk):
        return Elsewhere("make test-image", "its name")

    class Walk:
        results = ()

    printed: list[str] = []
    results = play([section], Walk(), printed.append)
    assert [result.state for result in results] == [State.PASSED, State.FAILED, State.ELSEWHERE]
    assert "passed: twice" in printed[1]
    assert "failed: AssertionError: 3 of 100" in printed[2]
    assert "passed" not in printed[3]
    assert "checked elsewhere: make test-image; seen here: its name" in printed[3]
    assert summary(results, 2.0) == "3 items in 2 s: 1 passed, 1 failed, 1 checked elsewhere"


# The workflow


@pytest.fixture
def run_workflow(tmp_path, monkeypatch):
    """Run a workflow whose `deploy` has these steps: its exit status."""

    def run(steps):
        source = tmp_path / "source"
        source.mkdir()
        box = {"id": "me/box", "tag": "latest"}
        step = {"script": {"name": "nothing", "code": "true"}}
        (source / "wercker.yml").write_text(
            json.dumps({"box": box, "build": {"steps": [step]}, "deploy": {"steps": steps}})
        )
        return workflow.run(source, {**os.environ, "TUTORIAL": str(tmp_path)})

    return run


@pytest.mark.parametrize(("code", "is_well"), [("true", True), ("false", False), ("exit 3", False), ("exit 0", False)])
def test_a_step_that_leaves_the_shell_fails_as_at_wercker(run_workflow, code, is_well):
    assert (run_workflow([{"script": {"name": "one", "code": code}}]) == 0) is is_well


def test_a_push_makes_a_folder_that_has_the_image_s_name(run_workflow, tmp_path):
    push = {"internal/docker-push": {"repository": "me/app", "tag": "$WERCKER_MAIN_PIPELINE_STARTED"}}
    assert run_workflow([push]) == 0
    (tag,) = (tmp_path / "registry" / "me" / "app").iterdir()
    assert re.fullmatch(r"\d{10}", tag.name)
    assert (tag / "wercker.yml").exists()


def test_a_step_that_nothing_stands_in_for_is_named(run_workflow):
    with pytest.raises(workflow.Refused, match="somebody/else@1"):
        run_workflow(["somebody/else@1.0.0"])
