"""The `rolling-router` command on a file store, before a router that runs: each command, each end, many at once."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from tests.ports import free_port

from .command import Command, Ended, ended
from .conftest import StartInstance, StartRouter
from .instance import Instance
from .router import APP, Router, rollout, until
from .wire import get


@pytest.fixture(scope="module")
def instances(start_instance: StartInstance) -> tuple[Instance, Instance]:
    return start_instance("1.0", "s"), start_instance("1.1", "c")


@pytest.fixture(scope="module")
def router(start_router: StartRouter, instances: tuple[Instance, Instance]) -> Router:
    stable, candidate = instances
    return start_router({**rollout([stable], [candidate]), f"rolling/{APP}/candidate/id": "rolling/null"})


@pytest.fixture
def command(tmp_path: Path) -> Command:
    """On a store with a stable version and another one that runs."""
    command = Command(tmp_path / "rollout.json", {"ROLLING_ROUTER_STATE_DIR": str(tmp_path / "state")})
    keys = {
        **rollout(),
        f"rolling/{APP}/stable/id": "apps/app-1.0-80/containers",
        "apps/app-1.0-80/containers/a": "127.0.0.1:1",
        "apps/app-1.1-80/containers/a": "127.0.0.1:2",
    }
    command.store.write_text(json.dumps(keys))
    return command


def settings(command: Command) -> list[str]:
    keys = command.keys()
    names = ("stable/id", "candidate/id", "blendpercent", "stickyness")
    texts = [keys[f"rolling/{APP}/{name}"] for name in names]
    return [text.removeprefix("apps/app-").removesuffix("-80/containers") for text in texts]


def done(ended: Ended) -> Ended:
    assert (ended.status, ended.complaints) == (0, ""), ended
    return ended


# Each command


def test_a_release_from_candidate_to_promote_and_back(command: Command) -> None:
    assert done(command("candidate", "1.1")).out.startswith("candidate: none -> 1.1\nrevision ")
    assert done(command("blend", "25")).out.startswith("blend: 0 -> 25\n")
    assert done(command("sticky", "on")).out.startswith("stickiness: off -> on\n")
    assert settings(command) == ["1.0", "1.1", "25", "1"]
    assert done(command("blend", "25")).out.startswith("nothing to change\n")
    assert done(command("promote", "1.1", "--reason", "all is well", "--who", "ann")).out.splitlines()[:3] == [
        "stable: 1.0 -> 1.1",
        "candidate: 1.1 -> none",
        "blend: 25 -> 0",
    ]
    assert settings(command) == ["1.1", "rolling/null", "0", "1"]
    assert done(command("undo")).out.startswith("stable: 1.1 -> 1.0\n")
    assert settings(command) == ["1.0", "1.1", "25", "1"]
    done(command("rollback"))
    assert settings(command) == ["1.0", "rolling/null", "0", "1"]
    told = done(command("history", "--json")).json["history"]
    assert [entry["what"] for entry in told] == ["rollback", "undo", "promote", "stickiness", "blend", "candidate"]
    assert (told[2]["who"], told[2]["why"]) == ("ann", "all is well")
    assert "promote by ann (all is well)\n    stable: 1.0 -> 1.1\n" in done(command("history")).out
    assert done(command("history", "--last", "1")).out.count(" by ") == 1


def test_an_app_is_set_up_in_a_store_that_is_not_there_yet(tmp_path: Path) -> None:
    command = Command(tmp_path / "new.json")
    assert command("status").status == 3
    done(command("setup"))
    assert command.keys() == rollout()
    done(command("setup", "--stable", "1.0", "--port", "80", "--sticky", "ip-hash", "--force"))
    assert settings(command) == ["1.0", "rolling/null", "0", "ip-hash"]


def test_the_status_tells_settings_instances_and_problems(command: Command) -> None:
    lines = done(command("status")).out.splitlines()
    assert lines[1:3] == ["  stable      1.0, port 80, 1 instance", "  candidate   none"]
    command.store.write_text(json.dumps({**command.keys(), f"rolling/{APP}/blendpercent": "many"}))
    assert f"  rolling/{APP}/blendpercent is 'many': it must be" in done(command("status")).out
    told = done(command("status", "--json")).json
    assert told["stable"] == {"version": "1.0", "port": 80, "instances": ["127.0.0.1:1"]}
    assert [problem["value"] for problem in told["problems"]] == ["many"]
    assert told["texts"]["blend"] == "many"


def test_the_versions_are_listed_with_their_roles(command: Command) -> None:
    out = done(command("versions")).out
    assert out == "1.0  port 80, 1 instance, stable\n1.1  port 80, 1 instance\n"
    assert [one["role"] for one in done(command("versions", "--json")).json["versions"]] == ["stable", None]


def test_the_plugins_are_listed(command: Command) -> None:
    assert "  file " in done(command("plugins")).out


# Each end


@pytest.mark.parametrize(
    ("words", "status", "text"),
    [
        (("blend", "101"), 1, "blend is 101; it must be a whole number from 0 to 100"),
        (("blend", "half"), 1, "blend is 'half'; it must be"),
        (("blend", "9" * 5000), 1, "99'; it must be a whole number from 0 to 100"),
        (("promote",), 1, "there is no candidate to promote"),
        (("candidate", "9.9"), 1, "there is no version '9.9'; there are: 1.0, 1.1"),
        (("sticky", "glue"), 1, "stickiness is 'glue'; it must be on (1), off (0) or one of: "),
        (("undo",), 1, "the history of shop has no change yet"),
        (("stable", "1.1", "--store", "nope:x"), 1, "there is no store 'nope'"),
        (("status", "--router", "ftp://x"), 1, "the router is 'ftp://x'; it must be the URL"),
        (("status", "--token-file", "/nowhere"), 1, "the token file /nowhere cannot be read"),
        (("nonsense",), 2, "invalid choice: 'nonsense'"),
        (("blend",), 2, "the following arguments are required: N"),
        (("status", "--store", "file:/nowhere/x"), 3, "/nowhere/x is not there"),
        (("blend", "0", "--if-revision", "0123"), 0, ""),
        (("sticky", "on", "--if-revision", "0123"), 4, "the settings of shop are at revision"),
    ],
    ids=lambda value: " ".join(value)[:50] if isinstance(value, tuple) else "",
)
def test_each_end_has_its_status_and_one_line(command: Command, words: tuple[str, ...], status: int, text: str) -> None:
    before = command.store.read_text()
    ended = command(*words)
    assert (ended.status, text in ended.err) == (status, True), ended
    if status != 2:
        assert ended.err.count("\n") == (1 if text else 0)
    if status:
        assert command.store.read_text() == before


@pytest.mark.parametrize("words", [("candidate", "1.1"), ("status",), ("status", "--json"), ("plugins",)])
def test_a_reader_that_leaves_is_no_failure(command: Command, words: tuple[str, ...]) -> None:
    reads, writes = os.pipe()
    os.close(reads)
    started = command.start(*words, out=writes)
    os.close(writes)
    done(ended(started))
    assert settings(command)[1] == ("1.1" if words[0] == "candidate" else "rolling/null")


def test_what_cannot_be_shown_is_told_and_does_not_look_like_a_refusal(command: Command) -> None:
    with open("/dev/full", "wb") as full:
        over = ended(command.start("candidate", "1.1", out=full.fileno()))
    assert over.status == 7
    assert over.err.count("\n") == 1
    assert "No space left" in over.err
    assert settings(command)[1] == "1.1"


def test_a_terminal_without_a_letter_is_shown_its_escape(command: Command) -> None:
    keys = command.keys()
    keys["apps/app-gr\u00fcn-8080/containers/a"] = "127.0.0.1:1"
    command.store.write_text(json.dumps(keys))
    over = done(command("candidate", "gr\u00fcn", PYTHONIOENCODING="ascii"))
    assert "gr\\xfcn" in over.out


def test_a_refusal_is_json_for_programs(command: Command) -> None:
    told = command("blend", "101", "--json").json
    assert told == {"error": {"code": "refused", "text": "blend is 101; it must be a whole number from 0 to 100"}}
    told = command("blend", "5", "--force", "--if-revision", "0123", "--json").json
    assert told["error"]["code"] == "conflict"
    assert told["error"]["revision"] == done(command("status", "--json")).json["revision"]


def test_a_store_that_cannot_be_read_changes_nothing(command: Command) -> None:
    command.store.write_text("{")
    ended = command("setup")
    assert ended.status == 3
    assert "line 1" in ended.err
    assert command.store.read_text() == "{"


def test_the_history_is_nobody_elses_and_survives_a_torn_line(command: Command) -> None:
    done(command("sticky", "on"))
    path = command.store.parent / "state" / f"history-{APP}.jsonl"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    with path.open("a") as file:
        file.write('{"when": "2026')
    done(command("sticky", "off", "--reason", 'x\n{"who": "forged"}'))
    told = done(command("history", "--json")).json["history"]
    assert [(entry["who"] == "forged", entry["what"]) for entry in told] == [(False, "stickiness")] * 2
    assert path.read_bytes().count(b"\n") == 3


# Many at once


def test_two_writers_with_one_revision_are_never_both_right(command: Command) -> None:
    done(command("candidate", "1.1"))
    for turn in range(3):
        revision = done(command("status", "--json")).json["revision"]
        racing = [command.start("blend", str(turn * 10 + n + 1), "--if-revision", revision) for n in range(4)]
        statuses = sorted(ended(one).status for one in racing)
        assert statuses == [0, 4, 4, 4]


RACE = """
import random, sys
from functools import partial
from twisted.internet import reactor
from twisted.internet.defer import DeferredList, Deferred
from twisted.internet.task import react
from twisted.internet.threads import deferToThreadPool
from rolling_router.errors import Conflict
from rolling_router.interfaces import StoreContext
from rolling_router.registry import open_store
from rolling_router.rollout.change import SetBlend
from rolling_router.rollout.control import Control
from rolling_router.rollout.history import History

path, state, first = sys.argv[1], sys.argv[2], int(sys.argv[3])

async def main(reactor):
    store = open_store(f"file:{path}", StoreContext(reactor, "shop", {}))
    history = History(state, "shop", partial(deferToThreadPool, reactor, reactor.getThreadPool()))
    control = Control("shop", store, strategies=("cookie",), default="cookie", clock=reactor,
                      random=random.random, history=history)
    for number in range(first, first + 25):
        while True:
            try:
                outcome = await control.change(SetBlend(number), who=str(number))
                print(number, outcome.before.snapshot.blend, outcome.standing.revision, flush=True)
                break
            except Conflict:
                print("conflict", file=sys.stderr)
    await store.close()

react(lambda reactor: Deferred.fromCoroutine(main(reactor)))
"""


def test_of_100_racing_changes_none_is_lost_unseen(command: Command) -> None:
    done(command("candidate", "1.1"))
    state = command.store.parent / "race"
    racing = [
        subprocess.Popen(
            [sys.executable, "-c", RACE, str(command.store), str(state), str(first)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for first in (1, 26, 51, 76)
    ]
    told = [ended(one, 300) for one in racing]
    assert [one.status for one in told] == [0] * 4, told
    replaced = [tuple(map(int, line.split()[:2])) for one in told for line in one.out.splitlines()]
    assert sorted(number for number, _ in replaced) == list(range(1, 101))
    # Each knows exactly what it replaced: the changes make one chain from the first value to the last.
    chain, following = [0], {before: number for number, before in replaced}
    assert len(following) == 100
    while chain[-1] in following:
        chain.append(following[chain[-1]])
    assert len(chain) == 101
    assert settings(command)[2] == str(chain[-1])
    lines = [json.loads(line) for line in (state / f"history-{APP}.jsonl").read_text().splitlines()]
    assert sorted((int(line["to"]["blend"]), int(line["from"]["blend"])) for line in lines) == sorted(replaced)


# With a router


def of(router: Router, directory: Path) -> Command:
    environ = {
        "ROLLING_ROUTER_STATE_DIR": str(directory),
        "ROLLING_ROUTER_ROUTER": f"http://127.0.0.1:{router.admin}",
    }
    return Command(router.store, environ)


def test_after_a_wait_the_change_is_in_force(router: Router, tmp_path: Path) -> None:
    command = of(router, tmp_path)
    done(command("candidate", "1.1", "--wait"))
    for blend in (100, 0, 100):
        assert done(command("blend", str(blend), "--wait")).out.endswith("in force\n")
        version = b"1.1" if blend else b"1.0"
        assert [router.ask(get()).one(b"X-Version") for _ in range(3)] == [version] * 3
    assert done(command("promote", "--wait", "--json")).json["in_force"] is True
    assert router.status()["snapshot"]["stable"]["version"] == "1.1"
    told = done(command("status", "--json")).json
    assert told["routers"][0]["in_force"] is True
    out = done(command("status")).out
    assert f"router http://127.0.0.1:{router.admin} has this in force\n" in out
    assert "1 of 1 instances usable" in out
    done(command("undo", "--wait"))


def test_a_wait_for_a_router_that_is_not_there_ends_in_time_and_says_so(router: Router, tmp_path: Path) -> None:
    nobody = f"http://127.0.0.1:{free_port()}"
    command = of(router, tmp_path)
    ended = command("sticky", "on", "--wait", "--wait-seconds", "6", "--router", nobody)
    assert ended.status == 5
    assert re.search(r"^rolling-router: waiting for shop since \d s: http", ended.err, re.MULTILINE)
    assert "the change is in the store, but not in force after 6 s" in ended.err
    assert command.keys()[f"rolling/{APP}/stickyness"] == "1"
    told = command("status", "--router", nobody)
    assert (told.status, "stickiness  on" in told.out) == (6, True)
    assert f"the router {nobody} gave no answer (Connection refused); look whether it runs\n" in told.err
    done(command("sticky", "off", "--wait"))


def test_a_wait_for_a_router_of_another_app_is_refused(router: Router, tmp_path: Path) -> None:
    command = of(router, tmp_path)
    done(command("setup", "--app", "other"))
    ended = command("sticky", "on", "--app", "other", "--wait")
    assert (ended.status, "routes shop, not other" in ended.err, "Traceback" in ended.err) == (1, True, False)


def test_a_wait_ends_when_somebody_else_changes_the_settings(router: Router, tmp_path: Path) -> None:
    command = of(router, tmp_path)
    nobody = f"http://127.0.0.1:{free_port()}"
    waiting = command.start("sticky", "on", "--wait", "--wait-seconds", "40", "--router", nobody)
    until(lambda: command.keys()[f"rolling/{APP}/stickyness"] == "1", 30, "the change")
    done(command("sticky", "off"))
    over = ended(waiting)
    assert (over.status, "somebody else made another one" in over.err) == (4, True)


def test_ctrl_c_ends_a_wait(router: Router, tmp_path: Path) -> None:
    command = of(router, tmp_path)
    nobody = f"http://127.0.0.1:{free_port()}"
    waiting = command.start("sticky", "ip-hash", "--wait", "--wait-seconds", "60", "--router", nobody)
    until(lambda: command.keys()[f"rolling/{APP}/stickyness"] == "ip-hash", 30, "the change")
    waiting.send_signal(signal.SIGINT)
    assert ended(waiting).status == 130
    done(command("sticky", "off"))


def test_ctrl_c_ends_a_wait_for_a_router_that_does_not_answer(command: Command) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        silent.settimeout(60)
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        waiting = command.start("candidate", "1.1", "--wait", "--wait-seconds", "600", "--router", url)
        asking, _ = silent.accept()
        with asking:
            assert asking.recv(10)
            waiting.send_signal(signal.SIGINT)
            assert ended(waiting).status == 130


def test_a_wait_that_could_not_end_changes_nothing(command: Command, start_instance: StartInstance) -> None:
    asked = start_instance("9", "token")
    asked.on("/api/v1/status", lambda call: call.answer(b"no", status="401 Unauthorized"))
    before = command.keys()
    url = f"http://{asked.address}"
    for words in (("sticky", "ip-hash"), ("deploy", "--version", "7", "--instance", asked.address)):
        ended = command(*words, "--wait", "--router", url)
        assert (ended.status, ended.out) == (1, "")
        assert "wants a token; set ROLLING_ROUTER_TOKEN" in ended.err
    assert command.keys() == before


def test_the_token_is_sent_and_never_shown(command: Command, start_instance: StartInstance) -> None:
    asked = start_instance("9", "token")
    seen = []

    def answer(call) -> None:  # type: ignore[no-untyped-def]
        seen.append(call.one(b"Authorization"))
        call.answer(b"no", status="401 Unauthorized")

    asked.on("/api/v1/status", answer)
    url = f"http://{asked.address}"
    (command.store.parent / "token").write_text("from-file\n")
    for words, variables, sent in (
        ((), {"ROLLING_ROUTER_TOKEN": "secret"}, b"Bearer secret"),
        (("--token-file", "token"), {}, b"Bearer from-file"),
        ((), {"ROLLING_ROUTER_TOKEN": ""}, None),
    ):
        ended = command("status", "--router", url, *words, **variables)
        assert (ended.status, seen.pop()) == (1, sent)
        assert "wants a token; set ROLLING_ROUTER_TOKEN" in ended.err
        assert "secret" not in ended.err + ended.out
        assert "from-file" not in ended.err + ended.out
