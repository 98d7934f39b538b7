"""
proxy.side: what a connection with a client and one with an instance have in common: how they send, wait and end.

The base of `Downstream` and `Upstream`, which know what is spoken.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.protocol import Protocol

from rolling_router.proxy.closing import Closing
from rolling_router.proxy.deadlines import NEVER, Deadlines
from rolling_router.proxy.limits import Limits
from rolling_router.proxy.loop import sender_for
from rolling_router.proxy.sending import unsent_bytes

if TYPE_CHECKING:
    from rolling_router.proxy.tunnel import Tunnel


class Side(Protocol):
    """
    One side of the proxy. It is the producer of its own transport, which asks it to hold the other side back while it
    has more to send than is taken.

    :ivar deadline: see `proxy.deadlines`.
    """

    def __init__(self, deadlines: Deadlines, limits: Limits, limited: Callable[[str], None]) -> None:
        """:param limited: called with the name of a limit that acted."""
        self._deadlines = deadlines
        self._limits = limits
        self._limited = limited
        self._tunnel: Tunnel | None = None
        self._closing: Closing | None = None
        self._is_over = False  # lost, or closing: no message begins any more
        self._unsent = 0
        self.deadline = NEVER

    def connectionMade(self) -> None:
        transport: Any = self.transport
        self._send = sender_for(transport)
        if isinstance(transport.getHost(), (IPv4Address, IPv6Address)):
            transport.setTcpNoDelay(True)  # an event stream's small writes must not wait for each other
        transport.registerProducer(self, True)

    def pauseProducing(self) -> None:
        """The other end takes no more for now."""
        self._unsent = unsent_bytes(self.transport)
        self.deadline = self._deadlines.now + self._limits.body_seconds

    def stopProducing(self) -> None:
        """The transport is gone; `connectionLost` tells the rest."""

    def tunnel_ended(self) -> None:
        """Close after what is queued was sent."""
        self._close()

    def abort(self) -> None:
        """End now, whatever is going on."""
        if self._tunnel is not None:
            self._tunnel.close()
        transport: Any = self.transport
        transport.abortConnection()

    def _close(self, lingers: bool = False) -> None:
        """
        Close after what is queued was sent, if it is not lost or closing already.

        :param lingers: the other end may still be sending; see `Closing`.
        """
        if not self._is_over:
            self._is_over = True
            self.deadline = NEVER
            self._closing = Closing(self.transport, self._deadlines, self._limits, self._limited, lingers)

    def _lost(self) -> None:
        """The connection is gone."""
        self._is_over = True
        if self._closing is not None:
            self._closing.over()
        if self._tunnel is not None:
            self._tunnel.close()

    def _has_taken_some(self) -> bool:
        """Whether something is queued, and the other end has taken some of it since this was asked last."""
        unsent = unsent_bytes(self.transport)
        is_taking = 0 < unsent != self._unsent
        self._unsent = unsent
        return is_taking
