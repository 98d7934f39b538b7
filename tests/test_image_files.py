"""What the image is made with, as far as one can tell without an engine; `make test-image` builds and runs it."""

from __future__ import annotations

import configparser
import os
import re
import subprocess

import pytest

from rolling_router.options import OPTIONS
from tests.outside import ROOT

DOCKERFILE = (ROOT / "Dockerfile").read_text("utf-8")


@pytest.fixture
def choose(tmp_path):
    """Run `image/engine` where these engines are installed; the value is whether they work."""

    def run(engines, **variables):
        for name, works in engines.items():
            (tmp_path / name).write_text(f"#!/bin/sh\nexit {0 if works else 1}\n")
            (tmp_path / name).chmod(0o755)
        (tmp_path / "bash").symlink_to("/bin/bash")
        environ = {"PATH": str(tmp_path), **variables}
        return subprocess.run([ROOT / "image" / "engine"], env=environ, capture_output=True, text=True)

    return run


@pytest.mark.parametrize(
    ("engines", "chosen"),
    [
        ({"docker": True, "podman": True, "buildah": True}, "docker"),
        ({"docker": False, "buildah": True}, "buildah"),
        ({"podman": True}, "podman"),
    ],
)
def test_the_first_engine_that_works_is_chosen(choose, engines, chosen):
    ended = choose(engines)
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, f"{chosen}\n", "")


def test_the_environment_chooses_before(choose):
    assert choose({"docker": True}, ENGINE="buildah").stdout == "buildah\n"


def test_no_engine_is_said_plainly(choose):
    ended = choose({})
    assert (ended.returncode, ended.stdout) == (1, "")
    assert ended.stderr == "No image can be built: install Docker, Podman or Buildah\n"


def test_an_engine_that_does_not_work_is_named(choose):
    ended = choose({"docker": False})
    assert (ended.returncode, ended.stdout) == (1, "")
    assert ended.stderr == "No image can be built: docker is installed, but does not work; try: docker info\n"


def test_the_build_is_given_all_that_the_wheel_is_made_of():
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg", "utf-8")
    folders = {line.split(" = ")[1].split("/")[0] for line in setup["options"]["package_dir"].strip().splitlines()}
    given = {line.removeprefix("!") for line in (ROOT / ".dockerignore").read_text().splitlines() if line[:1] == "!"}
    assert folders | {"README.md", "LICENSE", "setup.cfg", "pyproject.toml", "image"} <= given


def test_the_image_sets_options_that_exist():
    variables = {option.variable for option in OPTIONS}
    assert set(re.findall(r"\bROLLING_ROUTER_[A-Z_]+", DOCKERFILE)) <= variables


@pytest.mark.parametrize("name", ["start", "healthy", "engine"])
def test_its_scripts_can_be_run(name):
    assert os.access(ROOT / "image" / name, os.X_OK)
