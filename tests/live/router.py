"""The router as an operator starts it: `twistd -n rolling-router`, with the file store, on free ports."""

from __future__ import annotations

import hashlib
import http.client
import json
import os
import signal
import subprocess
import sysconfig
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import attrs

from tests.ports import free_port

from .wire import Wire

ROOT = Path(__file__).resolve().parent.parent.parent
TWISTD = str(Path(sysconfig.get_path("scripts")) / "twistd")
APP = "shop"
START_SECONDS = 60.0
TOKEN = "rrt_of-the-live-tests-and-nobody-else"
"""An operator's: routers take it from their environment, and the tests send it."""


Keys = dict[str, str]


def rollout(stable: Iterable[Any] = (), candidate: Iterable[Any] = (), blend: Any = 0, sticky: Any = 0) -> Keys:
    """
    The keys of a rollout between two versions.

    :param stable: its instances, all of one version; none is ``rolling/null``. `candidate` likewise.
    """
    keys = {
        "rolling/null": "-",
        f"rolling/{APP}/blendpercent": str(blend),
        f"rolling/{APP}/stickyness": str(sticky),
    }
    for role, instances in (("stable", list(stable)), ("candidate", list(candidate))):
        path = f"apps/app-{instances[0].version}-80/containers" if instances else "rolling/null"
        keys[f"rolling/{APP}/{role}/id"] = path
        for one in instances:
            keys[f"{path}/{one.name}"] = one.address
    return keys


def until(holds: Callable[[], Any], seconds: float = 30.0, what: str = "") -> Any:
    """Ask again and again until the answer is true, and give it back."""
    deadline = time.monotonic() + seconds
    while not (found := holds()):
        assert time.monotonic() < deadline, f"not within {seconds:g} seconds: {what or holds}"
        time.sleep(0.005)
    return found


@attrs.define(eq=False)
class Router:
    """One router process, and the file that it follows."""

    directory: Path
    options: tuple[str, ...] = ()
    environ: Mapping[str, str] = attrs.field(factory=dict)
    listen: str | None = None
    store: Path = attrs.field(init=False)
    port: int = attrs.field(init=False, factory=free_port)
    admin: int = attrs.field(init=False, factory=free_port)
    process: subprocess.Popen[bytes] | None = attrs.field(init=False, default=None)

    def __attrs_post_init__(self) -> None:
        self.store = self.directory / "rollout.json"

    # The process

    def start(self) -> Router:
        """Start it, and wait until the settings port answers."""
        named = {
            "--app": APP,
            "--store": f"file:{self.store}",
            "--listen": self.listen or f"tcp:{self.port}:interface=127.0.0.1",
            "--admin": f"tcp:{self.admin}:interface=127.0.0.1",
        }
        argv = [word for pair in named.items() for word in pair]
        self.process = run(self.directory, [*argv, *self.options], self.environ)
        until(self._answers, START_SECONDS, "the settings port answers")
        return self

    def _answers(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, self.output()
        with suppress(OSError):
            return self.get("/healthz")[0] == 200
        return False

    def signal(self, sign: int) -> None:
        assert self.process is not None
        self.process.send_signal(sign)

    def wait(self, seconds: float = 20.0) -> int:
        """Its exit status; in less than the 30 s of a drain in which something is left over that has to be cut."""
        assert self.process is not None
        return self.process.wait(seconds)

    def stop(self) -> int:
        """End it as an operator would, if it runs, and give its exit status."""
        assert self.process is not None
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGCONT)
            self.process.terminate()
        return self.wait()

    def kill(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.wait()

    def output(self) -> str:
        """All that it wrote so far: its log, and what went to stderr."""
        return (self.directory / "stdout").read_text() + (self.directory / "stderr").read_text()

    def rss(self) -> int:
        """Its memory, in bytes."""
        assert self.process is not None
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(status.partition("VmRSS:")[2].split()[0]) * 1024

    def cpu_seconds(self) -> float:
        """What it has computed so far, however long that took."""
        assert self.process is not None
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    # The settings port

    def get(self, path: str) -> tuple[int, bytes]:
        asking = http.client.HTTPConnection("127.0.0.1", self.admin, timeout=30)
        try:
            asking.request("GET", path, headers={"Authorization": f"Bearer {TOKEN}"})
            answer = asking.getresponse()
            return answer.status, answer.read()
        finally:
            asking.close()

    def status(self) -> dict[str, Any]:
        status: dict[str, Any] = json.loads(self.get("/api/v1/status")[1])
        return status

    def metrics(self) -> str:
        return self.get("/metrics")[1].decode()

    # The store

    def write(self, keys: Mapping[str, str]) -> str:
        """Replace the file as an editor does; gives the revision that the status will show."""
        return self.write_text(json.dumps(keys, indent=1))

    def write_text(self, text: str) -> str:
        beside = self.store.with_suffix(".beside")
        beside.write_text(text)
        os.replace(beside, self.store)
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def put(self, keys: Mapping[str, str]) -> None:
        """Replace the file, and wait until the router says that it is in force."""
        revision = self.write(keys)
        until(lambda: self.status()["store"]["revision"] == revision, what="the change is in force")

    # Clients

    def wire(self, seconds: float = 30.0) -> Wire:
        return Wire(self.port, seconds)

    def ask(self, raw: bytes, seconds: float = 30.0) -> Any:
        """One request on a connection of its own."""
        with self.wire(seconds) as wire:
            return wire.ask(raw)


def run(directory: Path, argv: list[str], environ: Mapping[str, str] | None = None) -> subprocess.Popen[bytes]:
    """Start `twistd -n rolling-router` with these arguments; its output goes to files in `directory`."""
    own = {key: value for key, value in os.environ.items() if not key.startswith("ROLLING_ROUTER_")}
    with (directory / "stdout").open("wb") as out, (directory / "stderr").open("wb") as err:
        return subprocess.Popen(
            [TWISTD, "-n", "--pidfile=", "rolling-router", *argv],
            cwd=directory,
            env={**own, "PYTHONPATH": str(ROOT), "ROLLING_ROUTER_TOKEN": TOKEN, **(environ or {})},
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=err,
            start_new_session=True,
        )
