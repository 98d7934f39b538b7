"""A client that sends exactly the bytes it is given, and reads answers as RFC 9112 says."""

from __future__ import annotations

import socket
import struct
from typing import Any

import attrs

Fields = list[tuple[bytes, bytes]]


@attrs.frozen
class Answer:
    """
    One answer.    :ivar is_cut: the connection ended before the answer did.    :ivar framing: what ended the body:
    ``none``, ``length``, ``chunked`` or ``close``.
    """

    status: int
    phrase: bytes
    fields: Fields
    body: bytes = b""
    trailers: Fields = attrs.field(factory=list)
    framing: str = "none"
    is_cut: bool = False

    def all(self, name: bytes) -> list[bytes]:
        return [value for key, value in self.fields if key.lower() == name.lower()]

    def one(self, name: bytes) -> bytes | None:
        values = self.all(name)
        assert len(values) < 2, (name, values)
        return values[0] if values else None

    @property
    def version(self) -> str:
        """Which version answered, by its own word."""
        value = self.one(b"X-Version")
        assert value is not None, self
        return value.decode()


class Cut(Exception):
    """The connection ended inside a message."""


class Wire:
    """One connection. Every wait ends after `seconds`."""

    def __init__(self, port: int, seconds: float = 30.0, sock: Any = None) -> None:
        self.sock = sock or socket.create_connection(("127.0.0.1", port), seconds)
        self.sock.settimeout(seconds)
        if self.sock.family == socket.AF_INET:
            self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._kept = b""

    def __enter__(self) -> Wire:
        return self

    def __exit__(self, *_: object) -> None:
        self.sock.close()

    def send(self, data: bytes) -> Wire:
        self.sock.sendall(data)
        return self

    def reset(self) -> None:
        reset(self.sock)

    def ask(self, raw: bytes) -> Answer:
        """Send one request, and read its answer; interim answers are read over."""
        self.send(raw)
        return self.answer(raw.startswith(b"HEAD "))

    def answer(self, is_head: bool = False) -> Answer:
        """The next answer that is final."""
        while (found := self.any_answer(is_head)).status < 200 and found.status != 101:
            pass
        return found

    def any_answer(self, is_head: bool = False) -> Answer:
        """The next answer, interim ones included."""
        status, phrase, fields = self._head()
        names = {name.lower(): value for name, value in fields}
        if is_head or status < 200 or status in (204, 304):
            return Answer(status, phrase, fields)
        body, trailers, framing, is_cut = b"", [], "length", False
        try:
            if b"transfer-encoding" in names:
                framing = "chunked"
                pieces: list[bytes] = []
                try:
                    trailers = self._chunks(pieces)
                finally:
                    body = b"".join(pieces)
            elif b"content-length" in names:
                body = self.exactly(int(names[b"content-length"]))
            else:
                framing = "close"
                body = self.rest()
        except (Cut, ConnectionError) as cut:
            is_cut = True
            body = body or (cut.args[0] if isinstance(cut, Cut) and cut.args else b"")
        return Answer(status, phrase, fields, body, trailers, framing, is_cut)

    def exactly(self, count: int) -> bytes:
        while len(self._kept) < count:
            self._more()
        data, self._kept = self._kept[:count], self._kept[count:]
        return data

    def until(self, mark: bytes) -> bytes:
        """All up to and with `mark`."""
        while mark not in self._kept:
            self._more()
        data, _, self._kept = self._kept.partition(mark)
        return data + mark

    def rest(self) -> bytes:
        """All that comes until the end of the connection."""
        pieces = [self._kept]
        self._kept = b""
        while pieces[-1] or len(pieces) == 1:
            pieces.append(self.sock.recv(1 << 20))
        return b"".join(pieces)

    def is_closed(self) -> bool:
        """Wait for the end of the connection; whether nothing more came before it."""
        if self._kept:
            return False
        try:
            return self.sock.recv(1) == b""
        except ConnectionError:
            return True

    def _head(self) -> tuple[int, bytes, Fields]:
        first, *lines = self.until(b"\r\n\r\n")[:-4].split(b"\r\n")
        version, status, phrase = first.split(b" ", 2)
        assert version == b"HTTP/1.1", first
        fields = [(name, value.strip(b" ")) for name, _, value in (line.partition(b":") for line in lines)]
        return int(status), phrase, fields

    def _chunks(self, pieces: list[bytes]) -> Fields:
        while size := int(self.until(b"\r\n").partition(b";")[0], 16):
            pieces.append(self.exactly(size))
            assert self.exactly(2) == b"\r\n"
        trailers: Fields = []
        while (line := self.until(b"\r\n")) != b"\r\n":
            name, _, value = line.partition(b":")
            trailers.append((name, value.strip()))
        return trailers

    def _more(self) -> None:
        data = self.sock.recv(1 << 16)
        if not data:
            kept, self._kept = self._kept, b""
            raise Cut(kept)
        self._kept += data


def reset(sock: socket.socket) -> None:
    """End a connection by RST rather than FIN."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


def get(target: str = "/", *fields: str, method: str = "GET", minor: int = 1) -> bytes:
    """A request without a body, as bytes."""
    lines = [f"{method} {target} HTTP/1.{minor}", "Host: shop.example", *fields, "", ""]
    return "\r\n".join(lines).encode("latin-1")


def post(body: bytes, *fields: str, target: str = "/", method: str = "POST") -> bytes:
    """A request with a body of known length."""
    return get(target, f"Content-Length: {len(body)}", *fields, method=method) + body


def chunked(*pieces: bytes, trailers: bytes = b"") -> bytes:
    """A body in chunks."""
    return b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n" + trailers + b"\r\n"
