"""tutorial.section_h: the workflow from a push to a candidate, run as Wercker's runner does."""

from __future__ import annotations

import os
import re
import shutil
from typing import Any

import yaml

from examples.tutorial import commands
from examples.tutorial.machine import ROOT
from examples.tutorial.player import Elsewhere, Section
from examples.tutorial.walk import PASSWORD, Walk

section = Section("H", "The workflow")
SOURCE = ROOT / "examples" / "hello-world-node"
TOOLS = ("npm", "node", "jq", "curl", "recode")
NEEDED = ("SERVICE_MANAGER", "API_TOKEN", "APP_NAME", "DOCKER_REGISTRY", "IMAGE_NAME", "EXPOSED_PORT")
THIRTEEN = (
    "SERVICE_MANAGER", "API_TOKEN", "APP_NAME", "APP_FRIENDLY_NAME", "DOCKER_EMAIL", "DOCKER_USERNAME",
    "DOCKER_PASSWORD", "DOCKER_REGISTRY", "EXPOSED_PORT", "IMAGE_NAME", "APP_TAG", "SCALE_AMOUNT", "DOCKER_CMD",
)  # fmt: skip


def workflow() -> dict[str, Any]:
    told: dict[str, Any] = yaml.safe_load((SOURCE / "wercker.yml").read_text("utf-8"))
    return told


def step_names(pipeline: str) -> list[str]:
    return [one if isinstance(one, str) else next(iter(one)) for one in workflow()[pipeline]["steps"]]


def first_run(walk: Walk) -> str:
    """What the first run of the workflow prints; it is started once, by whichever item looks first."""
    if walk.first_run is None:
        walk.first_run = walk.machine.run(commands.FIRST_RUN)
    return walk.first_run


@section.item(30, "wercker.yml has the pipelines build and deploy; living services have files for the same.")
def pipelines(walk: Walk) -> str:
    told = workflow()
    assert "build" in told
    assert "deploy" in told
    action = yaml.safe_load((ROOT / "ci" / "github" / "action.yml").read_text("utf-8"))
    assert action["runs"]["using"] == "composite"
    gitlab = list((ROOT / "ci" / "gitlab").glob("*.yml"))
    assert gitlab
    assert all(yaml.safe_load(path.read_text("utf-8")) for path in gitlab)
    return "a GitHub action and a GitLab template"


@section.item(31, "Thirteen variables configure it; what is missing is named before anything is sent.")
def variables(walk: Walk) -> str:
    told = (SOURCE / "README.md").read_text("utf-8")
    assert all(f"`{name}`" in told for name in THIRTEEN)
    before = walk.platform.deployments()
    printed = walk.machine.run(
        f"unset {' '.join(NEEDED)} OCCS_API_TOKEN_FILE ROLLING_ROUTER_STORE; rolling-router deploy", expected=None
    )
    assert [name for name in NEEDED if name not in printed] == [], printed
    assert walk.platform.deployments() == before
    return f"all {len(NEEDED)} that it cannot do without were named at once"


@section.item(32, "The box is the account's image with the tag of a variable.")
def box(walk: Walk) -> str:
    assert workflow()["box"]["id"] == "$DOCKER_REGISTRY/$IMAGE_NAME"
    assert workflow()["box"]["tag"] == "$APP_TAG"
    assert "the box me/hello-world:latest" in first_run(walk)
    return "its name is made of them; nothing is pulled here"


@section.item(33, "build has one step, npm-install.")
def build(walk: Walk) -> None:
    assert step_names("build") == ["npm-install"]
    assert "step npm-install: passed" in first_run(walk)


@section.item(34, "deploy has three steps: the check of the box's programs, the push, and the deploy.")
def deploy(walk: Walk) -> str:
    check, push, last = step_names("deploy")
    assert (check, push) == ("script", "internal/docker-push")
    assert "rolling-router-deploy" in last.lower()
    printed = first_run(walk)
    for program in TOOLS:
        assert re.search(rf"^{program}: .*\d", printed, re.M), program
    code = workflow()["deploy"]["steps"][0]["script"]["code"]
    place = walk.folder / "box"
    place.mkdir()
    for program in (*TOOLS[:-1], "bash", "head"):
        found = shutil.which(program)
        assert found, program
        os.symlink(found, place / program)
    (walk.folder / "check.sh").write_text(code)
    lacking = walk.machine.run(f'PATH={place}; bash -c ". {walk.folder}/check.sh"', expected=None)
    assert TOOLS[-1] in lacking.splitlines()[-1]
    return "and the check fails in a box without one of them"


@section.item(35, "The image's tag is the time of the run's start.")
def tag(walk: Walk) -> Elsewhere:
    printed = first_run(walk)
    (only,) = walk.tags()
    assert re.fullmatch(r"\d{10}", only)
    assert f"pushed me/hello-world:{only}" in printed
    return Elsewhere(f"{'make test-image'} pushes to a real registry", f"a folder takes its place, and has tag {only}")


@section.item(36, "The last step keeps the contract of Wercker's steps, and runs without Wercker.")
def step(walk: Walk) -> str:
    told = yaml.safe_load((ROOT / "ci" / "wercker" / "wercker-step.yml").read_text("utf-8"))
    assert told["name"]
    assert re.fullmatch(r"\d+\.\d+\.\d+", told["version"])
    assert isinstance(told["properties"], dict)
    assert (ROOT / "ci" / "wercker" / "run.sh").exists()
    assert re.search(r"step \S*rolling-router-deploy\S*: passed", first_run(walk), re.I)
    return "sourced into the pipeline's shell"


@section.item(37, "The first build can be started by hand.")
def by_hand(walk: Walk) -> None:
    first_run(walk)
    assert walk.candidate.startswith("docker-hello-world-")


@section.item(38, "The run shows its pipelines and their steps, all green, also at the very first deployment.")
def green(walk: Walk) -> str:
    printed = first_run(walk)
    passed = re.findall(r"^ *(?:pipeline|step) (\S+): passed$", printed, re.M)
    assert [*passed[:4], passed[5]] == ["npm-install", "build", "check", "internal/docker-push", "deploy"], passed
    assert "failed" not in printed
    for secret in (walk.platform.token, PASSWORD):
        assert secret not in printed
    return "and no secret"
