"""proxy.tunnel: two connections that speak another protocol with each other (WebSocket). Bytes pass as they are."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from rolling_router.proxy.deadlines import NEVER, Deadlines
from rolling_router.proxy.frames import GOING_AWAY, Frames
from rolling_router.proxy.loop import sender_for
from rolling_router.proxy.side import Side
from rolling_router.routing.fleet import Load

if TYPE_CHECKING:
    from rolling_router.proxy.exchange import Exchange

GOODBYE_SECONDS = 2.0
"""For both sides to say goodbye to each other."""


class Tunnel:
    """
    Both directions of one tunnel; the rest of an exchange in which the protocol was changed, and it counts there.

    Each transport is made to hold the other back while it has more to send than it can.

    :ivar deadline: see `proxy.deadlines`.
    """

    def __init__(
        self,
        exchange: Exchange,
        client: Side,
        instance: Side,
        deadlines: Deadlines,
        most_seconds: float,
        limited: Callable[[str], None],
    ) -> None:
        """
        :param most_seconds: silence of both sides, after which it ends; 0 is no limit. Noticed up to a quarter later.
        :param limited: called with the name of the limit that acted.
        """
        response, placement = exchange.response, exchange.placement
        assert response is not None
        assert placement is not None
        self._exchange = exchange
        self._load = placement.load
        self._sides = (client, instance)
        self._client: Any = client.transport
        self._instance: Any = instance.transport
        self._deadlines = deadlines
        self._most_seconds = most_seconds
        self._limited = limited
        # What the instance sends is followed where it is frames, so that it can be told where another may be put in.
        is_websocket = response.upgrade is not None and response.upgrade.strip().lower() == b"websocket"
        self._frames = Frames() if is_websocket else None
        self._is_over = False
        self._is_leaving = False  # it was told to end, and ends when its two sides have said goodbye
        self._is_silenced = False  # the client was told goodbye in the instance's name
        self._moved = 0
        self._moved_at = deadlines.now
        self.deadline = deadlines.now + most_seconds / 4 if most_seconds else NEVER
        deadlines.add(self)
        transport: Any
        for transport, other in ((self._client, self._instance), (self._instance, self._client)):
            transport.unregisterProducer()
            transport.registerProducer(other, True)
            # Silence is no sign of a dead peer here: a WebSocket may be quiet for hours. The kernel finds it.
            transport.setTcpKeepAlive(True)
        self._send_client = sender_for(self._client)
        self._send_instance = sender_for(self._instance)

    def from_client(self, data: bytes) -> None:
        self._exchange.bytes_in += len(data)
        self._send_instance(self._instance, data)

    def from_instance(self, data: bytes) -> None:
        if self._frames is not None:
            if self._is_silenced:
                return
            between = self._frames.feed(data)
            if self._is_leaving and between is not None and not self._frames.is_closed:
                data = data[:between] + GOING_AWAY
                self._is_silenced = True
        self._exchange.bytes_out += len(data)
        self._send_client(self._client, data)

    def close(self) -> None:
        """One side is gone, or the service stops: what was sent to the other still arrives, then it is closed."""
        if self._is_over:
            return
        self._is_over = True
        self._deadlines.discard(self)
        for side in self._sides:
            side.tunnel_ended()

    def expire(self) -> None:
        """It costs nothing while bytes pass; now and then one looks whether any did."""
        if self._is_leaving:
            self.close()  # one side has not said goodbye
            return
        now, moved = self._deadlines.now, self._exchange.bytes_in + self._exchange.bytes_out
        if moved != self._moved:
            self._moved, self._moved_at = moved, now
        if now - self._moved_at >= self._most_seconds:
            self._limited("tunnel-seconds")
            self.close()
        self.deadline = now + self._most_seconds / 4

    # As a stream, see `proxy.draining`

    def stream_on(self) -> Load | None:
        return None if self._is_over or self._is_leaving else self._load

    def end_stream(self) -> None:
        """
        End it properly: a WebSocket's client is told that its server goes away, between two frames of that server's.

        Its own goodbye goes to the instance then, which ends the connection, or time does. Other protocols end at once.
        """
        if self._frames is None:
            self.close()
            return
        self._is_leaving = True
        self.deadline = self._deadlines.now + GOODBYE_SECONDS
        if self._frames.is_between and not self._frames.is_closed:
            self.from_instance(b"")
