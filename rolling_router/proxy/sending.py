"""
proxy.sending: write to a transport at once where nothing is queued, instead of waiting to be told that one may.

`ITransport.write` queues, asks epoll whether the socket is writable, and sends on the next turn of the reactor: two
more system calls and a turn per message. Almost always the socket takes everything right away.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.abstract import FileDescriptor

Send = Callable[[Any, bytes], None]


def send_at_once(transport: Any, data: bytes) -> None:
    """Send now, and queue what the socket does not take. Order is kept: nothing overtakes what is queued already."""
    if transport._tempDataLen or transport.dataBuffer or transport.disconnecting or not transport.connected:
        transport.write(data)
        return
    try:
        # What `writeSomeData` does, without its loop and its slice: together they cost a tenth of the call.
        sent = transport.socket.send(data)
    except OSError:
        sent = 0  # full, or lost: write() lets the reactor find out and report it in its turn
    if sent != len(data):
        transport.write(data[sent:])


def send_queued(transport: Any, data: bytes) -> None:
    transport.write(data)


def unsent_bytes(transport: Any) -> int:
    """How much is queued on a transport; by how it shrinks one sees whether the reader still reads."""
    if isinstance(transport, FileDescriptor):
        return len(transport.dataBuffer) - transport.offset + transport._tempDataLen
    inner = getattr(transport, "transport", None)
    return 0 if inner is None else unsent_bytes(inner)
