"""The router on an occs store that is away, slow or refuses us: whatever happens there, clients notice nothing."""

from __future__ import annotations

import json
import signal
import statistics
import time
import urllib.request
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.occs import Emulator, emulating
from tests.ports import free_port

from .command import Command
from .conftest import StartInstance, StartRouter
from .instance import Instance
from .load import Load
from .router import APP, START_SECONDS, TOKEN, Keys, Router, rollout, run, until
from .wire import Wire, get

AWAY_SECONDS = 10.0


@pytest.fixture(scope="module")
def emulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Emulator]:
    with emulating(tmp_path_factory.mktemp("emulator")) as emulator:
        yield emulator


@pytest.fixture(scope="module")
def old(start_instance: StartInstance) -> Instance:
    return start_instance("1.0")


@pytest.fixture(scope="module")
def new(start_instance: StartInstance) -> Instance:
    return start_instance("1.1")


@pytest.fixture(autouse=True)
def healthy(emulator: Emulator, old: Instance, new: Instance) -> None:
    """Every test begins with a good manager and a rollout half way."""
    emulator.control.mend()
    write(emulator, rollout([old], [new], 50))


def write(emulator: Emulator, keys: Keys) -> None:
    """Instances before those who name them: it is not done in one step."""
    for key, text in sorted(keys.items()):
        emulator.put(key, text)


def environ(emulator: Emulator) -> dict[str, str]:
    return {"OCCS_API_TOKEN_FILE": str(emulator.token_file), "OCCS_CA": str(emulator.ca_file)}


@pytest.fixture(scope="module")
def start(start_router: StartRouter, emulator: Emulator) -> Any:
    """Start a router on the manager, and wait until the rollout is in force."""

    def begin(*options: str, where: str | None = None, **more: str) -> Router:
        router = start_router(
            None, "--store", f"occs:{where or emulator.manager}", *options, environ={**environ(emulator), **more}
        )
        in_force(router, 50)
        return router

    return begin


@pytest.fixture(scope="module")
def router(start: Any, emulator: Emulator, old: Instance, new: Instance) -> Router:
    write(emulator, rollout([old], [new], 50))
    started: Router = start()
    return started


def in_force(router: Router, blend: int, seconds: float = 30.0) -> None:
    until(
        lambda: (found := router.status())["snapshot"]["blend"] == blend and found["store"]["source"] == "store",
        seconds,
        f"blend {blend} is in force",
    )


def trouble(router: Router, *words: str, seconds: float = 30.0) -> str:
    def found() -> str | None:
        text = router.status()["store"]["trouble"]
        return text if text is not None and all(word in text for word in words) else None

    text: str = until(found, seconds, f"the status says {words}")
    return text


def back(router: Router) -> float:
    """Wait until the store is back, and say how long that took."""
    began = time.monotonic()
    until(lambda: router.status()["store"]["trouble"] is None, 30.0, "the store is back")
    return time.monotonic() - began


# The original image's way


def test_the_original_image_s_four_variables_are_enough(emulator: Emulator, tmp_path: Path) -> None:
    node = urlsplit(emulator.node)
    four = {"KV_IP": "127.0.0.1", "KV_PORT": str(node.port), "OCCS_API_TOKEN": emulator.token, "APP_NAME": APP}
    port, admin = free_port(), free_port()
    ports = {"ROLLING_ROUTER_LISTEN": f"tcp:{port}:interface=127.0.0.1", "ROLLING_ROUTER_ADMIN": f"tcp:{admin}"}
    process = run(tmp_path, [], {**four, **ports})
    try:

        def status() -> Any:
            with suppress(OSError):
                asking = urllib.request.Request(f"http://127.0.0.1:{admin}/api/v1/status")
                asking.add_header("Authorization", f"Bearer {TOKEN}")
                return json.load(urllib.request.urlopen(asking, timeout=30))

        until(lambda: (found := status()) and found["snapshot"]["blend"] == 50, START_SECONDS)
        with Wire(port) as wire:
            assert {wire.ask(get()).version for _ in range(4)} == {"1.0", "1.1"}
        assert status()["store"]["description"] == f"occs:{emulator.node}"
        command_line = Path(f"/proc/{process.pid}/cmdline").read_bytes()
        assert emulator.token.encode() not in command_line
    finally:
        process.terminate()
        assert process.wait(30) == 0
    assert emulator.token not in (tmp_path / "stdout").read_text() + (tmp_path / "stderr").read_text()


# A change


def test_another_version_is_in_force_in_one_step(
    router: Router, emulator: Emulator, start_instance: StartInstance, old: Instance
) -> None:
    fresh = start_instance("1.2")
    in_force(router, 50)
    with Load(router, 8) as load:
        for keys in (rollout([fresh], [old], 50), rollout([old], [fresh], 100)):
            wanted = (keys[f"rolling/{APP}/stable/id"], keys[f"rolling/{APP}/candidate/id"])
            write(emulator, keys)
            began = time.monotonic()
            until(lambda wanted=wanted: paths(router) == wanted)
            print(f"in force after {time.monotonic() - began:.2f} s")
    assert load.wrong == []


def paths(router: Router) -> tuple[str, ...]:
    found = router.status()["snapshot"]
    versions = [found[role] for role in ("stable", "candidate")]
    assert all(version is None or version["instances"] for version in versions), "a version without its instances"
    return tuple(
        f"apps/app-{version['version']}-{version['port']}/containers" if version else "" for version in versions
    )


def path_of(instance: Instance) -> str:
    return f"apps/app-{instance.version}-80/containers"


# Trouble


def test_a_manager_that_is_away_for_ten_seconds_costs_no_request(router: Router, emulator: Emulator) -> None:
    in_force(router, 50)
    with Load(router) as load:
        emulator.stop()
        gone = time.monotonic()
        said = trouble(router, emulator.manager, "refuses connections")
        load.forget()
        until(lambda: router.status()["store"]["age_seconds"] > 2.0)
        assert f'rolling_router_store_up{{app="{APP}"}} 0.0' in router.metrics()
        assert router.get("/readyz")[0] == 200
        time.sleep(max(0.0, AWAY_SECONDS - (time.monotonic() - gone)))
        assert set(load.versions) == {"1.0", "1.1"}
        emulator.start()
        print(f"back after {back(router):.2f} s; {len(load.seconds)} answers meanwhile")
        assert router.status()["store"]["age_seconds"] == 0
        emulator.put(f"rolling/{APP}/blendpercent", "60")
        in_force(router, 60)
    assert router.output().count(said) == 1, "one line for one trouble"


@pytest.mark.parametrize(
    ("outage", "words"), [("refuse", "refuses connections"), ("500", "status 500"), ("hang", "9 seconds")]
)
def test_a_manager_in_trouble_is_named_and_missed_and_no_more(
    router: Router, emulator: Emulator, outage: str, words: str
) -> None:
    in_force(router, 50)
    with Load(router, 8):
        emulator.control.faults(outage=outage)
        said = trouble(router, words)
        assert emulator.manager in said
        emulator.control.mend()
        took = back(router)
        emulator.put(f"rolling/{APP}/blendpercent", "61")
        in_force(router, 61)
    print(f"{outage}: back after {took:.2f} s")


def test_a_token_that_expires_is_one_clear_line_and_serving_goes_on(start: Any, emulator: Emulator) -> None:
    expired = emulator.token
    router: Router = start()
    with Load(router, 8):
        emulator.control.expire_token()
        said = trouble(router, "refuses the token of OCCS_API_TOKEN_FILE", "401")
        time.sleep(3.0)  # several polls later
        assert router.status()["store"]["trouble"] == said
        fresh = emulator.sign_in()
        assert fresh != expired
        beside = emulator.token_file.with_suffix(".beside")
        beside.write_text(fresh)
        beside.replace(emulator.token_file)  # whole: an empty one would be another trouble
        back(router)
    lines = [line for line in router.output().splitlines() if "token" in line]
    assert len(lines) == 1, lines
    assert "factory" not in router.output(), "nor is it buried among lines about connections"
    assert expired not in router.output()
    assert fresh not in router.output()


def test_a_slow_manager_slows_nobody_else(router: Router, emulator: Emulator) -> None:
    in_force(router, 50)
    with Load(router, 4) as load:
        until(lambda: len(load.seconds) > 100)
        usual = statistics.median(load.seconds)
        emulator.control.faults(latency_seconds=5.0)
        load.forget()
        emulator.put(f"rolling/{APP}/blendpercent", "40")
        in_force(router, 40, 60.0)
        slow = list(load.seconds)
        emulator.control.mend()
    print(f"answers took {usual * 1000:.1f} ms, and {statistics.median(slow) * 1000:.1f} ms with a manager of 5 s")
    assert len(slow) > 10 * load.connections
    assert max(slow) < 4.5, "somebody waits for the manager, as long as it takes"
    assert router.status()["store"]["trouble"] is None


def test_a_router_that_was_killed_serves_again_while_the_manager_is_away(start: Any, emulator: Emulator) -> None:
    router: Router = start("--state-dir", "state")
    saved = router.directory / "state" / f"snapshot-{APP}.json"
    until(saved.exists)
    router.signal(signal.SIGKILL)
    router.wait()
    emulator.stop()
    try:
        router.start()
        until(lambda: router.status()["store"]["source"] == "saved")
        with router.wire() as wire:
            assert {wire.ask(get()).version for _ in range(4)} == {"1.0", "1.1"}
        trouble(router, emulator.manager)
        assert router.status()["store"]["age_seconds"] > 0
        assert "rolling_router_snapshot_age_seconds" in router.metrics()
    finally:
        emulator.start()
    back(router)
    assert router.status()["store"]["source"] == "store"


def test_a_start_while_the_manager_hangs_serves_what_was_saved(start: Any, emulator: Emulator) -> None:
    router: Router = start("--state-dir", "state")
    until((router.directory / "state" / f"snapshot-{APP}.json").exists)
    router.stop()
    emulator.control.faults(outage="hang")
    router.start()
    assert router.ask(get()).status == 200
    assert router.status()["store"]["source"] == "saved"
    before, _, _ = router.output().partition("serving what")
    assert "the store is lost" not in before, "served before the manager's nine seconds are over"
    assert f'rolling_router_store_up{{app="{APP}"}} 0.0' in router.metrics()
    emulator.control.mend()
    until(lambda: router.status()["store"]["source"] == "store")


def test_a_store_that_cannot_be_opened_ends_the_start_with_one_line(emulator: Emulator, tmp_path: Path) -> None:
    cases: list[tuple[str, dict[str, str], str]] = [
        (emulator.manager, {}, "OCCS_API_TOKEN"),
        (emulator.manager, {"OCCS_API_TOKEN": "x", "OCCS_CA": "/no/such"}, "OCCS_CA is '/no/such'"),
        ("ftp://x", {}, "occs:https://10.0.0.1"),
        (emulator.node, {"OCCS_MANAGER": "http://x", "OCCS_API_TOKEN": "x"}, "OCCS_MANAGER"),
    ]
    for number, (where, variables, words) in enumerate(cases):
        directory = tmp_path / str(number)
        directory.mkdir()
        process = run(directory, ["--app", APP, "--store", f"occs:{where}"], variables)
        assert process.wait(START_SECONDS) == 1
        (line,) = (directory / "stderr").read_text().splitlines()
        assert words in line


# The command


def command(emulator: Emulator, directory: Path, where: str | None = None, **more: str) -> Command:
    variables = {**environ(emulator), "ROLLING_ROUTER_STORE": f"occs:{where or emulator.manager}", **more}
    return Command(directory / "unused", variables)


@pytest.mark.parametrize("blend", [0, 50, 100])
@pytest.mark.parametrize("what", ["promote", "rollback"])
def test_a_promote_and_a_rollback_under_load_fail_no_request(
    router: Router, emulator: Emulator, old: Instance, new: Instance, tmp_path: Path, what: str, blend: int
) -> None:
    write(emulator, rollout([old], [new], blend))
    in_force(router, blend)
    until(lambda: paths(router) == (path_of(old), path_of(new)))
    with Load(router) as load:
        ended = command(emulator, tmp_path)(what)
        assert (ended.status, ended.err) == (0, "")
        wanted = new if what == "promote" else old
        until(lambda: paths(router) == (path_of(wanted), ""))
        load.forget()
        until(lambda: len(load.seconds) > 100)
        assert set(load.versions) == {wanted.version}
    assert load.wrong == []
    assert emulator.get(f"rolling/{APP}/candidate/id") == "rolling/null"
    assert emulator.get(f"rolling/{APP}/blendpercent") == "0"


def test_the_command_on_a_node_writes_through_the_manager_or_says_what_is_wanting(
    emulator: Emulator, tmp_path: Path
) -> None:
    alone = command(emulator, tmp_path, emulator.node)
    assert alone("status").status == 0
    refused = alone("blend", "9")
    assert refused.status == 1
    assert "set OCCS_MANAGER" in refused.err
    assert emulator.get(f"rolling/{APP}/blendpercent") == "50"
    both = command(emulator, tmp_path, emulator.node, OCCS_MANAGER=emulator.manager)
    assert both("blend", "9").status == 0
    assert emulator.get(f"rolling/{APP}/blendpercent") == "9"
    node = urlsplit(emulator.node)
    four = Command(tmp_path / "unused", {"KV_IP": "127.0.0.1", "KV_PORT": str(node.port), "ROLLING_ROUTER_STORE": ""})
    assert "blend       9 %" in four("status").out
