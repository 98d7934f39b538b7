"""Deploys that are killed, that meet another, a promote, a lost manager or a token that has run out."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from itertools import count

import pytest

from tests.delivery import FIRST, SECOND, THIRD, Ci
from tests.occs import Emulator, deployment, emulating

from .command import ended
from .router import until

_numbers = count(1)

# The command, but it is killed when the platform has answered its Nth call that writes.
KILLED = """
import os, signal, sys
from rolling_router.cli import main
from rolling_router.occs.calls import Calls
left, ask = int(sys.argv.pop(1)), Calls.ask
async def counted(self, method, *rest, **more):
    global left
    answer = await ask(self, method, *rest, **more)
    left -= method != "GET"
    if not left:
        os.kill(os.getpid(), signal.SIGKILL)
    return answer
Calls.ask = counted
sys.exit(main())
"""
TOLD = KILLED.replace("SIGKILL", "SIGTERM")
WRITES = 11
"""Of the deploy below: create, mark, note, blend, candidate, unmark, stop, remove (refused, then done), forget."""


@pytest.fixture(scope="module")
def emulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Emulator]:
    with emulating(tmp_path_factory.mktemp("emulator"), "--ready-seconds=0.1", "--stop-seconds=0.1") as emulator:
        yield emulator


@pytest.fixture
def ci(emulator: Emulator) -> Iterator[Ci]:
    """An app of its own for each test: stable and candidate are there, at blend 50."""
    emulator.control.faults(ready_seconds=0.1, stop_seconds=0.1)
    ci = Ci(emulator, f"shop{next(_numbers)}")
    run(ci, FIRST)
    run(ci, SECOND)
    ci.set_up(ci.path(FIRST), ci.path(SECOND), 50)
    yield ci
    emulator.control.mend()


def run(ci: Ci, tag: str) -> None:
    """Have a version run, as a deploy of some time ago left it."""
    made = deployment(ci.id(tag), image=f"me/hello-world:{tag}")
    ci.emulator.json("POST", "/api/v2/deployments/", made)
    until(lambda: ci.deployments()[ci.id(tag)] == 1, 60, "it runs")


def let_begin(ci: Ci, id: str) -> None:
    """Have its containers begin now, however long they were to take."""
    told = ci.emulator.json("PUT", f"/api/v2/deployments/{id}/webhook/restart", {"enabled": True})
    assert ci.emulator.ask("POST", told["full_url_path"], authorization="")[0] == 200


def let_end(ci: Ci, id: str) -> None:
    """Have its containers end now, likewise."""
    for one in ci.emulator.json("GET", f"/api/v2/deployments/{id}/containers/")["containers"]:
        ci.emulator.json("POST", f"/api/v2/containers/{one['container_id']}/kill")


def killed_after(ci: Ci, writes: int, tag: str, script: str = KILLED) -> int:
    words = [sys.executable, "-c", script, str(writes), "deploy", "--grace-seconds=0"]
    return subprocess.run(words, env=ci.environ(tag), capture_output=True, timeout=100, check=False).returncode


def check_third_took_the_place_of_second(ci: Ci) -> None:
    assert ci.settings() == (ci.path(FIRST), ci.path(THIRD), "0")
    assert ci.deployments() == {ci.id(FIRST): 1, ci.id(THIRD): 1}
    assert ci.notes() == {}


@pytest.mark.parametrize("writes", range(1, WRITES + 1))
def test_a_deploy_that_was_killed_after_any_of_its_writes_is_finished_by_the_same_again(ci: Ci, writes: int) -> None:
    ci.emulator.control.faults(delete_refusals=1)
    status = killed_after(ci, writes, THIRD)
    # A call that is asked again, on a slow machine, is one more.
    assert status == -signal.SIGKILL or (writes == WRITES and status == 0)
    assert ci.settings()[0] == ci.path(FIRST)
    done = ci.deploy(THIRD)
    assert done.status == 0, done
    check_third_took_the_place_of_second(ci)


@pytest.mark.parametrize("writes", [3, 5])
def test_a_deploy_that_was_told_to_end_is_finished_by_the_same_again(ci: Ci, writes: int) -> None:
    assert killed_after(ci, writes, THIRD, TOLD) == 130
    assert ci.settings()[:2] in [(ci.path(FIRST), ci.path(one)) for one in (SECOND, THIRD)]
    assert [key for key in ci.notes() if "/turn/" in key] == [], "nobody else has to wait"
    assert ci.deploy(THIRD).status == 0
    check_third_took_the_place_of_second(ci)


def test_what_a_killed_deploy_left_to_remove_the_next_build_removes(ci: Ci) -> None:
    assert killed_after(ci, 6, SECOND) == 0  # it is the candidate already: nothing to write but the turn's mark
    assert killed_after(ci, 7, THIRD) == -signal.SIGKILL
    assert set(ci.deployments()) == {ci.id(FIRST), ci.id(SECOND), ci.id(THIRD)}
    done = ci.deploy("1497969000")
    assert done.status == 0
    assert f"removed {ci.id(SECOND)}" in done.out
    assert f"removed {ci.id(THIRD)}" in done.out
    assert ci.notes() == {}


@pytest.mark.parametrize("sign", [signal.SIGINT, signal.SIGTERM])
def test_a_deploy_that_is_told_to_end_says_what_it_leaves(ci: Ci, sign: int) -> None:
    ci.emulator.control.faults(ready_seconds=60)
    deploying = ci.start(THIRD)
    until(lambda: ci.id(THIRD) in ci.deployments(), 60, "it is created")
    deploying.send_signal(sign)
    told = ended(deploying)
    assert (told.status, f"{ci.id(THIRD)} is left as it is now" in told.err) == (130, True)
    assert ci.settings() == (ci.path(FIRST), ci.path(SECOND), "50")


def test_of_two_deploys_at_once_one_wins_and_the_other_says_why(ci: Ci) -> None:
    ci.emulator.control.faults(ready_seconds=600)
    before = set(ci.deployments())
    deploying = [ci.start(tag, "--json") for tag in ("1497969000", "1497970000")]
    begun = until(lambda: len(made := set(ci.deployments()) - before) == 2 and made, 60, "both have begun")
    for id in begun:
        let_begin(ci, id)
    told = [ended(one, 110) for one in deploying]
    assert sorted(one.status for one in told) == [0, 4], told
    won, lost = sorted(told, key=lambda one: one.status)
    version = won.json["version"]
    assert f"{version} was made the candidate of {ci.app} while" in lost.json["error"]["text"]
    assert ci.settings() == (ci.path(FIRST), f"apps/app-{version}-3000/containers", "0")
    assert set(ci.deployments()) == {ci.id(FIRST), version}
    assert ci.notes() == {}


def test_the_same_build_twice_at_once_is_one_deploy(ci: Ci) -> None:
    deploying = [ci.start(THIRD) for _ in range(2)]
    told = [ended(one, 110) for one in deploying]
    assert [one.status for one in told] == [0, 0], told
    check_third_took_the_place_of_second(ci)


def test_a_candidate_that_is_promoted_while_the_deploy_waits_is_not_removed(ci: Ci) -> None:
    ci.emulator.control.faults(ready_seconds=600)
    deploying = ci.start(THIRD)
    until(lambda: ci.id(THIRD) in ci.deployments(), 60, "it is created")
    ci.set_up(stable=ci.path(SECOND))
    let_begin(ci, ci.id(THIRD))
    told = ended(deploying, 110)
    assert (told.status, told.complaints) == (0, "")
    assert ci.settings() == (ci.path(SECOND), ci.path(THIRD), "0")
    assert ci.deployments() == {ci.id(FIRST): 1, ci.id(SECOND): 1, ci.id(THIRD): 1}


def test_what_became_stable_while_it_was_being_stopped_is_started_again(ci: Ci) -> None:
    ci.emulator.control.faults(stop_seconds=600)
    deploying = ci.start(THIRD)
    until(lambda: not ci.emulator.keys(ci.path(SECOND)), 60, "it is being stopped")
    ci.emulator.put(f"rolling/{ci.app}/stable/id", ci.path(SECOND))
    let_end(ci, ci.id(SECOND))
    told = ended(deploying, 110)
    assert (told.status, f"starting {ci.id(SECOND)} again" in told.out) == (0, True)
    until(lambda: len(ci.emulator.keys(ci.path(SECOND))) == 1, 60, "it runs again")
    assert ci.notes() == {}


def test_what_another_apps_key_names_is_not_removed(ci: Ci) -> None:
    ci.emulator.put(f"rolling/other-{ci.app}/stable/id", ci.path(SECOND))
    told = ci.deploy(THIRD)
    assert f"kept {ci.id(SECOND)}: rolling/other-{ci.app}/stable/id names it" in told.out
    assert (told.status, ci.deployments()[ci.id(SECOND)]) == (0, 1)


def test_a_removal_that_is_refused_five_times(ci: Ci) -> None:
    ci.emulator.control.faults(delete_refusals=5)
    assert ci.deploy(THIRD).status == 0
    check_third_took_the_place_of_second(ci)


def test_a_manager_that_is_away_for_some_seconds_is_waited_for(ci: Ci) -> None:
    ci.emulator.control.faults(ready_seconds=1)
    deploying = ci.start(THIRD)
    until(lambda: ci.id(THIRD) in ci.deployments(), 60, "it is created")
    for outage in ("refuse", "500"):
        ci.emulator.control.faults(outage=outage)
        time.sleep(2)  # how long it is away
        ci.emulator.control.faults(outage="none")
        time.sleep(0.5)
    assert ended(deploying, 110).status == 0
    check_third_took_the_place_of_second(ci)


def test_a_token_that_runs_out_ends_it_with_one_line_and_the_next_token_finishes_it(ci: Ci) -> None:
    ci.emulator.control.faults(ready_seconds=600)
    deploying, old = ci.start(THIRD), ci.emulator.token
    until(lambda: ci.id(THIRD) in ci.deployments(), 60, "it is created")
    ci.emulator.control.expire_token()
    told = ended(deploying, 110)
    assert (told.status, told.err.count("refuses the token of API_TOKEN")) == (3, 1)
    assert ci.emulator.sign_in() != old
    assert old not in told.out + told.err
    assert ci.settings() == (ci.path(FIRST), ci.path(SECOND), "50")
    let_begin(ci, ci.id(THIRD))
    assert ci.deploy(THIRD).status == 0
    check_third_took_the_place_of_second(ci)


def test_no_secret_shows_anywhere(ci: Ci) -> None:
    ci.emulator.control.faults(ready_seconds=1)
    deploying = ci.start(THIRD, "--env", "API_KEY", API_KEY="the-key-of-the-containers")
    until(lambda: ci.id(THIRD) in ci.deployments(), 60, "it is created")
    with open(f"/proc/{deploying.pid}/cmdline") as file:
        shown = file.read()
    told = ended(deploying, 110)
    assert told.status == 0
    shown += told.out + told.err + "".join(ci.emulator.keys().values())
    shown += ci.deploy(THIRD, "--json", API_TOKEN="f" * 64).err
    for secret in (ci.emulator.token, ci.password, "the-key-of-the-containers", "f" * 64):
        assert secret not in shown
    assert ci.emulator.token not in ci.emulator.output()
