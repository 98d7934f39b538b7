"""The image as an engine would run it: its entry point, its environment, one process tree, ended by the test."""

from __future__ import annotations

import http.client
import json
import os
import re
import signal
import subprocess
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from tests.outside import ROOT

SECONDS = 60.0


def until(holds: Callable[[], Any], what: str) -> Any:
    """Ask again and again until the answer is true, and give it back."""
    deadline = time.monotonic() + SECONDS
    while not (found := holds()):
        assert time.monotonic() < deadline, f"not within {SECONDS:g} seconds: {what}"
        time.sleep(0.05)
    return found


def run(*command: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run it to its end, whatever that is, and without what the `make` that started the tests tells its own kind."""
    environ = {name: text for name, text in os.environ.items() if "MAKE" not in name and name != "MFLAGS"}
    return subprocess.run(
        command,
        cwd=ROOT,
        env={**environ, **variables},
        capture_output=True,
        text=True,
        timeout=400,
        stdin=subprocess.DEVNULL,
    )


def succeed(*command: str, **variables: str) -> str:
    """What it prints on standard output."""
    ended = run(*command, **variables)
    assert ended.returncode == 0, f"{' '.join(command)}\n{ended.stdout}{ended.stderr}"
    return ended.stdout


def config(image: str) -> dict[str, Any]:
    """What the image says of itself, as ``docker inspect`` has it."""
    found: dict[str, Any] = json.loads(succeed("buildah", "inspect", "--type", "image", image))["Docker"]["config"]
    return found


class Container:
    """
    One container of the image: `start` it, time after time, and `run` other commands in it, as ``docker exec``.

    One serves all tests: to make one copies the whole image, where it is Buildah in a chroot that does it.
    """

    def __init__(self, image: str) -> None:
        self._config = config(image)
        self.name = succeed("buildah", "from", "--pull-never", image).strip()
        self._process: subprocess.Popen[bytes] | None = None
        self._output = Path()
        self.pid = 0

    def command(self, *options: str, user: str = "", volume: str = "", environ: Mapping[str, str] = {}) -> list[str]:
        """What ``docker run`` would carry out: the options take the place of the image's command."""
        chosen = [f"--user={user}"] if user else []
        chosen += [f"--volume={volume}"] if volume else []
        chosen += [f"--env={name}={value}" for name, value in environ.items()]
        said = [*self._config["Entrypoint"], *(options or self._config["Cmd"] or ())]
        return ["buildah", "run", *chosen, self.name, "--", *said]

    def start(self, output: Path, *options: str, **how: Any) -> None:
        """Start it, and wait until the settings port answers. What it prints goes to `output`."""
        self._output = output
        with output.open("wb") as log:
            self._process = subprocess.Popen(
                self.command(*options, **how), stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        until(self._answers, "the settings port answers")
        (self.pid,) = (pid for pid in _descendants(self._process.pid) if _is_twistd(pid))

    def run(self, *command: str) -> subprocess.CompletedProcess[str]:
        """Another command in the same container."""
        return run("buildah", "run", self.name, "--", *command)

    def log(self) -> str:
        return self._output.read_text("utf-8", "replace")

    def status(self) -> dict[str, str]:
        """The router's process as the kernel has it: what stands behind ``Uid``, ``CapEff`` and so on."""
        text = Path(f"/proc/{self.pid}/status").read_text()
        return dict(re.findall(r"^(\w+):\s*(.*)$", text, re.MULTILINE))

    def stop(self) -> int:
        """As ``docker stop``: SIGTERM to the first process. Gives the exit status."""
        os.kill(self.pid, signal.SIGTERM)
        return self.wait()

    def wait(self) -> int:
        """The exit status."""
        assert self._process is not None
        return self._process.wait(SECONDS)

    def clear(self) -> None:
        """End what a failed test left running, and forget its state."""
        if self._process is not None and self._process.poll() is None:
            for pid in [*_descendants(self._process.pid), self._process.pid]:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            self._process.wait(SECONDS)
        self.run("find", "/var/lib/rolling-router", "-mindepth", "1", "-delete")

    def remove(self) -> None:
        run("buildah", "rm", self.name)

    def _answers(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, self.log()
        with suppress(OSError):
            return get(8080, "/healthz")[0] == 200
        return False


def get(port: int, path: str = "/") -> tuple[int, str]:
    """Ask on a connection of its own: status and body."""
    asking = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    try:
        asking.request("GET", path)
        answer = asking.getresponse()
        return answer.status, answer.read().decode()
    finally:
        asking.close()


def _descendants(pid: int) -> list[int]:
    """All processes below one."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            parent = int(entry.read_text().rpartition(")")[2].split()[1])
            children.setdefault(parent, []).append(int(entry.parent.name))
    found = children.get(pid, [])
    for one in found:
        found += children.get(one, [])
    return found


def _is_twistd(pid: int) -> bool:
    return any(word.endswith("/twistd") for word in Path(f"/proc/{pid}/cmdline").read_text().split("\0"))
