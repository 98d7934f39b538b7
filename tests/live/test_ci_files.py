"""The CI files, as their services would run them: a deploy against the emulator from each, and what a failure does."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sysconfig
from collections.abc import Iterator, Mapping
from itertools import count
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.delivery import FIRST, NULL, Ci
from tests.occs import ROOT, Emulator, emulating

from .instance import Instance
from .router import APP, rollout

RUN_SH = ROOT / "ci" / "wercker" / "run.sh"
STEP = yaml.safe_load((ROOT / "ci" / "wercker" / "wercker-step.yml").read_text("utf-8"))
ACTION = yaml.safe_load((ROOT / "ci" / "github" / "action.yml").read_text("utf-8"))
(GITLAB,) = yaml.safe_load((ROOT / "ci" / "gitlab" / "rolling-router.yml").read_text("utf-8")).values()
_numbers = count(1)


@pytest.fixture(scope="module")
def emulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Emulator]:
    with emulating(tmp_path_factory.mktemp("emulator"), "--ready-seconds=0.1", "--stop-seconds=0.1") as emulator:
        yield emulator


@pytest.fixture
def ci(emulator: Emulator) -> Ci:
    return Ci(emulator, f"shop{next(_numbers)}")


def with_command(environ: Mapping[str, str]) -> dict[str, str]:
    """With the installed command on the PATH."""
    return {**environ, "PATH": f"{sysconfig.get_path('scripts')}:{environ['PATH']}"}


def bash(script: str, environ: Mapping[str, str], cwd: Path) -> subprocess.CompletedProcess[str]:
    words = ["bash", "--noprofile", "--norc", "-c", script]
    return subprocess.run(words, env=environ, cwd=cwd, capture_output=True, text=True, timeout=110, check=False)


# Wercker

# What the runner's first commands define, and what it then sends to the same shell for each step.
RUNNER = """
say() { printf '%s\\n' "$1"; }
success() { say "$1"; }; info() { say "$1"; }; debug() { say "$1"; }; warn() { say "$1"; }; error() { say "$1"; }
setMessage() { printf '%s' "$1" >"$WERCKER_REPORT_MESSAGE_FILE"; }
fail() { setMessage "$1"; error "$1"; exit 1; }
cd "$WERCKER_SOURCE_DIR"
before=$(compgen -v; compgen -A function; set +o; pwd)
"""
AFTER = """
after=$(compgen -v; compgen -A function; set +o; pwd)
noise=' (before|after|_|PIPESTATUS|BASH_.*)$'
different=$(diff <(echo "$before") <(echo "$after") | grep '^[<>]' | grep -vE "$noise" || true)
echo "left: $different"
echo "the next step"
"""


def wercker(ci: Ci, tmp_path: Path, begin: str = "", **variables: str) -> subprocess.CompletedProcess[str]:
    name = STEP["name"].upper().replace("-", "_")
    properties = {
        f"WERCKER_{name}_{prop.upper().replace('-', '_')}": told["default"] for prop, told in STEP["properties"].items()
    }
    runner = {
        "WERCKER_STEP_ROOT": str(RUN_SH.parent),
        "WERCKER_STEP_NAME": STEP["name"],
        "WERCKER_SOURCE_DIR": str(tmp_path),
        "WERCKER_REPORT_MESSAGE_FILE": str(tmp_path / "message"),
    }
    environ = with_command({**ci.environ(FIRST), **runner, **properties, **variables})
    return bash(f'{RUNNER}{begin}\nsource "$WERCKER_STEP_ROOT/run.sh" </dev/null\n{AFTER}', environ, tmp_path)


def test_the_steps_manifest_is_one():
    assert set(STEP) == {"name", "version", "description", "keywords", "properties"}
    assert re.fullmatch(r"\d+\.\d+\.\d+", STEP["version"])
    assert all(set(told) == {"type", "default", "required"} for told in STEP["properties"].values())


@pytest.mark.parametrize("begin", ["", "set -e", "set -eu -o pipefail"])
def test_the_step_leaves_the_runners_shell_alone(ci: Ci, tmp_path: Path, begin: str) -> None:
    ended = wercker(
        ci, tmp_path, begin if not begin else f"{begin}; before=$(compgen -v; compgen -A function; set +o; pwd)"
    )
    assert ended.returncode == 0, ended
    assert ended.stdout.splitlines()[-2:] == ["left: ", "the next step"]
    assert f"made {ci.id(FIRST)} the candidate" in ended.stdout
    assert ci.settings() == (NULL, ci.path(FIRST), "0")
    assert not (tmp_path / "message").exists()


def test_the_step_fails_as_the_runner_wants_it(ci: Ci, tmp_path: Path) -> None:
    ended = wercker(ci, tmp_path, IMAGE_NAME="no-such-image", WERCKER_ROLLING_ROUTER_DEPLOY_TIMEOUT="1")
    assert (ended.returncode, "the next step" in ended.stdout) == (1, False)
    assert (tmp_path / "message").read_text() == "rolling-router deploy ended with status 5; its last line says why"
    assert "is not ready after 1 s" in ended.stderr
    assert ci.deployments() == {}


def test_the_step_without_a_runner(ci: Ci, tmp_path: Path) -> None:
    script = f"source {RUN_SH}; echo the next step"
    assert bash(script, with_command(ci.environ(FIRST)), tmp_path).stdout.endswith("the next step\n")
    assert bash(script, with_command(ci.environ(FIRST, EXPOSED_PORT="")), tmp_path).returncode == 1


def test_the_step_says_what_a_box_lacks(ci: Ci, tmp_path: Path) -> None:
    ended = bash(f"source {RUN_SH}", {**ci.environ(FIRST), "PATH": "/usr/bin:/bin"}, tmp_path)
    assert (ended.returncode, "The box has no rolling-router" in ended.stderr) == (1, True)


def test_the_step_shows_no_secret(ci: Ci, tmp_path: Path) -> None:
    ended = wercker(ci, tmp_path, LOADERIO_KEY="the-key-of-loaderio")
    assert ended.returncode == 0
    made = ci.emulator.json("GET", f"/api/v2/deployments/{ci.id(FIRST)}")["deployment"]
    assert "LOADERIO_KEY=the-key-of-loaderio" in made["stack"]["content"]
    for secret in (ci.emulator.token, ci.password, "the-key-of-loaderio"):
        assert secret not in ended.stdout + ended.stderr


# GitHub


def action(inputs: Mapping[str, str], environ: Mapping[str, str], tmp_path: Path) -> dict[str, Any]:
    """Run the action's steps: their status, what they say, and their output."""
    github = {"github.sha": "0123abcd", "github.actor": "me"}

    def filled(text: str) -> str:
        def value(found: re.Match[str]) -> str:
            name = found[1]
            if name.startswith("inputs."):
                return inputs.get(name[7:], filled(ACTION["inputs"][name[7:]].get("default", "")))
            return github[name]

        return re.sub(r"\$\{\{ ([\w.-]+) \}\}", value, text)

    assert {f"inputs.{name}" for name in inputs} <= set(re.findall(r"inputs\.[\w-]+", json.dumps(ACTION["runs"])))
    files = {name: str(tmp_path / name) for name in ("GITHUB_OUTPUT", "GITHUB_PATH", "RUNNER_TEMP")}
    said = ""
    for step in ACTION["runs"]["steps"]:
        assert (step["shell"], "${{" in step["run"]) == ("bash", False)
        own = {name: filled(text) for name, text in step.get("env", {}).items()}
        folder = {"GITHUB_ACTION_PATH": str(ROOT / "ci" / "github")}
        # GitHub's own way of starting bash.
        ended = bash("set -eo pipefail\n" + step["run"], {**environ, **files, **folder, **own}, tmp_path)
        said += ended.stdout + ended.stderr
        if ended.returncode:
            return {"status": ended.returncode, "said": said}
    return {"status": 0, "said": said, "output": Path(files["GITHUB_OUTPUT"]).read_text()}


def plain_environ(ci: Ci) -> dict[str, str]:
    """Without the tutorial's variables."""
    own = with_command(ci.environ(FIRST))
    tutorial = set(own) - set(os.environ) - {"PYTHONPATH"}
    return {name: text for name, text in own.items() if name not in tutorial}


def test_the_action_deploys_an_image(ci: Ci, tmp_path: Path) -> None:
    inputs = {"manager": ci.emulator.manager, "token": ci.emulator.token, "ca": str(ci.emulator.ca_file)}
    inputs |= {"app": ci.app, "registry": "me", "image": "hello-world", "port": "3000"}
    told = action(inputs, plain_environ(ci), tmp_path)
    assert told["status"] == 0, told
    (id,) = ci.deployments()
    assert told["output"] == f"version={id}\n"
    assert f"made {id} the candidate" in told["said"]
    made = ci.emulator.json("GET", f"/api/v2/deployments/{id}")["deployment"]
    assert made["deployment_name"] == f"{ci.app} 0123abcd"
    assert ci.emulator.token not in told["said"]
    assert action(inputs, plain_environ(ci), tmp_path)["status"] == 0
    assert list(ci.deployments()) == [id], "a run again finds what it had begun, though the tag is no time"
    assert action({**inputs, "port": ""}, plain_environ(ci), tmp_path)["status"] == 1


def test_the_action_registers_instances(ci: Ci, tmp_path: Path) -> None:
    store = tmp_path / "rollout.json"
    store.write_text(json.dumps(rollout()))
    one = Instance("2.0", "a")
    try:
        inputs = {"app": APP, "store": f"file:{store}", "instances": f" {one.address} ", "version": "2.0; echo bad"}
        told = action(inputs, plain_environ(ci), tmp_path)
        assert told["output"] == "version=2.0; echo bad\n"
    finally:
        one.stop()
    assert "bad" not in told["said"].replace("2.0; echo bad", "")


# GitLab


def test_the_template_deploys_an_image(ci: Ci, tmp_path: Path) -> None:
    predefined = {
        "CI_COMMIT_SHA": "0123abcd",
        "CI_PIPELINE_CREATED_AT": "2017-06-20T13:51:52Z",
        "GITLAB_USER_LOGIN": "me",
    }
    own = {
        name: re.sub(r"\$(\w+)", lambda found: predefined[found[1]], text) for name, text in GITLAB["variables"].items()
    }
    environ = with_command({**ci.environ("not-a-time", **predefined), **own})
    # The runner's own way: one script of all lines, ended by the first that fails.
    ended = bash("set -eo pipefail\n" + "\n".join(GITLAB["script"]), environ, tmp_path)
    assert ended.returncode == 0, ended
    assert f"created {ci.id(FIRST)}: me/hello-world:0123abcd" in ended.stdout
    assert ci.settings() == (NULL, ci.path(FIRST), "0")
    lacking = {**environ, "PATH": "/usr/bin:/bin"}
    ended = bash("set -eo pipefail\n" + "\n".join(GITLAB["script"]), lacking, tmp_path)
    assert (ended.returncode != 0, "this image has no rolling-router" in ended.stderr) == (True, True)
