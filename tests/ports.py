"""Ports for what tests start: never one that another test is about to take."""

from __future__ import annotations

import os
import random
import socket
from collections import deque
from collections.abc import Iterator
from contextlib import ExitStack
from itertools import cycle

FIRST, LAST = 10_100, 15_000
"""
Below those that the system gives to outgoing connections, and those that emulators (from 20,000) and tutorials (from
15,000) draw for their containers: a port that is given here and not listened on yet looks free to them.
"""


def _turns() -> Iterator[int]:
    """One after the other. Each process of pytest-xdist has ports of its own, with the same place in their row."""
    number = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    own = range(FIRST + number, LAST, int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1")))
    begin = random.randrange(len(own))
    return cycle([*own[begin:], *own[:begin]])


_TURNS = _turns()
_MARKS: deque[socket.socket] = deque()
"""Of the ports that were given last: names by which other runs of tests on this machine know that they are taken."""
_MARKS_MOST = 200


def free_port() -> int:
    """A port of this machine that nobody listens on, and that is not given again for a long while."""
    for port in _TURNS:
        with ExitStack() as failing:
            mark = failing.enter_context(socket.socket(socket.AF_UNIX))
            try:
                mark.bind(f"\0tests.ports {port}")
                with socket.socket() as listening:
                    listening.bind(("127.0.0.1", port))
            except OSError:
                continue
            failing.pop_all()
        _MARKS.append(mark)
        if len(_MARKS) > _MARKS_MOST:
            _MARKS.popleft().close()
        return port
    raise AssertionError("the turns have no end")
