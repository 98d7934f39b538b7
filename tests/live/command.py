"""The `rolling-router` command as people and scripts start it: the installed program, in a process of its own."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sysconfig
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import attrs

from .router import APP, ROOT, TOKEN

PROGRAM = str(Path(sysconfig.get_path("scripts")) / "rolling-router")


@attrs.frozen
class Ended:
    """How a command ended, and what it said."""

    status: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)

    @property
    def complaints(self) -> str:
        """What it said beside its result, but for words about how long something takes."""
        return re.sub(r"(?m)^rolling-router: (waiting\b|after \d+ s: ).*\n", "", self.err)


@attrs.frozen
class Command:
    """The command on one store."""

    store: Path
    environ: Mapping[str, str] = attrs.field(factory=dict)

    def start(self, *words: str, out: int = subprocess.PIPE, **variables: str) -> subprocess.Popen[str]:
        own = {key: value for key, value in os.environ.items() if not key.startswith("ROLLING_ROUTER_")}
        named = {
            "ROLLING_ROUTER_APP": APP,
            "ROLLING_ROUTER_STORE": f"file:{self.store}",
            "ROLLING_ROUTER_TOKEN": TOKEN,
            "PYTHONPATH": str(ROOT),
        }
        return subprocess.Popen(
            [PROGRAM, *words],
            cwd=self.store.parent,
            env={**own, **named, **self.environ, **variables},
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.PIPE,
            text=True,
        )

    def __call__(self, *words: str, **variables: str) -> Ended:
        return ended(self.start(*words, **variables))

    def keys(self) -> dict[str, str]:
        """What the store holds."""
        found: dict[str, str] = json.loads(self.store.read_text())
        return found


def ended(process: subprocess.Popen[str], seconds: float = 60.0) -> Ended:
    """Wait for the end of a command."""
    try:
        out, err = process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        raise
    return Ended(process.returncode, out or "", err)
