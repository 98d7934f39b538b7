"""A client of HTTP/2 that a test holds by the hand: it reads, asks and acknowledges when it is told to."""

from __future__ import annotations

import socket
import ssl
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import attrs
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import (
    DataReceived,
    Event,
    ResponseReceived,
    StreamEnded,
    StreamReset,
)

SECONDS = 30.0
GOAWAY = 7


@attrs.define
class Stream:
    """What has come on one.    :ivar status: 0 is nothing.    :ivar reset: the code that it was reset with."""

    status: int = 0
    fields: list[tuple[bytes, bytes]] = attrs.field(factory=list)
    body: bytearray = attrs.field(factory=bytearray)
    is_over: bool = False
    reset: int | None = None

    @property
    def is_done(self) -> bool:
        return self.is_over or self.reset is not None


class Http2:
    """
    One connection to a port of 127.0.0.1.

    :ivar streams: by number, in the order in which they were begun.    :ivar gone: the last stream of each GOAWAY.
    :ivar is_closed: the router ended the connection.    :ivar acknowledges: gives what was read back to the windows.
    """

    def __init__(
        self,
        port: int,
        cafile: str,
        name: str = "shop.example",
        settings: dict[int, int] | None = None,
        rcvbuf: int = 0,
    ) -> None:
        context = ssl.create_default_context(cafile=cafile)
        context.set_alpn_protocols(["h2"])
        plain = socket.socket()
        if rcvbuf:
            plain.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, rcvbuf)
        plain.settimeout(SECONDS)
        plain.connect(("127.0.0.1", port))
        self.sock = context.wrap_socket(plain, server_hostname=name)
        assert self.sock.selected_alpn_protocol() == "h2"
        self.conn = H2Connection(H2Configuration(header_encoding=None))
        self.name = name
        self.streams: dict[int, Stream] = {}
        self.gone: list[int] = []
        self._kept = b""
        self.is_closed = False
        self.acknowledges = True
        self.conn.initiate_connection()
        if settings:
            self.conn.update_settings(settings)
        self.flush()

    def __enter__(self) -> Http2:
        return self

    def __exit__(self, *_: object) -> None:
        self.sock.close()

    def ask(self, path: str = "/", method: str = "GET", ends: bool = True, fields: Any = ()) -> Stream:
        """Begin a stream with this head."""
        number = self.conn.get_next_available_stream_id()
        head = [(":method", method), (":path", path), (":scheme", "https"), (":authority", self.name), *fields]
        self.conn.send_headers(number, head, end_stream=ends)
        stream = self.streams[number] = Stream()
        self.flush()
        return stream

    def send(self, stream: Stream, data: bytes, ends: bool = False) -> None:
        self.conn.send_data(self._number(stream), data, end_stream=ends)
        self.flush()

    def ping(self) -> None:
        if not self.is_closed:
            self.conn.ping(b"12345678")
            self.flush()

    def take(self, stream: Stream | None, count: int) -> None:
        """Open the window of a stream, or of the connection, by so much."""
        self.conn.increment_flow_control_window(count, None if stream is None else self._number(stream))
        self.flush()

    def flush(self) -> None:
        data = self.conn.data_to_send()
        with suppress(OSError):  # it takes nothing any more; what it has said before is still to be read
            self.sock.sendall(data)

    def read(self, seconds: float = 0.05) -> None:
        """Read what is there, or what comes in so many seconds."""
        if self.is_closed:
            return
        self.sock.settimeout(seconds)
        try:
            data = self.sock.recv(1 << 18)
        except TimeoutError:
            return
        except OSError:
            data = b""
        finally:
            self.sock.settimeout(SECONDS)
        if not data:
            self.is_closed = True
            return
        self._kept += data
        while len(self._kept) >= 9 and len(self._kept) >= (end := 9 + int.from_bytes(self._kept[:3], "big")):
            frame, self._kept = self._kept[:end], self._kept[end:]
            if frame[3] == GOAWAY:  # after which h2 would take nothing more, not even what is still owed
                self.gone.append(int.from_bytes(frame[9:13], "big"))
                continue
            for event in self.conn.receive_data(frame):
                self._happened(event)
        self.flush()

    def until(self, is_so: Callable[[], Any], what: str = "", pings: bool = False, seconds: float = SECONDS) -> None:
        """Read until something is so; with `pings`, never silent."""
        end = time.monotonic() + seconds
        while not is_so():
            assert time.monotonic() < end, f"never so: {what}; {self.streams} {self.is_closed=} {self.gone=}"
            if pings:
                self.ping()
            self.read()
            if self.is_closed and not is_so():
                time.sleep(0.05)

    def _happened(self, event: Event) -> None:
        stream = self.streams.get(getattr(event, "stream_id", 0) or 0)
        if stream is None:
            return
        if isinstance(event, ResponseReceived):
            stream.fields = [(bytes(name), bytes(value)) for name, value in event.headers]
            stream.status = int(dict(stream.fields)[b":status"])
        elif isinstance(event, DataReceived):
            stream.body += event.data
            if self.acknowledges and event.flow_controlled_length:
                self.conn.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
        elif isinstance(event, StreamEnded):
            stream.is_over = True
        elif isinstance(event, StreamReset):
            stream.reset = event.error_code

    def _number(self, stream: Stream) -> int:
        return next(number for number, one in self.streams.items() if one is stream)
