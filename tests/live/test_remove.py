"""`rolling-router remove`: registrations go, on a file store and before a router that serves; and where they do not."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from .command import Command
from .conftest import StartInstance, StartRouter
from .load import Load
from .router import APP, rollout, until

A, B = (f"apps/app-{name}-80/containers" for name in ("1.0", "1.1"))


@pytest.fixture
def command(tmp_path: Path) -> Command:
    """On a store with a stable version, and one that was rolled back."""
    command = Command(tmp_path / "rollout.json")
    keys = {**rollout(), f"rolling/{APP}/stable/id": A, f"{A}/a": "127.0.0.1:1", f"{A}/b": "127.0.0.1:2"}
    command.store.write_text(json.dumps({**keys, f"{B}/a": "127.0.0.1:3", f"{B}/b": "127.0.0.1:4"}))
    return command


def test_a_version_that_was_rolled_back_is_taken_away(command: Command) -> None:
    note = f"rolling-deploy/{APP}/replaced/1.1"  # by a deploy that was broken off
    command.store.write_text(json.dumps({**command.keys(), note: "1.2"}))
    done = command("remove", "1.1")
    assert (done.status, done.out, done.err) == (0, "removed 127.0.0.1:3, 127.0.0.1:4 of 1.1\n", "")
    assert command("versions").out == "1.0  port 80, 2 instances, stable\n"
    assert {note, f"{B}/a", f"{B}/b"}.isdisjoint(command.keys())
    again = command("remove", "1.1")
    assert (again.status, again.out) == (0, "nothing to remove: no instance of 1.1 is registered\n")
    assert command("remove", "1.1", "--json").json == {"version": "1.1", "changed": False, "removed": []}


def test_single_instances_are_taken_away(command: Command) -> None:
    done = command("remove", "1.0", "--instance=127.0.0.1:2", "--json")
    assert (done.status, done.json) == (0, {"version": "1.0", "changed": True, "removed": ["127.0.0.1:2"]})
    assert command("versions").out == "1.0  port 80, 1 instance, stable\n1.1  port 80, 2 instances\n"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["1.0"], "1.0 is stable of shop (rolling/shop/stable/id), and would be left without an instance; make"),
        (["1.0", "--instance=127.0.0.1:1", "--instance=127.0.0.1:2"], "1.0 is stable of shop"),
        (
            ["1.1", "--instance=127.0.0.1:3", "--instance=127.0.0.1:9"],
            "no instance of 1.1 is registered as 127.0.0.1:9",
        ),
        (["1.1", "--instance=127.0.0.1"], "--instance is '127.0.0.1': it has no port"),
        (["a/b"], "the version is 'a/b'"),
    ],
)
def test_what_cannot_go_is_refused_and_nothing_is_changed(command: Command, words: list[str], said: str) -> None:
    before = command.keys()
    refused = command("remove", *words)
    assert (refused.status, said.replace("shop", APP) in refused.err, refused.out) == (1, True, ""), refused
    assert command("remove", *words, "--json").json["error"]["code"] == "refused"
    assert command.keys() == before


def test_where_a_platform_registers_instances_it_says_who_removes_them(command: Command) -> None:
    refused = command("remove", "1.1", ROLLING_ROUTER_STORE="occs:https://127.0.0.1:1")
    assert refused.status == 1
    assert "stop and delete 1.1 in its console" in refused.err
    assert len(refused.err.splitlines()) == 1


def test_a_store_that_is_not_there_is_told(command: Command) -> None:
    command.store.unlink()
    assert command("remove", "1.1").status == 3


def test_no_request_fails_while_an_instance_is_taken_away(
    start_router: StartRouter, start_instance: StartInstance
) -> None:
    stays, goes = start_instance("1.0", "stays"), start_instance("1.0", "goes")
    router = start_router(rollout([stays, goes]))
    command, url = Command(router.store), f"http://127.0.0.1:{router.admin}"

    def known() -> list[str]:
        return [one["address"] for one in router.status()["snapshot"]["stable"]["instances"]]

    with Load(router, connections=8) as load:
        until(lambda: goes.calls and stays.calls)
        assert command("remove", "1.0", "--instance", goes.address).status == 0
        until(lambda: known() == [stays.address])
        assert command("drain", "--wait", "--router", url).status == 0
        served = len(goes.calls)
        for stop in (lambda: None, goes.stop):
            stop()
            load.forget()
            until(lambda: sum(load.versions.values()) > 50)
            assert len(goes.calls) == served
        refused = command("remove", "1.0", "--instance", stays.address)
        assert (refused.status, f"1.0 is stable of {APP}" in refused.err) == (1, True)
        assert known() == [stays.address]
