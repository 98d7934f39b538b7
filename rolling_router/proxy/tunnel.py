"""proxy.tunnel: two connections that speak another protocol with each other (WebSocket). Bytes pass as they are."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from rolling_router.proxy.loop import sender_for


class Tunnel:
    """
    Both directions of one tunnel.

    Each transport is made to hold the other back while it has more to send than it can.

    :ivar bytes_in: from the client.    :ivar bytes_out: to it.
    """

    def __init__(self, client: Any, instance: Any, ended: Callable[[], None]) -> None:
        """
        :param client: the transport of the client's connection; `instance` likewise.
        :param ended: called once, when either side is gone.
        """
        self._client = client
        self._instance = instance
        self._ended: Callable[[], None] | None = ended
        self.bytes_in = 0
        self.bytes_out = 0
        for transport, other in ((client, instance), (instance, client)):
            transport.unregisterProducer()
            transport.registerProducer(other, True)
            # No limit on silence here: a WebSocket may be quiet for hours. A dead peer is found by the kernel.
            transport.setTcpKeepAlive(True)
        self._send_client = sender_for(client)
        self._send_instance = sender_for(instance)

    def from_client(self, data: bytes) -> None:
        self.bytes_in += len(data)
        self._send_instance(self._instance, data)

    def from_instance(self, data: bytes) -> None:
        self.bytes_out += len(data)
        self._send_client(self._client, data)

    @property
    def is_over(self) -> bool:
        return self._ended is None

    def close(self) -> None:
        """One side is gone, or the service stops: what was sent to the other still arrives, then it is closed."""
        ended, self._ended = self._ended, None
        if ended is None:
            return
        for transport in (self._client, self._instance):
            transport.unregisterProducer()
            transport.loseConnection()
        ended()
