"""
traffic.succession: a new process takes the place of this one, and no client notices. Used by `service` on both sides.

The old process starts the new one with its listening sockets. Both have them, so no connection is refused or reset. The
new one accepts when it knows what to serve, and says so; only then does the old one stop accepting, and it drains.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.defer import TimeoutError as TimedOut
from twisted.internet.error import ProcessExitedAlready
from twisted.internet.protocol import ProcessProtocol
from twisted.logger import Logger
from twisted.python.failure import Failure

from rolling_router.traffic.sockets import SOCKETS_VARIABLE, Sockets

_log = Logger()

PREDECESSOR_VARIABLE = "ROLLING_ROUTER_PREDECESSOR"
"""
Set in a process that is to take the place of another: the descriptor by which it says that it serves, and the file for
its pid, if any, with a colon between.
"""

READY_FD, FIRST_SOCKET_FD = 3, 4
READY = b"ready\n"

READY_SECONDS = 60.0
"""For the new process to know what to serve. The old one goes on until then, and if it does not, altogether."""

OWN_VARIABLES = (PREDECESSOR_VARIABLE, SOCKETS_VARIABLE, "LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES")
"""That say how this very process was started; none of them is for the next one."""


class NotReady(Exception):
    """The new process did not get there; the text says why."""


def hand_over(
    reactor: Any,
    command: Sequence[str],
    environ: Mapping[str, str],
    sockets: Sockets,
    pidfile: str = "",
    seconds: float = READY_SECONDS,
) -> Deferred[int]:
    """
    Start `command` with our sockets. Fires with its pid when it serves; this process is to accept no more then.

    Fails with `NotReady` when it ended before, or was not ready in time (and was told to end).
    """
    pairs = sockets.pairs()
    numbered = {FIRST_SOCKET_FD + at: made.fileno() for at, (_, made) in enumerate(pairs)}
    environ = {name: value for name, value in environ.items() if name not in OWN_VARIABLES}
    environ[SOCKETS_VARIABLE] = json.dumps([(key, FIRST_SOCKET_FD + at) for at, (key, _) in enumerate(pairs)])
    environ[PREDECESSOR_VARIABLE] = f"{READY_FD}:{pidfile}"
    successor = _Successor()
    try:
        reactor.spawnProcess(
            successor, command[0], command, env=environ, childFDs={0: 0, 1: 1, 2: 2, READY_FD: "r", **numbered}
        )
    except OSError as wrong:
        successor.fail(f"it cannot be started: {wrong.strerror}")
        return successor.ready

    def give_up(failure: Failure) -> Failure:
        failure.trap(TimedOut)
        raise NotReady(f"it was not ready within {seconds:g} seconds; its own words are above")

    return successor.ready.addTimeout(seconds, reactor).addErrback(give_up)


class _Successor(ProcessProtocol):
    """The old process's side. :ivar ready: see `hand_over`."""

    def __init__(self) -> None:
        self.ready: Deferred[int] = Deferred(lambda _: self.end())
        self._is_settled = False
        self._heard = b""

    def childDataReceived(self, childFD: int, data: bytes) -> None:
        self._heard += data
        if READY in self._heard and not self._is_settled:
            self._is_settled = True
            pid: int = self.transport.pid  # type: ignore[union-attr]
            self.ready.callback(pid)

    def processEnded(self, reason: Failure) -> None:
        status = getattr(reason.value, "status", None)
        how = reason.getErrorMessage() if status is None else f"it ended ({reason.getErrorMessage().rstrip('.')})"
        self.fail(f"{how}; its own words are above")

    def end(self) -> None:
        self._is_settled = True
        try:
            self.transport.signalProcess("TERM")  # type: ignore[union-attr]
        except ProcessExitedAlready:
            pass

    def fail(self, why: str) -> None:
        if not self._is_settled:
            self._is_settled = True
            self.ready.errback(NotReady(why))


def successor_command(twistd: Mapping[str, Any], arguments: Sequence[str]) -> list[str]:
    """
    The command line of a process like this one.

    :param twistd: twistd's own options. The new process is no daemon, for then nobody would know its pid, and it stays
        the user that this one has become.
    :param arguments: those of the subcommand.
    """
    own = []
    if twistd["logfile"] or not twistd["nodaemon"]:
        logfile = twistd["logfile"] or "twistd.log"
        own += ["--logfile", logfile if logfile == "-" else os.path.abspath(logfile)]
    if twistd["logger"]:
        own += ["--logger", twistd["logger"]]
    if twistd["syslog"]:
        own += ["--syslog", "--prefix", twistd["prefix"]]
    return [sys.executable, "-P", "-m", "rolling_router.traffic", *own, "rolling-router", *arguments]


class Predecessor:
    """
    The new process's side: whether there is somebody whose place it takes, and the word that it has.

    :ivar pidfile: where the pid belongs; empty for nowhere.
    """

    def __init__(self, environ: Mapping[str, str]) -> None:
        descriptor, _, self.pidfile = environ.get(PREDECESSOR_VARIABLE, "").partition(":")
        self.is_there = bool(descriptor)
        self._descriptor = int(descriptor) if descriptor else None
        if self._descriptor is not None:
            os.set_inheritable(self._descriptor, False)

    def tell(self) -> None:
        """This process accepts now."""
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is None:
            return
        if self.pidfile:
            _write_pid(self.pidfile)
        try:
            os.write(descriptor, READY)
        except BrokenPipeError:
            _log.warn("the process before this one ended before this one was ready")
        os.close(descriptor)


def _write_pid(path: str) -> None:
    beside = f"{path}.{os.getpid()}"
    try:
        with open(beside, "w", encoding="ascii") as file:
            file.write(str(os.getpid()))
        os.replace(beside, path)
    except OSError as wrong:
        _log.error("the pid cannot be written to {path}: {why}", path=path, why=wrong.strerror)
