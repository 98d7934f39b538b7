"""tutorial.section_b: the emulator starts, and runs the router as its service from the published YAML."""

from __future__ import annotations

import re
import urllib.request
from pathlib import Path

import yaml

from examples.tutorial import commands
from examples.tutorial.machine import ROOT, until
from examples.tutorial.player import Elsewhere, Section
from examples.tutorial.walk import APP, ROUTER, ROUTER_ID, Walk

section = Section("B", "Run the router as a service")
YAML = ROOT / "examples" / "occs" / "rolling-router-sticky.yml"
FOUR = ("OCCS_API_TOKEN", "KV_IP", "KV_PORT", "APP_NAME")


@section.item(6, "A YAML of version 2 defines the service rolling-router-sticky and is deployed as it stands.")
def deployed(walk: Walk) -> None:
    walk.start_emulator()
    walk.machine.run(commands.RUN_ROUTER)
    until(lambda: walk.platform.is_running(ROUTER_ID), f"the router runs: {walk.log()[-2000:]}")
    found = walk.platform.deployments()[ROUTER_ID]["stack"]
    assert found["content"] == YAML.read_text("utf-8")
    assert found["service_id"] == ROUTER


@section.item(7, "Four variables are its whole configuration, and {{api_token}} arrives as the token.")
def four_variables(walk: Walk) -> str:
    told = yaml.safe_load(YAML.read_text("utf-8"))["services"][ROUTER]["environment"]
    assert [text.partition("=")[0] for text in told if not text.startswith("occs:")] == list(FOUR)
    ready = re.sub(r".*http://", "", (walk.folder / "ready.json").read_text().partition('"node"')[2]).partition('"')[0]
    (found,) = [one for one in environments() if one.get("OCCS_API_TOKEN") == walk.platform.token and "KV_IP" in one]
    assert found["APP_NAME"] == APP
    assert f"{found['KV_IP']}:{found['KV_PORT']}" == ready
    own = {name for name in found if name.startswith("ROLLING_ROUTER_")}
    assert own <= {"ROLLING_ROUTER_LISTEN", "ROLLING_ROUTER_ADMIN"}, own
    return "beside them only where ports 80 and 8080 are on this machine"


def environments() -> list[dict[str, str]]:
    """Of all processes that may be read."""
    found = []
    for path in Path("/proc").glob("[0-9]*/environ"):
        try:
            lines = path.read_bytes().decode("utf-8", "replace").split("\0")
        except OSError:
            continue  # another user's, or gone
        found.append(dict(line.split("=", 1) for line in lines if "=" in line))
    return found


@section.item(8, "Availability per pool and the random scheduler are accepted and give one router.")
def one_router(walk: Walk) -> None:
    content = walk.platform.deployments()[ROUTER_ID]["stack"]["content"]
    assert "occs:availability=per-pool" in content
    assert "occs:scheduler=random" in content
    assert [one["state"] for one in walk.platform.containers(ROUTER_ID)] == ["Running"]


@section.item(9, "Port 80 has the application and port 8080 the settings page, where the machine maps them.")
def two_ports(walk: Walk) -> None:
    for container, port in ((80, walk.app_port), (8080, walk.settings_port)):
        found = walk.platform.instances(ROUTER_ID, container, ROUTER)
        assert list(found.values()) == [f"127.0.0.1:{port}"]
    with urllib.request.urlopen(walk.settings_url, timeout=30) as answer:
        assert b'id="setup"' in answer.read()


@section.item(10, "Nobody has to build an image before there is something to see.")
def no_build(walk: Walk) -> Elsewhere:
    assert walk.look().status
    return Elsewhere("docs/image.md, with an image that is published", "the router runs here, and nothing was built")


@section.item(11, "Before anything is set up the router runs, and says that the application is not there yet.")
def not_yet(walk: Walk) -> str:
    printed = walk.machine.run(commands.NOT_YET)
    seen = walk.look()
    assert seen.status == 503
    assert "not set up yet" in seen.text
    assert "not set up yet" in printed
    with urllib.request.urlopen(f"{walk.settings_url}healthz", timeout=30) as answer:
        assert answer.status == 200
    return "503, in plain words"
