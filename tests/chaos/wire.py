"""A client's connection: sends the bytes that it is given, and reads answers as RFC 9112 says, piece by piece."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress

import attrs

SECONDS = 30.0
"""For anything to come. Who waits longer is lost."""


class Broken(Exception):
    """The connection ended where it must not; the text says where."""


@attrs.frozen
class Head:
    """Of an answer."""

    status: int
    fields: dict[str, str]
    cookies: list[str]

    @property
    def is_last(self) -> bool:
        return self.fields.get("connection", "").lower() == "close"


@attrs.define(eq=False)
class Connection:
    """:ivar asked: how many requests were sent on it."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    asked: int = 0
    _surplus: bytes = b""

    @classmethod
    async def open(cls, port: int, address: str) -> Connection:
        """:param address: of the client: any in 127.0.0.0/8."""
        opening = asyncio.open_connection("127.0.0.1", port, local_addr=(address, 0))
        return cls(*await asyncio.wait_for(opening, SECONDS))

    async def send(self, data: bytes) -> None:
        """What the other side takes no more of is dropped: it has said why, and that can be read."""
        with suppress(ConnectionError):
            self.writer.write(data)
            await asyncio.wait_for(self.writer.drain(), SECONDS)

    async def head(self) -> Head | None:
        """The next answer's; ``None`` where the connection ended instead, in good order or not."""
        try:
            raw = await asyncio.wait_for(self.reader.readuntil(b"\r\n\r\n"), SECONDS)
        except ConnectionError:
            return None
        except asyncio.IncompleteReadError as cut:
            if cut.partial:
                raise Broken(f"in the middle of a head: {cut.partial!r}")
            return None
        first, *lines = raw[:-4].decode("latin-1").split("\r\n")
        version, status, _ = first.split(" ", 2)
        assert version == "HTTP/1.1", first
        pairs = [(name.lower(), value.strip()) for name, _, value in (line.partition(":") for line in lines)]
        cookies = [value.partition(";")[0] for name, value in pairs if name == "set-cookie"]
        return Head(int(status), dict(pairs), cookies)

    async def pieces(self, head: Head, method: str = "GET") -> AsyncIterator[bytes]:
        """
        Of the answer's body, as they come.

        :raises Broken: it ended before its end.
        """
        if method == "HEAD" or head.status in (204, 304):
            return
        if "transfer-encoding" not in head.fields:
            assert "content-length" in head.fields, head
            yield await self._exactly(int(head.fields["content-length"]))
            return
        # Whatever is there at once: who waits for each chunk falls behind a quick stream on a busy machine.
        kept, is_over = b"", False
        while not is_over:
            data = await self.read()
            if not data:
                raise Broken("in the middle of a chunked body")
            piece, kept, is_over = whole_chunks(kept + data)
            if piece:
                yield piece
        self._surplus = kept

    async def body(self, head: Head, method: str = "GET") -> bytes:
        return b"".join([piece async for piece in self.pieces(head, method)])

    @property
    def is_clean(self) -> bool:
        """Whether nothing came that nobody asked for."""
        return not self._surplus and not self.reader._buffer  # type: ignore[attr-defined]  # there is no other way to look without waiting

    async def read(self) -> bytes:
        """What is there of another protocol, at least a byte; none is the end."""
        try:
            return await asyncio.wait_for(self.reader.read(1 << 16), SECONDS)
        except ConnectionError:
            return b""

    def close(self) -> None:
        self.writer.close()

    async def _exactly(self, count: int) -> bytes:
        try:
            return await asyncio.wait_for(self.reader.readexactly(count), SECONDS)
        except (asyncio.IncompleteReadError, ConnectionError) as cut:
            raise Broken(f"in the middle of a body: {cut}")


def whole_chunks(data: bytes) -> tuple[bytes, bytes, bool]:
    """The content of all chunks that are whole, what comes behind them, and whether the last one was among them."""
    content, at = [], 0
    while (end := data.find(b"\r\n", at)) >= 0:
        size = int(data[at:end], 16)
        after = end + 2 + size + 2
        if len(data) < after:
            break
        assert data[after - 2 : after] == b"\r\n"
        content.append(data[end + 2 : after - 2])
        at = after
        if not size:
            return b"".join(content), data[at:], True
    return b"".join(content), data[at:], False
