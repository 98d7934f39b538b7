"""`rolling-router deploy --instance`: instances that run already become the candidate, on a file store."""

from __future__ import annotations

import json
import signal
import socket
from pathlib import Path

import pytest

from tests.ports import free_port

from .command import Command, ended
from .conftest import StartInstance, StartRouter
from .instance import Instance
from .router import APP, rollout
from .wire import get

NULL = "rolling/null"


@pytest.fixture(scope="module")
def old(start_instance: StartInstance) -> Instance:
    return start_instance("1.0", "s")


@pytest.fixture(scope="module")
def new(start_instance: StartInstance) -> Instance:
    return start_instance("1.1", "c")


@pytest.fixture
def command(tmp_path: Path, old: Instance) -> Command:
    """On a store with a stable version, and a candidate that is to be replaced."""
    command = Command(tmp_path / "rollout.json")
    keys = {**rollout([old]), f"rolling/{APP}/candidate/id": "apps/app-1.0.5-80/containers"}
    keys["apps/app-1.0.5-80/containers/a"] = "127.0.0.1:1"
    keys[f"rolling/{APP}/blendpercent"] = "10"
    command.store.write_text(json.dumps(keys))
    return command


def deploy(command: Command, *instances: str, version: str = "1.1") -> list[str]:
    words = [word for one in instances for word in ("--instance", one)]
    return ["deploy", "--version", version, "--grace-seconds=0", *words]


def roles(command: Command) -> list[str]:
    keys = command.keys()
    return [keys[f"rolling/{APP}/{name}"] for name in ("stable/id", "candidate/id", "blendpercent")]


def lines(out: str) -> list[str]:
    return [line.partition(" s  ")[2] for line in out.splitlines()]


def test_instances_become_the_candidate(command: Command, new: Instance) -> None:
    done = command(*deploy(command, new.address), "--health-path=/")
    assert (done.status, done.complaints) == (0, "")
    assert lines(done.out) == [
        f"healthy: {new.address}",
        f"registered below apps/app-1.1-80/containers: {new.address}",
        "made 1.1 the candidate, in place of 1.0.5; blend 0",
    ]
    assert roles(command) == ["apps/app-1.0-80/containers", "apps/app-1.1-80/containers", "0"]
    keys = command.keys()
    assert [text for key, text in keys.items() if key.startswith("apps/app-1.1-80/containers/")] == [new.address]
    assert "apps/app-1.0.5-80/containers/a" in keys
    again = command(*deploy(command, new.address))
    assert (again.status, lines(again.out)[-1]) == (0, "1.1 is the candidate already")
    assert command.keys() == keys


def test_the_replaced_candidates_registrations_are_removed_if_that_is_asked_for(
    command: Command, new: Instance
) -> None:
    done = command(*deploy(command, new.address), "--remove-old", "--json").json
    assert (done["version"], done["removed"]) == ("1.1", ["1.0.5"])
    assert roles(command)[1:] == ["apps/app-1.1-80/containers", "0"]
    keys = command.keys()
    assert [key for key in keys if "1.0.5" in key or key.startswith("rolling-deploy/")] == []


def test_what_another_app_has_is_not_removed(command: Command, new: Instance) -> None:
    keys = {**command.keys(), "rolling/other/stable/id": "apps/app-1.0.5-80/containers"}
    command.store.write_text(json.dumps(keys))
    done = command(*deploy(command, new.address), "--remove-old")
    assert (done.status, "kept 1.0.5: rolling/other/stable/id names it" in done.out) == (0, True)
    assert "apps/app-1.0.5-80/containers/a" in set(command.keys())


@pytest.mark.parametrize("path", ["tcp", "/"])
def test_an_instance_that_does_not_answer_changes_nothing(command: Command, new: Instance, path: str) -> None:
    before, silent = command.keys(), f"127.0.0.1:{free_port()}"
    late = command(*deploy(command, new.address, silent), "--timeout=1", f"--health-path={path}")
    assert (late.status, f"not healthy after 1 s: {silent}: " in late.err) == (5, True)
    assert command.keys() == before


def test_one_that_begins_to_answer_is_waited_for(command: Command) -> None:
    port = free_port()
    deploying = command.start(*deploy(command, f"127.0.0.1:{port}"))
    late = Instance("1.1", "late", port)
    try:
        assert ended(deploying).status == 0
    finally:
        late.stop()


def test_what_is_missing_or_cannot_be_meant_is_named(command: Command, tmp_path: Path) -> None:
    for words, said in (
        (["deploy", "--instance", "127.0.0.1:1"], "--version is missing"),
        (deploy(command, "127.0.0.1"), "--instance is '127.0.0.1': it has no port"),
        (deploy(command, "127.0.0.1:1", version="a/b"), "--version is 'a/b'"),
        ([*deploy(command, "127.0.0.1:1"), "--health-path=x"], "--health-path is 'x'"),
    ):
        refused = command(*words)
        assert (refused.status, said in refused.err) == (1, True), refused


def test_a_deploy_that_is_told_to_end_has_changed_nothing(command: Command) -> None:
    before = command.keys()
    with socket.create_server(("127.0.0.1", 0)) as mute:
        mute.settimeout(60)
        deploying = command.start(*deploy(command, f"127.0.0.1:{mute.getsockname()[1]}"), "--health-path=/")
        asking, _ = mute.accept()
        with asking:
            deploying.send_signal(signal.SIGINT)
            told = ended(deploying)
    assert (told.status, "1.1 is left as it is now" in told.err) == (130, True)
    assert command.keys() == before


def test_two_at_once_do_not_overwrite_each_other(command: Command, new: Instance, old: Instance) -> None:
    deploying = [command.start(*deploy(command, new.address, version=name), "--remove-old") for name in ("2.0", "2.1")]
    told = [ended(one) for one in deploying]
    assert {one.status for one in told} <= {0, 4}, told
    assert 0 in {one.status for one in told}, told
    keys = command.keys()
    assert roles(command)[0] == "apps/app-1.0-80/containers"
    versions = {key.split("/")[1] for key in keys if key.startswith("apps/")}
    assert versions == {"app-1.0-80", keys[f"rolling/{APP}/candidate/id"].split("/")[1]}


def test_with_a_router_that_is_waited_for(start_router: StartRouter, old: Instance, new: Instance) -> None:
    router = start_router(rollout([old]))
    done = Command(router.store)(
        "deploy", "--version=1.1", "--instance", new.address, "--wait", "--router", f"http://127.0.0.1:{router.admin}"
    )
    assert (done.status, lines(done.out)[-1]) == (0, "in force")
    assert Command(router.store)("blend", "100", "--wait", "--router", f"http://127.0.0.1:{router.admin}").status == 0
    assert router.ask(get()).version == "1.1"
