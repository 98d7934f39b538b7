"""
traffic.crew: worker processes that carry the traffic, and the parent's side of talking to them.

Each worker is the same command again, told by environment variables what it is and which sockets it was handed. The
parent writes a word on descriptor 3, the worker answers with a line on descriptor 4; when 3 ends, the worker ends.

Standard output has one writer, this process: the lines that workers have for an access log there are passed on whole
and as they are. A worker's own log comes by its standard error.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

import attrs
from twisted.internet.defer import Deferred, gatherResults, succeed
from twisted.internet.defer import TimeoutError as TimedOut
from twisted.internet.protocol import Factory, ProcessProtocol
from twisted.internet.task import LoopingCall
from twisted.logger import Logger
from twisted.python.failure import Failure

from rolling_router.observe.access_log import TICK
from rolling_router.observe.figures import Figures
from rolling_router.observe.log_file import STDOUT, LogFile
from rolling_router.options import Settings
from rolling_router.rollout.model import Snapshot
from rolling_router.traffic.ports import Port
from rolling_router.traffic.sockets import SOCKETS_VARIABLE, Sockets
from rolling_router.traffic.succession import OWN_VARIABLES
from rolling_router.traffic.worker_log import OBSERVER, repeat

_log = Logger()
_Result = TypeVar("_Result")

WORKER_VARIABLE = "ROLLING_ROUTER_WORKER"
"""
Set in a worker. ``late``: it accepts nothing before it knows what to serve, for others do as long. ``early``: its
clients wait for that, as it accepts them at once.
"""

ASK_FD, TELL_FD, FIRST_SOCKET_FD = 3, 4, 5
ASK, RELOAD, LEAVE = b"figures\n", b"reload\n", b"leave\n"
READY = b"ready\n"
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
        self,
        settings: Settings,
        reactor: Any,
        arguments: Sequence[str],
        environ: Mapping[str, str],
        sockets: Sockets,
        is_late: bool,
    ) -> None:
        """
        :param is_late: the workers accept nothing before they know what to serve.
        :raises SettingError: an endpoint cannot be meant.
        """
        self._settings = settings
        self._reactor = reactor
        self._arguments = arguments
        self._environ = environ
        self._sockets = sockets
        self._is_late = is_late
        nobody = Factory()
        nobody.noisy = False
        self._ports = [Port(text, "listen", nobody, reactor, sockets) for text in settings.listen]
        self._handed: list[tuple[str, int]] = []
        self._workers: list[_Worker] = []
        self._is_stopping = False
        self._through = LogFile(STDOUT) if settings.access_log == STDOUT else None
        self._flushing = LoopingCall(self._through.flush) if self._through else None

    def bind(self) -> None:
        """:raises SettingError: a port cannot be had."""
        for port in self._ports:
            port.bind()
        self._handed = [(key, made.fileno()) for key, made in self._sockets.pairs()]

    def open(self) -> None:
        """The workers accept."""

    def start(self) -> None:
        if self._flushing is not None:
            self._flushing.clock = self._reactor
            self._flushing.start(TICK, now=False)
        for number in range(1, self._settings.workers + 1):
            self._spawn(number, self._is_late)

    def release(self) -> Deferred[None]:
        """Each worker decides by itself when it knows enough to serve. Fires when all do."""
        return gatherResults([worker.ready for worker in self._workers]).addCallback(lambda _: None)

    def reload(self) -> None:
        for worker in self._workers:
            worker.say(RELOAD)

    def follow(self, snapshot: Snapshot) -> None:
        """Each worker follows the store by itself."""

    def figures(self) -> Deferred[Figures]:
        """What all workers together can say. Never fails."""
        asked = [
            worker.ask().addTimeout(ANSWER_SECONDS, self._reactor).addErrback(_unanswered) for worker in self._workers
        ]

        def merge(told: list[Mapping[str, Any] | None]) -> Figures:
            known = [one for one in told if one is not None]
            merged = Figures.merged(self._settings.app, known, self._is_stopping)
            # What a worker has in force that does not tell is not known.
            silent = len(told) - len(known)
            if self._through is not None:
                merged = attrs.evolve(merged, lines_dropped=merged.lines_dropped + self._through.dropped)
            return attrs.evolve(merged, revision=None, silent=silent) if silent else merged

        return Deferred.fromCoroutine(_each_of(asked)).addCallback(merge)

    async def stop(self, is_succeeded: bool = False) -> None:
        """Each worker drains and ends; this ends when the last one has. `is_succeeded` as in `Engine.stop`."""
        self._is_stopping = True
        limit = self._settings.drain_seconds + END_SECONDS
        # Ours first: the last worker to close a socket serves who is in its queue.
        for port in self._ports:
            await port.stop()
        for worker in list(self._workers):
            if is_succeeded:
                worker.say(LEAVE)
            else:
                worker.end()
        try:
            gone = _each_of([worker.gone for worker in self._workers])
            await Deferred.fromCoroutine(gone).addTimeout(limit, self._reactor)
        except TimedOut:
            for worker in list(self._workers):
                worker.kill()
        if self._flushing is not None and self._flushing.running:
            self._flushing.stop()
        if self._through is not None:
            self._through.close()

    def _spawn(self, number: int, is_late: bool, ready: Deferred[None] | None = None) -> None:
        if self._is_stopping:
            return
        sockets = {FIRST_SOCKET_FD + at: descriptor for at, (_, descriptor) in enumerate(self._handed)}
        keys = [(key, FIRST_SOCKET_FD + at) for at, (key, _) in enumerate(self._handed)]
        worker = _Worker(number, ready, self._through)
        self._workers.append(worker)
        self._reactor.spawnProcess(
            worker,
            sys.executable,
            [
                *(sys.executable, "-P", "-m", "rolling_router.traffic"),
                *("--logger", OBSERVER, "rolling-router", *self._arguments),
            ],
            env={
                **{name: value for name, value in self._environ.items() if name not in OWN_VARIABLES},
                WORKER_VARIABLE: "late" if is_late else "early",
                SOCKETS_VARIABLE: json.dumps(keys),
            },
            childFDs={0: "w", 1: "r", 2: "r", ASK_FD: "w", TELL_FD: "r", **sockets},
        )
        worker.gone.addCallback(self._ended, worker)

    def _ended(self, why: str, worker: _Worker) -> None:
        self._workers.remove(worker)
        if not self._is_stopping:
            _log.error("worker {number} ended: {why}; another one takes its place", number=worker.number, why=why)
            # Who waits for the one that ended to be ready waits for the next one. Nobody does: the others serve by now.
            has_served = worker.ready.called
            ready = None if has_served else worker.ready
            self._reactor.callLater(AGAIN_SECONDS, self._spawn, worker.number, has_served or self._is_late, ready)


class _Worker(ProcessProtocol):
    """
    The parent's side of one worker.

    :ivar gone: fires when the process has ended, with how it did.    :ivar ready: fires when it serves.
    """

    def __init__(self, number: int, ready: Deferred[None] | None = None, through: LogFile | None = None) -> None:
        """:param through: takes the lines of its standard output; without one they are logged."""
        self.number = number
        self._through = through
        self.gone: Deferred[str] = Deferred()
        self.ready: Deferred[None] = ready or Deferred()
        self._asked: list[Deferred[Mapping[str, Any] | None]] = []
        self._lines = {1: b"", 2: b"", TELL_FD: b""}

    def ask(self) -> Deferred[Mapping[str, Any] | None]:
        """Its figures; ``None`` when it is not there to tell them, or hangs."""
        if self.transport is None or self.transport.pid is None:
            return succeed(None)
        if self._asked and self._asked[0].called:
            return succeed(None)  # it owes an answer that nobody waits for any more; it is not asked for another
        asked: Deferred[Mapping[str, Any] | None] = Deferred()
        self._asked.append(asked)
        self.say(ASK)
        return asked

    def say(self, word: bytes) -> None:
        if self.transport is not None and self.transport.pid is not None:
            self.transport.writeToChild(ASK_FD, word)

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
            elif childFD == 1 and self._through is not None:
                self._through.append(line + b"\n")
            else:
                repeat(self.number, line)
        if lines and childFD == 1 and self._through is not None:
            self._through.flush()

    def processEnded(self, reason: Failure) -> None:
        for asked in self._asked:
            if not asked.called:
                asked.callback(None)
        self._asked = []
        self.gone.callback(reason.getErrorMessage())

    def _answered(self, line: bytes) -> None:
        if line + b"\n" == READY:
            self.ready.callback(None)
            return
        if self._asked:
            asked = self._asked.pop(0)
            if not asked.called:  # it may have been waited for too long
                asked.callback(json.loads(line))


async def _each_of(awaited: Sequence[Deferred[_Result]]) -> list[_Result]:
    """Unlike `gatherResults`, it can be cancelled as any one of them can: who cancels that gets another error back."""
    return [await one for one in awaited]


def _unanswered(failure: Failure) -> None:
    failure.trap(TimedOut)
    _log.warn("a worker did not tell its figures within {seconds:g} s", seconds=ANSWER_SECONDS)


def worker_kind(environ: Mapping[str, str]) -> str:
    """See `WORKER_VARIABLE`; empty in a process that is no worker."""
    return environ.get(WORKER_VARIABLE, "")
