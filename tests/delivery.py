"""`rolling-router deploy` as a CI run starts it, against an emulator: for whatever test wants one."""

from __future__ import annotations

import os
import subprocess
import sysconfig
from pathlib import Path

import attrs

from tests.live.command import Ended, ended
from tests.occs import ROOT, Emulator

PROGRAM = str(Path(sysconfig.get_path("scripts")) / "rolling-router")
PORT = 3000
NULL = "rolling/null"
FIRST, SECOND, THIRD = "1497966712", "1497967818", "1497968000"
"""Tags, as Wercker gives them: when the pipeline was started."""
_STAMPS = {FIRST: "20170620-135152", SECOND: "20170620-141018", THIRD: "20170620-141320"}


@attrs.frozen
class Ci:
    """One application's CI, with the thirteen variables of the tutorial."""

    emulator: Emulator
    app: str
    password: str = "the-password-of-the-registry"

    def environ(self, tag: str, **variables: str) -> dict[str, str]:
        foreign = ("ROLLING_ROUTER_", "OCCS_", "KV_", "APP_", "WERCKER_", "DOCKER_")
        own = {key: text for key, text in os.environ.items() if not key.startswith(foreign)}
        named = {
            "SERVICE_MANAGER": self.emulator.manager,
            "API_TOKEN": self.emulator.token,
            "APP_NAME": self.app,
            "APP_FRIENDLY_NAME": "Hello World",
            "DOCKER_EMAIL": "me@example.com",
            "DOCKER_USERNAME": "me",
            "DOCKER_PASSWORD": self.password,
            "DOCKER_REGISTRY": "me",
            "EXPOSED_PORT": str(PORT),
            "IMAGE_NAME": "hello-world",
            "APP_TAG": "latest",
            "SCALE_AMOUNT": "1",
            "DOCKER_CMD": "npm start",
            "WERCKER_MAIN_PIPELINE_STARTED": tag,
        }
        return {**own, **named, "OCCS_CA": str(self.emulator.ca_file), "PYTHONPATH": str(ROOT), **variables}

    def start(self, tag: str, *words: str, **variables: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [PROGRAM, "deploy", "--grace-seconds=0", *words],
            env=self.environ(tag, **variables),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def deploy(self, tag: str, *words: str, **variables: str) -> Ended:
        return ended(self.start(tag, *words, **variables), 110)

    # What is there

    def id(self, tag: str) -> str:
        return f"{self.app}-{_STAMPS[tag]}"

    def path(self, tag: str) -> str:
        return f"apps/app-{self.id(tag)}-{PORT}/containers"

    def set_up(self, stable: str = NULL, candidate: str = NULL, blend: int = 0) -> None:
        """Write the four keys."""
        keys = {"stable/id": stable, "candidate/id": candidate, "blendpercent": str(blend), "stickyness": "0"}
        for key, text in keys.items():
            self.emulator.put(f"rolling/{self.app}/{key}", text)
        self.emulator.put(NULL, "-")

    def settings(self) -> tuple[str | None, str | None, str | None]:
        """The texts of stable, candidate and blend."""
        found = self.emulator.keys(f"rolling/{self.app}/")
        names = ("stable/id", "candidate/id", "blendpercent")
        stable, candidate, blend = (found.get(f"rolling/{self.app}/{name}") for name in names)
        return stable, candidate, blend

    def notes(self) -> dict[str, str]:
        return self.emulator.keys(f"rolling-deploy/{self.app}/")

    def deployments(self) -> dict[str, int]:
        """Id -> the state that it is in."""
        told = self.emulator.json("GET", "/api/v2/deployments/")["deployments"]
        found = {one["deployment_id"]: one["current_state"] for one in told}
        return {id: state for id, state in found.items() if id.startswith(f"{self.app}-")}
