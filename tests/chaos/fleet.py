"""The instances: nine processes, three of each version. Started, killed and started again; it knows who lived when."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from pathlib import Path

import attrs

from tests.live.router import ROOT
from tests.ports import free_port

from .journal import Journal
from .record import Death, Name, Record

VERSIONS = ("shop-1", "shop-2", "shop-3")
LASTING = "c"
"""Of each version, the one that nobody kills. A stable version always has it in play, so that it can always serve."""
NAMES = ("a", "b", LASTING)


@attrs.define(eq=False)
class Process:
    """One instance. :ivar is_spoken_for: somebody is about to kill it, or has.    :ivar leaves: it is to be retired."""

    name: Name
    port: int
    file: Path
    process: asyncio.subprocess.Process | None = None
    is_spoken_for: bool = False
    leaves: bool = False

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    async def start(self) -> None:
        argv = [sys.executable, "-m", "tests.chaos.instance", *self.name, str(self.port), str(self.file)]
        self.process = await asyncio.create_subprocess_exec(
            *argv,
            cwd=ROOT,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )
        assert self.process.stdout is not None
        assert await asyncio.wait_for(self.process.stdout.readline(), 60) == b"ready\n", self.name

    async def kill(self) -> None:
        """By SIGKILL; it is gone when this ends."""
        assert self.process is not None
        if self.process.returncode is None:
            self.process.send_signal(signal.SIGKILL)
        await self.process.wait()


@attrs.define(eq=False)
class Fleet:
    """All of them. :ivar record: is told of deaths."""

    directory: Path
    record: Record
    processes: dict[Name, Process] = attrs.field(factory=dict)

    async def start(self) -> None:
        for version in VERSIONS:
            for name in NAMES:
                file = self.directory / f"journal-{version}-{name}"
                self.processes[version, name] = Process((version, name), free_port(), file)
        await asyncio.gather(*(one.start() for one in self.processes.values()))

    async def stop(self) -> None:
        await asyncio.gather(*(one.kill() for one in self.processes.values() if one.process is not None))

    def mortal(self) -> list[Process]:
        """Those that may be killed now."""
        return [one for one in self.processes.values() if one.name[1] != LASTING and not one.is_spoken_for]

    async def kill(self, one: Process, seconds: float) -> None:
        """Kill it, and start it again that many seconds later."""
        one.is_spoken_for = True
        death = Death(one.name, time.monotonic())
        self.record.deaths.append(death)
        await one.kill()
        death.over = time.monotonic()
        await asyncio.sleep(seconds)
        await one.start()
        death.back = time.monotonic()
        one.is_spoken_for = one.leaves = False

    def journal(self) -> Journal:
        return Journal({name: one.file for name, one in self.processes.items()})
