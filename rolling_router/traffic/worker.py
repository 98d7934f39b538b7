"""traffic.worker: a worker's side of talking to its parent. Made by `service` in a worker process."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from twisted.internet.protocol import Protocol, connectionDone
from twisted.internet.stdio import StandardIO
from twisted.python.failure import Failure

from rolling_router.observe.figures import Figures
from rolling_router.traffic.crew import ASK, ASK_FD, TELL_FD


class Teller(Protocol):
    """
    Tells the parent this worker's figures when asked, and ends the worker when the parent is gone.

    :param figures: what to tell.    :param orphaned: called once, when nobody can ask any more.
    """

    def __init__(self, figures: Callable[[], Figures], orphaned: Callable[[], Any]) -> None:
        self._figures = figures
        self._orphaned = orphaned
        self._asked = b""

    def listen(self, reactor: Any) -> None:
        StandardIO(self, stdin=ASK_FD, stdout=TELL_FD, reactor=reactor)  # type: ignore[call-arg]  # mypy reads Windows'

    def dataReceived(self, data: bytes) -> None:
        self._asked += data
        while self._asked.startswith(ASK):
            self._asked = self._asked[len(ASK) :]
            self.transport.write(json.dumps(self._figures().as_dict()).encode("ascii") + b"\n")  # type: ignore[union-attr]

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._orphaned()
