"""
starting: what every twistd command does at its start and end. Called by `service` and `occs.emulator.service`; knows
neither options nor parts.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from twisted.application.service import Service
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.error import ReactorNotRunning
from twisted.logger import Logger

from rolling_router.errors import SettingError

_log = Logger()
_Made = TypeVar("_Made", bound=Service)


def start_well(
    command: str,
    make: Callable[[], _Made],
    reactor: Any,
    twistd: Mapping[str, Any] | None = None,
    end: Callable[[_Made], Any] | None = None,
) -> Service:
    """
    Make a command's service, so that a bad setting ends the start with one line and status 1, where twistd would print
    a traceback; and SIGTERM ends the process with status 0, for to be told to end is no failure.

    :param command: its name, said before what is wrong.    :param make: may raise SettingError.
    :param twistd: twistd's own options, which say where the log goes.
    :param end: what SIGTERM does to what was made; by default, the reactor stops.
    :raises SystemExit: it did.
    """
    try:
        made = make()
    except SettingError as wrong:
        raise SystemExit(f"{command}: {wrong}") from None
    stop = partial(stop_reactor, reactor) if end is None else partial(end, made)
    hear(reactor, signal.SIGTERM, stop)  # who is told that it is ready may end it before the reactor runs
    reactor.callWhenRunning(hear, reactor, signal.SIGTERM, stop)
    return _OneLine(command, made, twistd or {})


def stop_reactor(reactor: Any) -> None:
    """Also where it was stopped before."""
    with suppress(ReactorNotRunning):
        reactor.stop()


def hear(reactor: Any, number: signal.Signals, heard: Callable[[], Any]) -> None:
    """
    Call `heard` in the reactor's thread, whenever the signal comes.

    To be called again when the reactor runs, because it sets handlers of its own at its start.
    """
    signal.signal(number, lambda *_: reactor.callFromThread(heard))


class _OneLine(Service):
    """Turns the refusals of a start into one line and exit status 1."""

    def __init__(self, command: str, inner: Service, twistd: Mapping[str, Any]) -> None:
        self._command = command
        self.inner = inner
        self._is_log_shown = _is_log_shown(twistd)
        self._pidfile = twistd.get("pidfile")

    def privilegedStartService(self) -> None:
        try:
            self.inner.privilegedStartService()
        except SettingError as wrong:
            raise self._exit(wrong) from None

    def startService(self) -> None:
        super().startService()
        try:
            self.inner.startService()
        except SettingError as wrong:
            raise self._exit(wrong) from None

    def stopService(self) -> Deferred[None]:
        super().stopService()
        return maybeDeferred(self.inner.stopService)

    def _exit(self, wrong: SettingError) -> SystemExit:
        """
        The log has begun, and twistd has put it in the place of standard error: say it in both. Where the log goes to
        standard output, the same people would read it twice.
        """
        if not self._is_log_shown:
            _log.critical("{wrong}", wrong=wrong)
        print(f"{self._command}: {wrong}", file=sys.__stderr__, flush=True)
        if self._pidfile:
            _let_go(Path(self._pidfile))
        return SystemExit(1)


def _let_go(pidfile: Path) -> None:
    """
    Remove it, which twistd does after an exception, but not after SystemExit: who gets the process's number next would
    be taken for us. It stays where it names another process, such as the one whose place was to be taken.
    """
    with suppress(OSError, ValueError):
        if int(pidfile.read_text("ascii")) == os.getpid():
            pidfile.unlink()


def _is_log_shown(twistd: Mapping[str, Any]) -> bool:
    """Whether the log is on standard output, as `twistd` decides it."""
    if twistd.get("syslog") or twistd.get("logger"):
        return False
    return twistd.get("logfile") == "-" or bool(twistd.get("nodaemon") and not twistd.get("logfile"))
