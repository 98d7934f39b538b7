"""The router as a service of the OCCS emulator: the published YAML as it stands, and the walk's first half."""

from __future__ import annotations

import re
import urllib.error
import urllib.request
from collections import Counter
from contextlib import suppress

import pytest

from tests.live.router import until
from tests.occs import ROOT, deployment, emulating

SECONDS = 90.0
APP = "docker-hello-world"
ID = "rolling-router-sticky-20170619-150030"

YAML = (ROOT / "examples" / "occs" / "rolling-router-sticky.yml").read_text("utf-8")


@pytest.fixture(scope="module")
def emulator(tmp_path_factory):
    with emulating(tmp_path_factory.mktemp("emulator"), "--publish", "*=free", "--ready-seconds=0") as emulator:
        service = "rolling-router-sticky"
        stack = {"service_id": service, "service_name": service, "subtype": "service", "content": YAML}
        told = {**deployment(ID), "quantities": {service: 1}, "stack": stack}
        emulator.json("POST", "/api/v2/deployments/", told)
        until(lambda: is_running(emulator, ID), SECONDS, "the router runs")
        yield emulator


def is_running(emulator, id_):
    one = emulator.json("GET", f"/api/v2/deployments/{id_}")["deployment"]
    return one["desired_state"] == one["current_state"] == 1


def address(emulator, port):
    """Where the router is, as its discovery key has it."""
    (found,) = emulator.keys(f"apps/rolling-router-sticky-{ID}-{port}/containers/").values()
    return found


def ask(emulator):
    """Status and page of the application, by way of the router."""
    try:
        with urllib.request.urlopen(f"http://{address(emulator, 80)}/", timeout=30) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as wrong:
        return wrong.code, wrong.read().decode()


def version(emulator):
    status, page = ask(emulator)
    found = re.search(r"Hello World v\. ([\d.]+)<", page)
    return found[1] if status == 200 and found else None


def deploy(emulator, id_, tag):
    emulator.json("POST", "/api/v2/deployments/", deployment(id_, 2, image=f"me/hello-world:{tag}"))
    until(lambda: is_running(emulator, id_), SECONDS)


def choose(emulator, role, id_):
    emulator.put(f"rolling/{APP}/{role}/id", f"apps/app-{id_}-3000/containers")


def test_it_runs_with_the_four_variables_alone_and_routes_what_the_keys_say(emulator):
    assert len(emulator.keys(f"apps/rolling-router-sticky-{ID}-")) == 2
    status, page = ask(emulator)
    assert status == 503
    assert "This application is not set up yet" in page
    with urllib.request.urlopen(f"http://{address(emulator, 8080)}/healthz", timeout=30) as answer:
        assert answer.status == 200

    deploy(emulator, f"{APP}-1", "1.0.0")
    emulator.put("rolling/null", "-")
    for key, value in {"candidate/id": "rolling/null", "blendpercent": "0", "stickyness": "0"}.items():
        emulator.put(f"rolling/{APP}/{key}", value)
    choose(emulator, "stable", f"{APP}-1")
    until(lambda: version(emulator) == "1.0.0", SECONDS)

    deploy(emulator, f"{APP}-2", "1.0.1")
    choose(emulator, "candidate", f"{APP}-2")
    emulator.put(f"rolling/{APP}/blendpercent", "50")
    until(lambda: {version(emulator), version(emulator)} == {"1.0.0", "1.0.1"}, SECONDS)
    assert Counter(version(emulator) for _ in range(20)) == {"1.0.0": 10, "1.0.1": 10}

    # A stop takes the keys first, so that the router has time to look elsewhere: nobody sees an error.
    emulator.put(f"rolling/{APP}/blendpercent", "0")
    until(lambda: {version(emulator) for _ in range(4)} == {"1.0.0"}, SECONDS)
    containers = emulator.json("GET", f"/api/v2/deployments/{APP}-1/containers/")["containers"]
    emulator.json("POST", f"/api/v2/containers/{containers[0]['container_id']}/stop")
    seen = set()

    def is_replaced():
        seen.add(version(emulator))
        told = emulator.json("GET", f"/api/v2/deployments/{APP}-1/containers/")["containers"]
        ids = {one["container_id"] for one in told if one["state"] == "Running"}
        return len(ids) == 2 and containers[0]["container_id"] not in ids

    until(is_replaced, SECONDS)
    assert seen == {"1.0.0"}


def test_a_router_that_dies_is_replaced_and_told_of_anew(emulator):
    (before,) = emulator.json("GET", f"/api/v2/deployments/{ID}/containers/")["containers"]
    emulator.json("POST", f"/api/v2/containers/{before['container_id']}/kill")

    def is_another():
        with suppress(ValueError, OSError):
            (now,) = emulator.json("GET", f"/api/v2/deployments/{ID}/containers/")["containers"]
            return now["container_id"] != before["container_id"] and now["state"] == "Running"

    until(is_another, SECONDS)
    assert ask(emulator)[0] in (200, 503)
    assert emulator.token not in emulator.output()
