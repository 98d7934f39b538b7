"""
traffic.callers: the connections of the settings port, so that they are bounded, and can be ended with it. Made by
`steering`.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.task import deferLater
from twisted.logger import Logger
from twisted.protocols.policies import ProtocolWrapper, WrappingFactory
from twisted.web.http import Request

from rolling_router.proxy.sending import has_unread
from rolling_router.traffic.descriptors import most_callers

_log = Logger()

_LOOKS, _LOOK_SECONDS = 20, 0.1
_SAY_SECONDS = 60.0


class Callers(WrappingFactory):
    """A site whose connections can be ended without breaking an answer off, and take no descriptors from clients."""

    noisy = False

    def __init__(self, site: Any, reactor: Any) -> None:
        super().__init__(site)
        self._reactor = reactor
        self._said_at = float("-inf")

    def registerProtocol(self, p: ProtocolWrapper) -> None:
        super().registerProtocol(p)
        most = most_callers()
        if len(self.protocols) > most:
            self._make_room(p, most)

    def unregisterProtocol(self, p: ProtocolWrapper) -> None:
        self.protocols.pop(p, None)  # one that had to go is out already

    def _make_room(self, newest: ProtocolWrapper, most: int) -> None:
        """The oldest that waits for no answer goes, so that a crowd that says nothing keeps nobody out."""
        out = next((one for one in self.protocols if one is not newest and not _is_answered(one)), newest)
        del self.protocols[out]
        transport: Any = out.transport
        transport.abortConnection()
        now = self._reactor.seconds()
        if now - self._said_at >= _SAY_SECONDS:
            self._said_at = now
            _log.warn("the settings port has {most} connections; beyond, those that ask nothing are ended", most=most)

    async def hang_up(self) -> None:
        """End each connection when its answer is over, also one to a request that is not read yet; all after 2 s."""
        for _ in range(_LOOKS):
            for one in [one for one in self.protocols if not (_is_busy(one) or has_unread(one))]:
                one.transport.loseConnection()
            if not self.protocols:
                return
            await deferLater(self._reactor, _LOOK_SECONDS)
        for one in list(self.protocols):
            one.transport.loseConnection()


def _is_busy(connection: ProtocolWrapper) -> bool:
    return bool(getattr(_channel(connection), "requests", None))


def _is_answered(connection: ProtocolWrapper) -> bool:
    """Whether a request has come whole, and its answer not gone whole."""
    channel = _channel(connection)
    requests = getattr(channel, "requests", ())
    return bool(getattr(channel, "streams", None)) or any(one.method != Request.method for one in requests)


def _channel(connection: ProtocolWrapper) -> Any:
    return getattr(connection.wrappedProtocol, "_channel", None)  # of twisted.web's switch between HTTP/1 and 2
