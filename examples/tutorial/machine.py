"""tutorial.machine: ports, waits, and the commands that the walk runs, each ended with all that it has started."""

from __future__ import annotations

import os
import random
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

from examples.tutorial.commands import VARIABLES

ROOT = Path(__file__).resolve().parents[2]
WAIT_SECONDS = 45.0
"""Generous: nothing takes so long, unless the machine has much else to do."""

_FOREIGN = ("ROLLING_ROUTER_", "OCCS_", "KV_", "APP_", "WERCKER_", "DOCKER_", "GIT_", "API_TOKEN", "SERVICE_MANAGER")


_given: set[int] = set()


def free_port() -> int:
    """
    A port that nobody listens on, below those that the system gives to outgoing connections. It is not given again: it
    may be long before somebody listens there.
    """
    while True:
        port = random.randrange(15_000, 20_000)
        if port in _given:
            continue
        with socket.socket() as listening, suppress(OSError):
            listening.bind(("127.0.0.1", port))
            _given.add(port)
            return port


def until(holds: Callable[[], Any], what: str, seconds: float = WAIT_SECONDS) -> Any:
    """
    Ask again and again until the answer is true, and give it back.

    :raises AssertionError: it was not in time.
    """
    deadline = time.monotonic() + seconds
    while not (found := holds()):
        assert time.monotonic() < deadline, f"not within {seconds:g} seconds: {what}"
        time.sleep(0.02)
    return found


class Machine:
    """Runs what a reader types, by bash, in an environment of the walk's own."""

    def __init__(self, variables: Mapping[str, str]) -> None:
        """:param variables: what is set before `variables.sh` is read, and so wins."""
        own = {key: text for key, text in os.environ.items() if not key.startswith(_FOREIGN)}
        self.environ = {
            **own,
            "GIT_AUTHOR_NAME": "Reader", "GIT_AUTHOR_EMAIL": "reader@example.com",
            "GIT_COMMITTER_NAME": "Reader", "GIT_COMMITTER_EMAIL": "reader@example.com",
            "GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1",
            "NPM_CONFIG_UPDATE_NOTIFIER": "false", "NPM_CONFIG_OFFLINE": "true",
            **variables,
        }  # fmt: skip
        self.ran: list[str] = []
        self._running: list[subprocess.Popen[Any]] = []

    def run(self, command: str, expected: int | None = 0, seconds: float = 120.0, **variables: str) -> str:
        """
        Run it to its end: all that it prints.

        :param expected: its exit status; ``None``: any but 0.
        """
        self.ran.append(command)
        process = self._spawn(f"set -eo pipefail; {VARIABLES}\n{command}", subprocess.PIPE, variables)
        try:
            printed = process.communicate(timeout=seconds)[0].decode("utf-8", "replace")
        except subprocess.TimeoutExpired:
            raise AssertionError(f"not within {seconds:g} seconds: {command}") from None
        finally:
            self.end(process)
        status = process.returncode
        as_expected = status != 0 if expected is None else status == expected
        assert as_expected, f"exit status {status} of {command}\n{printed}"
        return printed

    def start(self, command: str, log: Path, **variables: str) -> subprocess.Popen[Any]:
        """Start a single command, and let it run; what it prints goes to `log`."""
        self.ran.append(command)
        with log.open("ab") as out:
            return self._spawn(f"set -e; {VARIABLES}\nexec {command}", out, variables)

    def end(self, process: subprocess.Popen[Any], seconds: float = 20.0) -> int:
        """End it in good order, or else by force, and with it whatever is left of its group: its exit status."""
        if process.poll() is None:
            process.terminate()
            with suppress(subprocess.TimeoutExpired):
                process.wait(seconds)
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        status = process.wait()
        if process in self._running:
            self._running.remove(process)
        return status

    def close(self) -> None:
        """End all that runs, the last started first."""
        for process in reversed(list(self._running)):
            self.end(process)

    def _spawn(self, script: str, out: int | IO[bytes], variables: Mapping[str, str]) -> subprocess.Popen[Any]:
        # In a session of its own, so that Ctrl-C reaches the walk alone, which then ends them in order.
        process = subprocess.Popen(
            ["bash", "-c", script], cwd=ROOT, env={**self.environ, **variables}, stdin=subprocess.DEVNULL, stdout=out,
            stderr=subprocess.STDOUT, start_new_session=True,
        )  # fmt: skip
        self._running.append(process)
        return process
