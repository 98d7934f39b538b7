"""
tutorial.workflow: a push's workflow on this machine, without Wercker: `python -m examples.tutorial.workflow SOURCE`.

Reads SOURCE's wercker.yml and runs its pipelines `build` and `deploy` as Wercker's runner does: each in one shell, into
which the steps are sourced. Images are folders, `$TUTORIAL/registry/REPOSITORY/TAG`, which the emulator runs.
"""

from __future__ import annotations

import os
import shlex
import shutil
import string
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import attrs
import yaml

ROOT = Path(__file__).resolve().parents[2]
PIPELINES = ("build", "deploy")
OUR_STEP = ROOT / "ci" / "wercker" / "run.sh"

HELPERS = r"""
success() { printf '%s\n' "$*"; }
info() { printf '%s\n' "$*"; }
debug() { printf '%s\n' "$*"; }
warn() { printf 'warning: %s\n' "$*"; }
error() { printf 'error: %s\n' "$*"; }
setMessage() { printf '%s\n' "$*" >"$WERCKER_REPORT_MESSAGE_FILE"; }
fail() { error "$*"; setMessage "$*"; exit 1; }
"""


class Refused(Exception):
    """The workflow cannot be run, in one line."""


@attrs.frozen
class Step:
    """:ivar code: what the pipeline's shell sources."""

    name: str
    code: str


def steps(pipeline: Mapping[str, Any], environ: Mapping[str, str]) -> list[Step]:
    """
    The steps of one pipeline.

    :param pipeline: as the YAML has it.    :raises Refused: there is a step that nothing stands in for here.
    """
    return [_step(one, environ) for one in pipeline["steps"]]


def _step(told: Any, environ: Mapping[str, str]) -> Step:
    name, properties = (told, {}) if isinstance(told, str) else next(iter(told.items()))
    properties = properties or {}
    if name == "npm-install":
        return Step(name, "npm install --no-audit --no-fund")
    if name == "script":
        return Step(properties["name"], properties["code"])
    if name == "internal/docker-push":
        repository, tag = (
            string.Template(str(properties[key])).safe_substitute(environ) for key in ("repository", "tag")
        )
        place = Path(environ["TUTORIAL"]) / "registry" / repository / tag
        quoted = shlex.quote(str(place))
        return Step(name, f'mkdir -p {quoted} && cp -R . {quoted} && echo "pushed {repository}:{tag}"')
    if "rolling-router-deploy" in name.lower():
        filled = {key: string.Template(str(text)).safe_substitute(environ) for key, text in properties.items()}
        variables = [f"export WERCKER_{_upper(name)}_{_upper(key)}={shlex.quote(text)}" for key, text in filled.items()]
        return Step(name, "\n".join([*variables, f". {shlex.quote(str(OUR_STEP))}"]))
    raise Refused(f"nothing stands in for the step {name} here")


def _upper(name: str) -> str:
    """As the runner spells a step's, or a property's, name in a variable."""
    return name.rpartition("/")[2].partition("@")[0].upper().replace("-", "_")


def run(source: Path, environ: Mapping[str, str]) -> int:
    """Run both pipelines; the exit status of the first step that fails, or 0."""
    told = yaml.safe_load((source / "wercker.yml").read_text("utf-8"))
    started = _started(Path(environ["TUTORIAL"]) / "pipelines")
    box = string.Template(f"{told['box']['id']}:{told['box']['tag']}").safe_substitute(environ)
    place = Path(environ["TUTORIAL"]) / "pipelines" / started
    shutil.copytree(source, place / "source", ignore=shutil.ignore_patterns(".git", "node_modules"))
    own = {
        **environ,
        "WERCKER_MAIN_PIPELINE_STARTED": started,
        "WERCKER_SOURCE_DIR": str(place / "source"),
        "WERCKER_REPORT_MESSAGE_FILE": str(place / "message"),
        "WERCKER_STEP_ROOT": str(OUR_STEP.parent),
    }
    print(f"run {started} in this machine's place of the box {box}", flush=True)
    for name in PIPELINES:
        print(f"pipeline {name}", flush=True)
        status = _run_pipeline(steps(told[name], own), place, own)
        if status:
            print(f"pipeline {name}: failed", flush=True)
            return status
        print(f"pipeline {name}: passed", flush=True)
    return 0


def _started(folder: Path) -> str:
    """Seconds since 1970, and never those of another run: they name an image and a deployment."""
    folder.mkdir(parents=True, exist_ok=True)
    while (folder / str(int(time.time()))).exists():
        time.sleep(0.1)
    return str(int(time.time()))


def _run_pipeline(all_steps: list[Step], place: Path, environ: Mapping[str, str]) -> int:
    lines = [HELPERS, 'cd "$WERCKER_SOURCE_DIR"']
    for number, step in enumerate(all_steps):
        path = place / f"step-{number}.sh"
        path.write_text(step.code + "\n", "utf-8")
        name = shlex.quote(step.name)
        lines += [f"echo '  step' {name}", f". {shlex.quote(str(path))} </dev/null", "status=$?"]
        lines += [f'[ "$status" = 0 ] || {{ echo "  step" {name}": failed"; exit "$status"; }}']
        lines += [f'echo "  step" {name}": passed"']
    done = place / "done"
    done.unlink(missing_ok=True)
    lines += [f": >{shlex.quote(str(done))}"]
    status = subprocess.run(["bash", "-c", "\n".join(lines)], env=dict(environ), stdin=subprocess.DEVNULL).returncode
    # A step that leaves the shell, even by `exit 0`, has not let the runner see its end: to Wercker that is a failure.
    return status or (0 if done.exists() else 1)


def main() -> int:
    if len(sys.argv) != 2 or "TUTORIAL" not in os.environ:
        print("Usage: . examples/tutorial/variables.sh; python -m examples.tutorial.workflow SOURCE", file=sys.stderr)
        return 2
    try:
        return run(Path(sys.argv[1]), os.environ)
    except (Refused, OSError, KeyError, yaml.YAMLError) as wrong:
        print(f"workflow: {wrong}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
