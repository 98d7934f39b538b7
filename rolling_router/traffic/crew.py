"""
traffic.crew: worker processes that carry the traffic, and the parent's side of talking to them.

Each worker is the same command again, told by an environment variable which sockets it was handed. The parent writes
a word on descriptor 3, the worker answers with a line of JSON on descriptor 4; when 3 ends, the worker ends.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from twisted.internet.defer import Deferred, gatherResults, succeed
from twisted.internet.defer import TimeoutError as TimedOut
from twisted.internet.protocol import Factory, ProcessProtocol
from twisted.logger import Logger
from twisted.python.failure import Failure

from rolling_router.errors import SettingError
from rolling_router.observe.figures import Figures
from rolling_router.options import Settings
from rolling_router.rollout.model import Snapshot
from rolling_router.traffic.engine import Port
from rolling_router.traffic.sockets import Binder

_log = Logger()

WORKER_VARIABLE = "ROLLING_ROUTER_WORKER"
"""Set in a worker: the descriptors of its listening sockets, with commas between."""

ASK_FD, TELL_FD, FIRST_SOCKET_FD = 3, 4, 5
ASK = b"figures\n"
ANSWER_SECONDS = 2.0
"""For a worker to tell its figures; one that does not is left out of that answer."""

END_SECONDS = 10.0
"""Beyond the time for draining, before a worker that does not end is killed."""

AGAIN_SECONDS = 1.0
"""Before a worker that ended by itself is replaced: one that cannot start must not spin."""


class Crew:
    """
    Carries the traffic by worker processes. Started and stopped by `service`, as an `Engine` is.

    :param arguments: the command line, as twistd's subcommand was given it.
    """

    def __init__(
        self, settings: Settings, reactor: Any, arguments: Sequence[str], environ: Mapping[str, str]
    ) -> None:
        """:raises SettingError: an endpoint cannot be meant, or cannot be shared by processes."""
        for text in settings.listen:
            if text.startswith("systemd:"):
                raise SettingError(f"--listen is {text!r}, which one process alone can take; leave --workers at 1")
        self._settings = settings
        self._reactor = reactor
        self._arguments = arguments
        self._environ = environ
        self._binder = Binder(reactor)
        nobody = Factory()
        nobody.noisy = False
        self._ports = [Port(text, "listen", nobody, self._binder) for text in settings.listen]
        self._workers: list[_Worker] = []
        self._is_stopping = False

    def bind(self) -> None:
        """:raises SettingError: a port cannot be had."""
        for port in self._ports:
            port.bind()

    def start(self) -> None:
        for number in range(1, self._settings.workers + 1):
            self._spawn(number)

    def release(self) -> None:
        """Each worker decides by itself when it knows enough to serve."""

    def follow(self, snapshot: Snapshot) -> None:
        """Each worker follows the store by itself."""

    def figures(self) -> Deferred[Figures]:
        """What all workers together can say. Never fails."""
        asked = [worker.ask().addTimeout(ANSWER_SECONDS, self._reactor) for worker in self._workers]

        def merge(told: list[Mapping[str, Any] | None]) -> Figures:
            known = [one for one in told if one is not None]
            return Figures.merged(self._settings.app, known, self._is_stopping)

        return gatherResults([one.addErrback(_unanswered) for one in asked]).addCallback(merge)

    async def stop(self) -> None:
        """Each worker drains and ends; this ends when the last one has."""
        self._is_stopping = True
        limit = self._settings.drain_seconds + END_SECONDS
        for worker in list(self._workers):
            worker.end()
        try:
            await gatherResults([worker.gone for worker in self._workers]).addTimeout(limit, self._reactor)
        except TimedOut:
            for worker in list(self._workers):
                worker.kill()
        for port in self._ports:
            await port.stop()

    def _spawn(self, number: int) -> None:
        if self._is_stopping:
            return
        sockets = {FIRST_SOCKET_FD + at: made.fileno() for at, made in enumerate(self._binder.sockets)}
        worker = _Worker(number)
        self._workers.append(worker)
        self._reactor.spawnProcess(
            worker,
            sys.executable,
            [sys.executable, "-m", "rolling_router.traffic", *self._arguments],
            env={**self._environ, WORKER_VARIABLE: ",".join(map(str, sockets))},
            childFDs={0: "w", 1: "r", 2: "r", ASK_FD: "w", TELL_FD: "r", **sockets},
        )
        worker.gone.addCallback(self._ended, worker)

    def _ended(self, why: str, worker: _Worker) -> None:
        self._workers.remove(worker)
        if not self._is_stopping:
            _log.error("worker {number} ended: {why}; another one takes its place", number=worker.number, why=why)
            self._reactor.callLater(AGAIN_SECONDS, self._spawn, worker.number)


class _Worker(ProcessProtocol):
    """
    The parent's side of one worker.

    :ivar gone: fires when the process has ended, with how it did.
    """

    def __init__(self, number: int) -> None:
        self.number = number
        self.gone: Deferred[str] = Deferred()
        self._asked: list[Deferred[Mapping[str, Any] | None]] = []
        self._lines = {1: b"", 2: b"", TELL_FD: b""}

    def ask(self) -> Deferred[Mapping[str, Any] | None]:
        """Its figures; ``None`` when it is not there to tell them."""
        if self.transport is None or self.transport.pid is None:
            return succeed(None)
        asked: Deferred[Mapping[str, Any] | None] = Deferred()
        self._asked.append(asked)
        self.transport.writeToChild(ASK_FD, ASK)
        return asked

    def end(self) -> None:
        self._signal("TERM")

    def kill(self) -> None:
        self._signal("KILL")

    def _signal(self, name: str) -> None:
        if self.transport is not None and self.transport.pid is not None:
            self.transport.signalProcess(name)

    def connectionMade(self) -> None:
        self.transport.closeStdin()  # type: ignore[union-attr]

    def childDataReceived(self, childFD: int, data: bytes) -> None:
        *lines, self._lines[childFD] = (self._lines[childFD] + data).split(b"\n")
        for line in lines:
            if childFD == TELL_FD:
                self._answered(line)
            else:
                _log.info("worker {number}: {line}", number=self.number, line=line.decode("utf-8", "replace"))

    def processEnded(self, reason: Failure) -> None:
        for asked in self._asked:
            if not asked.called:
                asked.callback(None)
        self._asked = []
        self.gone.callback(reason.getErrorMessage())

    def _answered(self, line: bytes) -> None:
        if self._asked:
            asked = self._asked.pop(0)
            if not asked.called:  # it may have been waited for too long
                asked.callback(json.loads(line))


def _unanswered(failure: Failure) -> None:
    failure.trap(TimedOut)
    _log.warn("a worker did not tell its figures within {seconds:g} s", seconds=ANSWER_SECONDS)


def handed_down(environ: Mapping[str, str]) -> list[int] | None:
    """In a worker: the descriptors of its listening sockets. ``None`` in any other process."""
    text = environ.get(WORKER_VARIABLE)
    return None if text is None else [int(part) for part in text.split(",")]
