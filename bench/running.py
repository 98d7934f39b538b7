"""bench.running: one started program, on the cores it was given, until it is ended."""

from __future__ import annotations

import contextlib
import http.client
import os
import random
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import attrs

ROOT = Path(__file__).resolve().parent.parent
_START_SECONDS = 20
_END_SECONDS = 10


class Trouble(Exception):
    """Why something could not be measured, in one line."""


@attrs.frozen
class Cores:
    """Who runs where: the measured proxy has a core to itself, as far as there is more than one."""

    proxy: frozenset[int]
    rest: frozenset[int]

    @classmethod
    def share_out(cls, allowed: Sequence[int]) -> Cores:
        """The last core is the proxy's: the first one usually has the interrupts."""
        *rest, last = sorted(allowed)
        return cls(frozenset([last]), frozenset(rest or [last]))


@attrs.frozen
class Running:
    """A program that answers on `port`. `log` is whatever it wrote."""

    pid: int
    port: int
    log: Path
    _process: subprocess.Popen[bytes]

    def check(self) -> None:
        """:raises Trouble: it has ended by itself."""
        status = self._process.poll()
        if status is not None:
            raise Trouble(f"it has ended, with status {status}{_last_words(self.log)}")


@contextlib.contextmanager
def running(
    argv: Sequence[str], port: int, directory: Path, cores: frozenset[int], environ: Mapping[str, str]
) -> Iterator[Running]:
    """
    Start a program in `directory`, wait until it answers, and end it afterwards.

    :raises Trouble: it does not start; with the last that it wrote.
    """
    log = directory / "output.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            argv,
            cwd=directory,
            env={**os.environ, "PYTHONPATH": str(ROOT), **environ},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # Ctrl-C is for the benchmark alone, which then ends this one
            preexec_fn=lambda: os.sched_setaffinity(0, cores),
        )
    try:
        started = Running(process.pid, port, log, process)
        _wait_for_answer(started)
        yield started
    finally:
        _end(process)


def free_port() -> int:
    """A port that nobody listens on, below those that the system gives to outgoing connections."""
    while True:
        port = random.randrange(20_000, 32_000)
        with socket.socket() as listening, contextlib.suppress(OSError):
            listening.bind(("127.0.0.1", port))
            return port


def _wait_for_answer(started: Running) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while True:
        started.check()
        if _status(started.port) == 200:
            return
        if time.monotonic() > deadline:
            raise Trouble(f"no good answer within {_START_SECONDS} seconds of its start{_last_words(started.log)}")
        time.sleep(0.05)


def _status(port: int) -> int | None:
    asking = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        asking.request("GET", "/")
        return asking.getresponse().status
    except (OSError, http.client.HTTPException):
        return None
    finally:
        asking.close()


def _last_words(log: Path) -> str:
    lines = log.read_text(encoding="utf-8", errors="replace").split("\n")
    said = [line.strip() for line in lines if line.strip()]
    return f": {said[-1][:300]}" if said else ""


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(_END_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
