"""occs.emulator.children: the processes behind containers: started, logged, ended, and ended too if we are killed."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.protocol import ProcessProtocol
from twisted.logger import Logger
from twisted.python.failure import Failure

_log = Logger()

KILL_SECONDS = 10.0
"""How long a process may take to end when it was asked to."""

_MOST_LINE_BYTES = 4096
_PROGRAMS = Path(__file__).parent
_PYTHON = [sys.executable, "-I", "-S"]


class Child(ProcessProtocol):
    """
    One process and its descendants.

    :ivar gone: fires with how it ended, when it and all of its group are gone.
    """

    def __init__(self, name: str, clock: Any, hide: Callable[[str], str]) -> None:
        """:param name: stands before each line that it prints.    :param hide: takes secrets out of such a line."""
        self.name = name
        self.gone: Deferred[str] = Deferred()
        self.pid: int | None = None
        self._clock = clock
        self._hide = hide
        self._parts = {1: b"", 2: b""}

    def end(self) -> None:
        """Ask it to end, and make it in the end. Nothing if it is gone."""
        if self.pid is not None:
            self._signal(signal.SIGTERM)
            killing = self._clock.callLater(KILL_SECONDS, self.kill)
            self.gone.addCallback(_cancelled, killing)

    def kill(self) -> None:
        self._signal(signal.SIGKILL)

    def _signal(self, sign: signal.Signals) -> None:
        if self.pid is not None:
            try:
                os.killpg(self.pid, sign)
            except ProcessLookupError:  # it has not come to make its group yet
                with suppress(ProcessLookupError):
                    os.kill(self.pid, sign)

    def childDataReceived(self, childFD: int, data: bytes) -> None:
        *lines, rest = (self._parts[childFD] + data).split(b"\n")
        if len(rest) > _MOST_LINE_BYTES:
            lines, rest = [*lines, rest], b""
        self._parts[childFD] = rest
        for line in lines:
            self._print(line)

    def _print(self, line: bytes) -> None:
        text = self._hide(line[:_MOST_LINE_BYTES].decode("utf-8", "replace").rstrip())
        if text:
            _log.info("{name} | {text}", name=self.name, text=text)

    def processExited(self, reason: Failure) -> None:
        # Descendants may hold its output open: they end with it, as in a container.
        if self.pid is not None:
            with suppress(ProcessLookupError):
                os.killpg(self.pid, signal.SIGKILL)

    def processEnded(self, reason: Failure) -> None:
        for rest in self._parts.values():
            self._print(rest)
        self.pid = None
        self.gone.callback(_how(reason.value))


class Children:
    """Starts processes, and sees to it that none outlives the emulator."""

    def __init__(self, reactor: Any, hide: Callable[[str], str]) -> None:
        self._reactor = reactor
        self._hide = hide
        self._alive: set[int] = set()
        self._pipe: int | None = None
        self._is_over = False

    def start(self) -> None:
        """Before the first process."""
        self._call_undertaker()

    def stop(self) -> None:
        """After the last one: `Child.gone` has fired for all of them."""
        self._is_over = True
        self._close_pipe()

    def spawn(self, name: str, argv: Sequence[str], environ: Mapping[str, str]) -> Child:
        """
        Start a process, where we run ourselves.

        :param environ: all that it gets.
        :raises OSError: the system does not give another process.
        """
        child = Child(name, self._reactor, self._hide)
        transport = self._reactor.spawnProcess(
            child,
            sys.executable,
            [*_PYTHON, str(_PROGRAMS / "launch.py"), *argv],
            env=dict(environ),
            childFDs={0: "w", 1: "r", 2: "r"},
        )
        child.pid = transport.pid
        self._tell("+", transport.pid)
        child.gone.addCallback(self._ended, transport.pid)
        transport.write(b"g")
        transport.closeStdin()
        return child

    def _ended(self, how: str, pid: int) -> str:
        self._tell("-", pid)
        return how

    def _tell(self, sign: str, pid: int) -> None:
        (self._alive.add if sign == "+" else self._alive.discard)(pid)
        if self._pipe is not None:
            with suppress(OSError):  # it is gone, and its successor is told all of them
                os.write(self._pipe, f"{sign}{pid}\n".encode())

    def _call_undertaker(self) -> None:
        read, self._pipe = os.pipe()
        undertaker = _Undertaker(self._undertaker_ended)
        argv = [*_PYTHON, str(_PROGRAMS / "undertaker.py")]
        self._reactor.spawnProcess(undertaker, sys.executable, argv, env={}, childFDs={0: read, 1: "r", 2: "r"})
        os.close(read)
        for pid in set(self._alive):
            self._tell("+", pid)

    def _undertaker_ended(self) -> None:
        self._close_pipe()
        if not self._is_over:
            _log.warn("the undertaker ended; another one takes its place")
            self._reactor.callLater(1.0, lambda: None if self._is_over else self._call_undertaker())

    def _close_pipe(self) -> None:
        if self._pipe is not None:
            os.close(self._pipe)
            self._pipe = None


class _Undertaker(ProcessProtocol):
    def __init__(self, ended: Callable[[], None]) -> None:
        self._ended = ended

    def errReceived(self, data: bytes) -> None:
        _log.error("the undertaker: {text}", text=data.decode("utf-8", "replace").strip())

    def processEnded(self, reason: Failure) -> None:
        self._ended()


def _cancelled(how: str, call: Any) -> str:
    if call.active():
        call.cancel()
    return how


def _how(reason: BaseException | None) -> str:
    status, sign = getattr(reason, "exitCode", None), getattr(reason, "signal", None)
    return f"signal {sign}" if sign is not None else f"exit status {status}"
