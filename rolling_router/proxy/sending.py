"""
proxy.sending: write to a transport at once where nothing is queued, instead of waiting to be told that one may.

`ITransport.write` queues, asks epoll whether the socket is writable, and sends on the next turn of the reactor: two
more system calls and a turn per message. Almost always the socket takes everything right away.
"""

from __future__ import annotations

from collections.abc import Callable
from fcntl import ioctl
from socket import MSG_DONTWAIT, MSG_PEEK
from sys import byteorder
from termios import TIOCOUTQ
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
    plain = transport if isinstance(transport, FileDescriptor) else underneath(transport)
    return 0 if plain is None else len(plain.dataBuffer) - plain.offset + plain._tempDataLen


def untaken_bytes(transport: Any) -> int:
    """The same, and what the other end's kernel has not taken yet of what was sent."""
    socket = getattr(underneath(transport), "socket", None)
    try:
        held = 0 if socket is None else int.from_bytes(ioctl(socket, TIOCOUTQ, bytes(4)), byteorder)
    except OSError:
        held = 0  # it is lost
    return unsent_bytes(transport) + held


def has_unread(transport: Any) -> bool:
    """Whether the kernel holds bytes that came on this connection and were not read yet."""
    socket = getattr(underneath(transport), "socket", None)
    try:
        return socket is not None and bool(socket.recv(1, MSG_PEEK | MSG_DONTWAIT))
    except OSError:
        return False


def is_quiet(transport: Any) -> bool:
    """Whether the connection is open, and the kernel holds no bytes that were not read yet."""
    socket = getattr(underneath(transport), "socket", None)
    try:
        if socket is not None:
            socket.recv(1, MSG_PEEK | MSG_DONTWAIT)
    except BlockingIOError:
        return True
    except OSError:
        pass
    return False  # closed, or it holds bytes that nobody asked for


def underneath(transport: Any) -> Any:
    """The transport that has the socket, whatever is spoken over it; ``None`` if there is none."""
    while transport is not None and not isinstance(transport, FileDescriptor):
        transport = getattr(transport, "transport", None)
    return transport
