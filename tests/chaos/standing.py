"""The router under test: what `tests.live.router` starts, and whoever takes its place by hand-over."""

from __future__ import annotations

import hashlib
import http.client
import json
import os
import re
import signal
from contextlib import suppress
from pathlib import Path
from typing import Any

import attrs

from tests.live.router import APP, TOKEN, Router, until

HAS_TAKEN_OVER = re.compile(r"process (\d+) has taken over")


def lives(pid: int) -> bool:
    with suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False


@attrs.define(eq=False)
class Standing:
    """:ivar pid: of the process that serves now.    :ivar pids: of all that ever did."""

    router: Router
    pids: list[int] = attrs.field(factory=list)

    def start(self) -> None:
        self.router.start()
        assert self.router.process is not None
        self.pids.append(self.router.process.pid)

    @property
    def pid(self) -> int:
        return self.pids[-1]

    def hand_over(self) -> None:
        """Let another process take its place; the old one is gone when this ends."""
        known, old = len(self.pids), self.pid
        os.kill(old, signal.SIGUSR2)
        until(lambda: len(self._successors()) >= known, 60, "a new process has taken over")
        self.pids.append(self._successors()[-1])
        until(lambda: self._is_gone(old), 60, "the old process is gone")

    def _is_gone(self, pid: int) -> bool:
        if self.router.process is not None and pid == self.router.process.pid:
            return self.router.process.poll() is not None
        return not lives(pid)

    def stop(self) -> None:
        for pid in self.pids:
            if not self._is_gone(pid):
                os.kill(pid, signal.SIGTERM)
        until(lambda: all(map(self._is_gone, self.pids)), 30, "all processes have ended")

    def kill(self) -> None:
        """Whatever is left of them."""
        for pid in {*self.pids, *self._successors()}:
            if not self._is_gone(pid):
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        self.router.kill()

    def _successors(self) -> list[int]:
        return [int(pid) for pid in HAS_TAKEN_OVER.findall(self.router.output())]

    # The settings port

    def ask(self, method: str, path: str, body: Any) -> None:
        """A write by the API, upon what is in force now."""
        fields = {
            "Authorization": f"Bearer {TOKEN}",
            "Content-Type": "application/json",
            "If-Match": f'"{self.router.status()["snapshot"]["revision"]}"',
        }
        asking = http.client.HTTPConnection("127.0.0.1", self.router.admin, timeout=30)
        try:
            asking.request(method, f"/api/v1/{path}", json.dumps({**body, "force": True}), fields)
            answer = asking.getresponse()
            text = answer.read().decode()
            assert answer.status == 200, (method, path, body, answer.status, text)
        finally:
            asking.close()

    def settle(self) -> None:
        """Wait until what the file holds is in force."""
        revision = hashlib.sha256(self.router.store.read_bytes()).hexdigest()[:16]
        until(lambda: self.router.status()["store"]["revision"] == revision, 30, "the change is in force")

    def keys(self) -> dict[str, str]:
        found: dict[str, str] = json.loads(self.router.store.read_text())
        return found

    def in_flight(self, address: str) -> int:
        """On an instance that left."""
        return sum(one["in_flight"] for one in self.router.status()["leaving"] if one["instance"] == address)


def setting(name: str) -> str:
    """A key of the app."""
    return f"rolling/{APP}/{name}"
