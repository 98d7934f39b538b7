"""The tutorial's Hello World on Node.js: by ``npm start``, as a real process."""

from __future__ import annotations

import configparser
import json
import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.outside import ROOT, get
from tests.ports import free_port

FOLDER = ROOT / "examples" / "hello-world-node"
SECONDS = 60.0


class HelloWorld:
    """One instance, in a process group of its own: `npm`, its shell and `node`."""

    def __init__(self, output: Path, *command: str, folder: Path = FOLDER, **variables: str) -> None:
        self.port = free_port()
        self._output = output
        environ = {name: text for name, text in os.environ.items() if name not in ("VERSION", "COLOUR")}
        with output.open("wb") as log:
            self.process = subprocess.Popen(
                command,
                cwd=folder,
                env={**environ, "HOST": "127.0.0.1", "PORT": str(self.port), **variables},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def log(self) -> str:
        return self._output.read_text("utf-8", "replace")

    def await_page(self) -> str:
        deadline = time.monotonic() + SECONDS
        while True:
            assert self.process.poll() is None, self.log()
            with suppress(OSError):
                status, page, fields = get(self.port, "/")
                assert (status, fields["content-type"]) == (200, "text/html; charset=utf-8")
                return page
            assert time.monotonic() < deadline, self.log()
            time.sleep(0.05)

    def end(self) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(SECONDS)


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., HelloWorld]]:
    started: list[HelloWorld] = []

    def begin(*command: str, **more: Any) -> HelloWorld:
        started.append(HelloWorld(tmp_path / f"output-{len(started)}", *command, **more))
        return started[-1]

    yield begin
    for one in started:
        one.end()


def test_npm_installs_and_starts_it_as_the_tutorial_does(start, tmp_path):
    # In a copy: npm writes its files anew, and other tests read them at the same time.
    folder = shutil.copytree(FOLDER, tmp_path / "source")
    installed = subprocess.run(
        ["npm", "install", "--no-audit", "--no-fund"], cwd=folder, capture_output=True, text=True, timeout=100
    )
    assert installed.returncode == 0, installed.stderr
    instance = start("npm", "start", folder=folder)
    page = instance.await_page()
    assert "<h1>Running Hello World v. 1.0.0</h1>" in page
    assert "background: yellow" in page
    instance.process.terminate()
    assert instance.process.wait(SECONDS) == 0
    with pytest.raises(ProcessLookupError):  # without `exec` in package.json, npm's shell ended and node lived on
        os.killpg(instance.process.pid, 0)


def test_another_version_has_another_colour(start):
    page = start("node", "server.js", VERSION="1.0.1", COLOUR="green").await_page()
    assert "v. 1.0.1<" in page
    assert "background: green" in page


def test_what_is_told_to_it_stays_text(start):
    assert "v. &lt;b&gt;&amp;&quot;<" in start("node", "server.js", VERSION='<b>&"').await_page()


def test_sigterm_ends_it_well(start):
    instance = start("node", "server.js")
    instance.await_page()
    instance.process.terminate()
    assert instance.process.wait(SECONDS) == 0


def test_it_says_that_it_is_healthy_and_knows_no_other_page(start):
    instance = start("node", "server.js")
    instance.await_page()
    assert get(instance.port, "/healthz")[:2] == (200, "ok\n")
    assert get(instance.port, "/?again")[0] == 200
    assert get(instance.port, "/other")[0] == 404


def test_a_taken_port_is_named(start):
    first = start("node", "server.js")
    first.await_page()
    second = start("node", "server.js", PORT=str(first.port))
    assert second.process.wait(SECONDS) == 1
    assert f"cannot listen on port {first.port}" in second.log()


def test_the_lock_file_is_of_this_version():
    package, lock = (json.loads((FOLDER / name).read_text("utf-8")) for name in ("package.json", "package-lock.json"))
    assert (package["name"], package["version"]) == (lock["name"], lock["version"])


def test_its_image_starts_what_npm_start_does():
    text = (FOLDER / "Dockerfile").read_text("utf-8")
    (copied,) = re.findall(r"^COPY (.*) \./$", text, re.MULTILINE)
    assert [name for name in copied.split() if not (FOLDER / name).is_file()] == []
    (command,) = re.findall(r"^CMD (.*)$", text, re.MULTILINE)
    package = json.loads((FOLDER / "package.json").read_text("utf-8"))
    assert package["scripts"]["start"] == f"exec {' '.join(json.loads(command))}"


# Its workflow


def workflow() -> dict[str, Any]:
    told: dict[str, Any] = yaml.safe_load((FOLDER / "wercker.yml").read_text("utf-8"))
    return told


PROGRAMS = ("npm", "node", "jq", "curl", "recode")


@pytest.fixture
def check(tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run the deploy pipeline's first step, where these programs are there."""
    step = workflow()["deploy"]["steps"][0]["script"]
    assert step["name"] == "check"

    def run(*programs: str) -> subprocess.CompletedProcess[str]:
        folder = tmp_path / "bin"
        folder.mkdir()
        for name in programs:
            (folder / name).write_text(f'#!/bin/sh\n[ "$1" = --version ] && echo "{name} 1.2.3" && echo more\n')
            (folder / name).chmod(0o755)
        (folder / "head").symlink_to("/usr/bin/head")
        return subprocess.run(
            ["/bin/bash", "-c", step["code"]], env={"PATH": str(folder)}, capture_output=True, text=True
        )

    return run


def test_the_check_step_prints_versions(check):
    ended = check(*PROGRAMS)
    assert (ended.returncode, ended.stderr) == (0, "")
    assert ended.stdout.splitlines() == [f"{name}: {name} 1.2.3" for name in PROGRAMS]


@pytest.mark.parametrize("missing", PROGRAMS)
def test_the_check_step_fails_where_one_is_missing(check, missing):
    ended = check(*(name for name in PROGRAMS if name != missing))
    assert ended.returncode != 0
    assert ended.stderr == f"The box lacks: {missing}\n"


def test_its_workflow_has_the_tutorials_pipelines_and_steps():
    told = workflow()
    assert told["box"] == {
        "id": "$DOCKER_REGISTRY/$IMAGE_NAME",
        "tag": "$APP_TAG",
        "registry": "https://registry.hub.docker.com",
    }
    assert told["build"] == {"steps": ["npm-install"]}
    _, push, deploy = told["deploy"]["steps"]
    assert push == {
        "internal/docker-push": {
            "username": "$DOCKER_USERNAME",
            "password": "$DOCKER_PASSWORD",
            "tag": "$WERCKER_MAIN_PIPELINE_STARTED",
            "repository": "$DOCKER_REGISTRY/$IMAGE_NAME",
            "registry": "https://registry.hub.docker.com",
        }
    }
    step = yaml.safe_load((ROOT / "ci" / "wercker" / "wercker-step.yml").read_text("utf-8"))
    assert deploy == f"your-account/{step['name']}@{step['version']}"


def test_the_box_has_what_the_check_step_asks_for():
    text = (ROOT / "ci" / "wercker" / "box" / "Dockerfile").read_text("utf-8")
    assert re.search(r"^ARG BASE=node:", text, re.MULTILINE), "node and npm"
    (packages,) = re.findall(r"apt-get install --yes --no-install-recommends ([\w\- ]+)", text)
    assert {"curl", "jq", "recode"} <= set(packages.split())
    assert all(f"{name} --version" in text for name in PROGRAMS)


# The service of the tutorial


def test_the_service_is_the_tutorials_with_the_image_of_this_version():
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg", "utf-8")
    text = (ROOT / "examples" / "occs" / "rolling-router-sticky.yml").read_text("utf-8")
    assert yaml.safe_load(text) == {
        "version": 2,
        "services": {
            "rolling-router-sticky": {
                "image": f"example/rolling-router-sticky-sessions:{setup['metadata']['version']}",
                "environment": [
                    "occs:availability=per-pool",
                    "occs:scheduler=random",
                    "OCCS_API_TOKEN={{api_token}}",
                    "KV_IP=172.17.0.1",
                    "KV_PORT=9109",
                    "APP_NAME=docker-hello-world",
                ],
                "ports": ["80:80/tcp", "8080:8080/tcp"],
            }
        },
    }
