"""The `rolling-router` command on Oracle Container Cloud, as the emulator has it: by its manager, and by a node."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.occs import Emulator, emulating

from .command import Command, Ended
from .router import APP, ROOT, rollout

A, B = (f"apps/app-{name}-80/containers" for name in ("1.0", "1.1"))

# The command, but it is interrupted before its first write, and again and again as soon as it is about to end.
TWICE = """
import os, signal, sys
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater
from rolling_router.cli import main
from rolling_router.occs.calls import Calls
ask, is_told = Calls.ask, False
async def interrupted(self, method, *rest, **more):
    global is_told
    if method == "PUT" and not is_told:
        is_told, leaving = True, Deferred()
        reactor.addSystemEventTrigger("before", "shutdown", leaving.callback, None)
        os.kill(os.getpid(), signal.SIGINT)
        await leaving
        for sign in (signal.SIGINT, signal.SIGTERM):
            os.kill(os.getpid(), sign)
            await deferLater(reactor, 0.1)
    return await ask(self, method, *rest, **more)
Calls.ask = interrupted
sys.exit(main())
"""


# The command, but it is sent a signal between its first write and the second one.
BETWEEN = """
import os, signal, sys
from rolling_router.cli import main
from rolling_router.occs.calls import Calls
sign, ask, is_told = int(sys.argv.pop(1)), Calls.ask, False
async def interrupted(self, method, *rest, **more):
    global is_told
    answer = await ask(self, method, *rest, **more)
    if method == "PUT" and not is_told:
        is_told = True
        os.kill(os.getpid(), sign)
    return answer
Calls.ask = interrupted
sys.exit(main())
"""


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Emulator]:
    with emulating(tmp_path_factory.mktemp("emulator")) as emulator:
        yield emulator


@pytest.fixture
def command(shared: Emulator, tmp_path: Path) -> Iterator[Command]:
    """On its keys: a stable version and a candidate."""
    keys = {**rollout(blend=30), f"rolling/{APP}/stable/id": A, f"rolling/{APP}/candidate/id": B}
    for key, text in {**keys, f"{A}/a": "127.0.0.1:1", f"{B}/a": "127.0.0.1:2"}.items():
        assert shared.ask("PUT", f"/api/kv/{key}", text)[0] == 200
    environ = {
        "ROLLING_ROUTER_STORE": f"occs:{shared.manager}",
        "OCCS_CA": str(shared.ca_file),
        "OCCS_API_TOKEN": shared.token,
        "ROLLING_ROUTER_STATE_DIR": str(tmp_path / "state"),
    }
    yield Command(tmp_path / "nothing", environ)
    shared.control.mend()


def setting(emulator: Emulator, name: str) -> bytes:
    return emulator.ask("GET", f"/api/kv/rolling/{APP}/{name}?raw=true")[1]


def interrupted(command: Command, script: str, *words: str) -> Ended:
    """Run a command that a script interrupts."""
    done = subprocess.run(
        [sys.executable, "-c", script, *words],
        env={**os.environ, "ROLLING_ROUTER_APP": APP, "PYTHONPATH": str(ROOT), **command.environ},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    return Ended(done.returncode, done.stdout, done.stderr)


def test_a_promote_and_its_undo(shared: Emulator, command: Command) -> None:
    ended = command("promote")
    assert (ended.status, ended.err) == (0, "")
    assert setting(shared, "stable/id") == B.encode()
    assert setting(shared, "candidate/id") == b"rolling/null"
    assert setting(shared, "blendpercent") == b"0"
    assert command("undo").out.startswith("stable: 1.1 -> 1.0\ncandidate: none -> 1.1\nblend: 0 -> 30\n")
    assert command("status", "--json").json["interrupted"] is None


def test_a_node_shows_and_refuses_to_write_unless_a_manager_is_named(shared: Emulator, command: Command) -> None:
    host, _, port = shared.node.removeprefix("http://").partition(":")
    node = {"ROLLING_ROUTER_STORE": "", "KV_IP": host, "KV_PORT": port}
    assert f"in occs:{shared.node}, revision" in command("status", **node).out
    refused = command("blend", "31", **node)
    assert (refused.status, "keys can be read only" in refused.err) == (1, True)
    assert command("blend", "31", "--occs-manager", shared.manager, **node).status == 0
    assert setting(shared, "blendpercent") == b"31"


def test_a_token_that_the_manager_does_not_know_is_told_without_showing_it(shared: Emulator, command: Command) -> None:
    refused = command("blend", "5", OCCS_API_TOKEN="f" * 64)
    assert refused.status == 3
    assert "f" * 64 not in refused.out + refused.err
    assert setting(shared, "blendpercent") == b"30"


def test_ctrl_c_in_the_middle_of_a_write_lets_it_end(shared: Emulator, command: Command) -> None:
    assert interrupted(command, BETWEEN, str(signal.SIGINT.value), "promote").status == 130
    assert shared.get(f"rolling/{APP}/candidate/id") == "rolling/null"
    assert shared.get(f"rolling/{APP}/blendpercent") == "0"
    assert [entry["what"] for entry in command("history", "--json").json["history"]] == ["promote"]


def test_ctrl_c_again_in_the_middle_of_a_write_changes_nothing(shared: Emulator, command: Command) -> None:
    assert interrupted(command, TWICE, "blend", "31") == Ended(130, "", "")
    assert setting(shared, "blendpercent") == b"31"


def test_a_write_that_was_killed_in_the_middle_is_finished_by_the_same_change(
    shared: Emulator, command: Command
) -> None:
    assert interrupted(command, BETWEEN, str(signal.SIGKILL.value), "promote").status == -signal.SIGKILL
    assert shared.get(f"rolling/{APP}/stable/id") == B
    assert shared.get(f"rolling/{APP}/candidate/id") == B
    assert command("promote").status == 0
    assert [shared.get(f"rolling/{APP}/{name}") for name in ("stable/id", "candidate/id", "blendpercent")] == [
        B,
        "rolling/null",
        "0",
    ]
