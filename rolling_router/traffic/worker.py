"""traffic.worker: a worker's side of talking to its parent. Made by `service` in a worker process."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from twisted.internet.protocol import Protocol, connectionDone
from twisted.internet.stdio import StandardIO
from twisted.python.failure import Failure

from rolling_router.observe.figures import Figures
from rolling_router.traffic.crew import ASK, ASK_FD, LEAVE, READY, RELOAD, TELL_FD


class Teller(Protocol):
    """
    Does as the parent says, tells it this worker's figures when asked, and ends the worker when the parent is gone.

    :param figures: what to tell.    :param reload: read again what may have changed.
    :param leave: called once: others accept now, or nobody can ask any more. With whether it is the former.
    """

    def __init__(self, figures: Callable[[], Figures], reload: Callable[[], Any], leave: Callable[[bool], Any]) -> None:
        self._figures = figures
        self._reload = reload
        self._leave = leave
        self._heard = b""

    def listen(self, reactor: Any) -> None:
        StandardIO(self, stdin=ASK_FD, stdout=TELL_FD, reactor=reactor)  # type: ignore[call-arg]  # mypy reads Windows'

    def ready(self) -> None:
        """This worker serves."""
        self.transport.write(READY)  # type: ignore[union-attr]

    def dataReceived(self, data: bytes) -> None:
        *words, self._heard = (self._heard + data).split(b"\n")
        for word in words:
            if word == ASK.strip():
                self.transport.write(json.dumps(self._figures().as_dict()).encode("ascii") + b"\n")  # type: ignore[union-attr]
            elif word == RELOAD.strip():
                self._reload()
            elif word == LEAVE.strip():
                self._leave(True)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._leave(False)
