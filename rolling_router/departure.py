"""
departure: the time between SIGTERM and the drain, in which a load balancer that asks ``/readyz`` finds out and clients
are still served. Made by `service`; knows neither ports nor workers.
"""

from __future__ import annotations

from typing import Any

import attrs
from twisted.logger import Logger

from rolling_router.observe.figures import Figures
from rolling_router.starting import stop_reactor

_log = Logger()


class Departure:
    """
    :param seconds: how long it takes; with 0 there is none.
    :ivar is_on: it has begun: this router wants to be sent nobody, and still serves whoever comes.
    """

    def __init__(self, seconds: float, reactor: Any) -> None:
        self._seconds = seconds
        self._reactor = reactor
        self.is_on = False

    def begin(self) -> bool:
        """Whether the end has to wait; it comes by itself then. Not so the second time: who asks again is in haste."""
        if self.is_on or not self._seconds:
            return False
        self.is_on = True
        _log.info(
            "told to end: not ready from now on, and the drain begins in {seconds:g} s, or when told again",
            seconds=self._seconds,
        )
        self._reactor.callLater(self._seconds, stop_reactor, self._reactor)
        return True

    def seen_in(self, figures: Figures) -> Figures:
        """The figures, as ``/readyz`` and the status page are to see them."""
        return attrs.evolve(figures, is_draining=True) if self.is_on else figures
