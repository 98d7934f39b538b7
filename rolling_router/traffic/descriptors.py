"""traffic.descriptors: how many files and sockets this process may have open. For `engine`, `callers`."""

from __future__ import annotations

import os
import resource
from collections.abc import Callable
from typing import Any

from twisted.application.service import Service
from twisted.internet.task import LoopingCall
from twisted.internet.tcp import Port, _reservedFD
from twisted.logger import Logger

_log = Logger()

_LOOK_SECONDS = 0.25

_KEPT_BACK = 64
"""For the store, the logs, the settings port and what Python itself opens."""


def most_connections() -> int:
    """
    How many client connections there are descriptors for, each with one to an instance.

    The process's soft limit is raised to its hard one first: the soft one is meant for programs that use ``select``.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
            soft = hard
        except (OSError, ValueError):  # some systems have a lower limit of their own
            pass
    if soft == resource.RLIM_INFINITY:
        return 0
    return max(1, (soft - _KEPT_BACK) // 2)


def most_callers() -> int:
    """How many connections the settings port has descriptors for: a quarter of all, and never more than 500."""
    soft = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return 500 if soft == resource.RLIM_INFINITY else max(16, min(500, soft // 4))


_LAST = 24
"""A client whose socket is one of the last so many is turned away; they are for instances and files."""


def is_one_of_the_last(descriptor: int) -> bool:
    """Whether descriptors are about to run out, by one that was just made: its number is the lowest that was free."""
    soft = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return soft != resource.RLIM_INFINITY and descriptor >= soft - _LAST


class Watch(Service):
    """
    Lets the listening sockets rest while there is no descriptor for a client.

    Twisted keeps one in reserve, to take clients with it and turn them away. If a thread happens to open a file at that
    moment, the reserve is gone for good, and the listening socket, always ready and never served, takes all of the CPU.
    """

    def __init__(self, reactor: Any, loop: Any, limited: Callable[[str], None]) -> None:
        """:param loop: has the listening sockets among its readers."""
        self._loop = loop
        self._limited = limited
        self._resting: list[Port] = []
        self._calls = LoopingCall(self._look)
        self._calls.clock = reactor

    def startService(self) -> None:
        super().startService()
        self._calls.start(_LOOK_SECONDS)

    def stopService(self) -> None:
        super().stopService()
        self._calls.stop()

    def _look(self) -> None:
        if _reservedFD.available():
            return
        try:
            os.close(os.open(os.devnull, os.O_RDONLY))
        except OSError:
            ports = [one for one in self._loop.getReaders() if isinstance(one, Port)]
            if ports:
                self._limited("descriptors")
                _log.error("out of descriptors: no new client is taken until there are some")
            for port in ports:
                port.stopReading()
            self._resting += ports
            return
        _reservedFD.reserve()
        resting, self._resting = self._resting, []
        for port in resting:
            if port.connected:
                port.startReading()
