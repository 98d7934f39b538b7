"""Deploy, rollback and promote under load, on the emulator, at blend 0, 50 and 100: no request fails."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.delivery import FIRST, PORT, SECOND, THIRD, Ci
from tests.occs import Emulator, deployment, emulating

from .command import Command
from .conftest import StartRouter
from .load import Load
from .router import APP, Router, until


@pytest.fixture(scope="module")
def emulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Emulator]:
    with emulating(tmp_path_factory.mktemp("emulator"), "--ready-seconds=0.2", "--stop-seconds=2") as emulator:
        yield emulator


@pytest.fixture(scope="module")
def ci(emulator: Emulator) -> Ci:
    """A stable version of two instances."""
    ci = Ci(emulator, APP)
    emulator.json("POST", "/api/v2/deployments/", deployment(ci.id(FIRST), 2, image=f"me/hello-world:{FIRST}"))
    until(lambda: ci.deployments()[ci.id(FIRST)] == 1, 60, "it runs")
    ci.set_up(stable=ci.path(FIRST))
    return ci


@pytest.fixture(scope="module")
def router(ci: Ci, start_router: StartRouter) -> Router:
    emulator = ci.emulator
    environ = {"OCCS_CA": str(emulator.ca_file), "OCCS_API_TOKEN": emulator.token}
    return start_router(None, "--store", f"occs:{emulator.manager}", environ=environ)


@pytest.fixture
def command(ci: Ci, router: Router, tmp_path: Path) -> Command:
    environ = {
        "ROLLING_ROUTER_STORE": f"occs:{ci.emulator.manager}",
        "ROLLING_ROUTER_ROUTER": f"http://127.0.0.1:{router.admin}",
        "OCCS_CA": str(ci.emulator.ca_file),
        "OCCS_API_TOKEN": ci.emulator.token,
    }
    return Command(tmp_path / "nothing", environ)


def answered_by(load: Load) -> set[str]:
    """The versions of a hundred answers, from some time after now."""
    for _ in range(2):  # the first ones may have been under way
        load.forget()
        until(lambda: sum(load.versions.values()) > 100, 60, "traffic")
    return set(load.versions)


@pytest.mark.parametrize("blend", [0, 50, 100])
def test_deploy_and_rollback_under_load_fail_no_request(ci: Ci, router: Router, command: Command, blend: int) -> None:
    assert ci.deploy(SECOND).status == 0
    assert command("blend", str(blend), "--wait").status == 0
    with Load(router, pause_seconds=0.1) as load:
        until(lambda: sum(load.versions.values()) > 200, 60, "traffic")
        assert set(load.versions) == {*([FIRST] if blend < 100 else []), *([SECOND] if blend else [])}
        done = ci.deploy(THIRD, "--grace-seconds=2", SCALE_AMOUNT="2")
        assert (done.status, f"removed {ci.id(SECOND)}" in done.out) == (0, True)
        assert ci.settings() == (ci.path(FIRST), ci.path(THIRD), "0")
        assert answered_by(load) == {FIRST}, "nothing reaches the new candidate"
        assert command("blend", str(blend), "--wait").status == 0
        assert command("rollback", "--wait").status == 0
        assert answered_by(load) == {FIRST}
    ci.emulator.json("POST", f"/api/v2/deployments/{ci.id(THIRD)}/stop")
    until(lambda: ci.deployments()[ci.id(THIRD)] == 0, 60, "it stops")
    until(lambda: ci.emulator.ask("DELETE", f"/api/v2/deployments/{ci.id(THIRD)}")[0] == 200, 60, "it is gone")
    assert ci.emulator.keys(f"apps/app-{ci.id(THIRD)}-{PORT}") == {}
