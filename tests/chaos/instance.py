"""
An instance as a process of its own, so that it can be killed.

``python -m tests.chaos.instance VERSION NAME PORT FILE``. Each answer names the request's id and who answered, and its
body follows from the id. Into FILE goes one line for each request whose head came, before anything is answered: what
reached whom outlives the process. It ends with its stdin.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import sys
from contextlib import suppress
from urllib.parse import parse_qsl

import attrs
from websockets.frames import Frame, Opcode
from websockets.protocol import OPEN
from websockets.server import ServerProtocol


def body_of(number: str, size: int) -> bytes:
    """The body of the answer to this request: no two requests have the same one."""
    return hashlib.shake_128(number.encode()).digest(size)


def event_of(number: str, at: int) -> bytes:
    """One event of the stream that this request asked for."""
    return f"id: {at}\ndata: {number} {hashlib.sha256(f'{number} {at}'.encode()).hexdigest()}\n\n".encode()


LAST_EVENT = b"event: last\ndata: -\n\n"


@attrs.frozen
class Request:
    """One whose head came."""

    head: bytes
    method: str
    path: str
    query: dict[str, str]
    fields: dict[str, str]

    @classmethod
    def read(cls, head: bytes) -> Request:
        first, *lines = head[:-4].decode("latin-1").split("\r\n")
        method, target, _ = first.split(" ")
        path, _, query = target.partition("?")
        fields = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        return cls(head, method, path, dict(parse_qsl(query)), fields)

    @property
    def number(self) -> str:
        return self.fields["x-number"]

    @property
    def seconds(self) -> float:
        return float(self.query.get("seconds", 0))

    @property
    def size(self) -> int:
        return int(self.query.get("size", 100))


@attrs.define
class Conversation:
    """One connection."""

    marks: list[str]
    journal: int
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def go_on(self) -> None:
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            while await self._serve(Request.read(await self.reader.readuntil(b"\r\n\r\n"))):
                pass
        self.writer.close()

    async def _serve(self, request: Request) -> bool:
        """Answer; whether the connection goes on."""
        if "x-number" in request.fields:
            os.write(self.journal, f"{request.number}\n".encode())
        if request.path == "/ws":
            await self._echo(request)
            return False
        body = await self._body(request)
        await asyncio.sleep(request.seconds if request.path == "/late" else 0)
        if request.path == "/events":
            await self._events(request)
            return True
        answer = body_of(request.number, request.size) if "x-number" in request.fields else b"ok\n"
        fields = [
            f"X-Number: {request.fields.get('x-number', '-')}",
            f"X-Sha256: {hashlib.sha256(body).hexdigest()}",
            f"X-Length: {len(body)}",
        ]
        is_last = "close" in request.query
        fields += ["Connection: close"] if is_last else []
        pieces = [answer[: len(answer) // 2], answer[len(answer) // 2 :]]
        if request.path == "/chunked" and request.method != "HEAD":
            await self._send(self._head("Transfer-Encoding: chunked", *fields))
            for piece in filter(None, pieces):
                await self._send(b"%x\r\n%b\r\n" % (len(piece), piece))
                await asyncio.sleep(request.seconds)
            await self._send(b"0\r\n\r\n")
            return not is_last
        head = self._head(f"Content-Length: {len(answer)}", *fields)
        if request.method == "HEAD":
            await self._send(head)
        elif request.path == "/slow":
            await self._send(head + pieces[0])
            await asyncio.sleep(request.seconds)
            await self._send(pieces[1])
        else:
            await self._send(head + answer)
        return not is_last

    async def _body(self, request: Request) -> bytes:
        if "transfer-encoding" not in request.fields:
            return await self.reader.readexactly(int(request.fields.get("content-length", 0)))
        pieces = []
        while size := int((await self.reader.readuntil(b"\r\n")).strip(), 16):
            pieces.append(await self.reader.readexactly(size))
            await self.reader.readexactly(2)
        await self.reader.readexactly(2)
        return b"".join(pieces)

    async def _events(self, request: Request) -> None:
        fields = f"X-Number: {request.number}", "Content-Type: text/event-stream", "Transfer-Encoding: chunked"
        await self._send(self._head(*fields))
        count = int(request.query["count"])
        for at in range(count + 1):
            event = event_of(request.number, at) if at < count else LAST_EVENT
            await self._send(b"%x\r\n%b\r\n" % (len(event), event))
            await asyncio.sleep(request.seconds)
        await self._send(b"0\r\n\r\n")

    async def _echo(self, request: Request) -> None:
        protocol = ServerProtocol(max_size=1 << 20)
        protocol.receive_data(request.head)
        (asked,) = protocol.events_received()
        response = protocol.accept(asked)
        for mark in (*self.marks, f"X-Number: {request.number}"):
            name, _, value = mark.partition(": ")
            response.headers[name] = value
        protocol.send_response(response)
        while True:
            await self._send(b"".join(protocol.data_to_send()))
            if protocol.close_expected():
                return
            data = await self.reader.read(1 << 16)
            if data:
                protocol.receive_data(data)
            else:
                protocol.receive_eof()
            for event in protocol.events_received():
                # What came just before a goodbye is answered by that alone.
                if isinstance(event, Frame) and event.opcode is Opcode.BINARY and protocol.state is OPEN:
                    protocol.send_binary(event.data)
            if not data:
                return

    def _head(self, *fields: str) -> bytes:
        return "\r\n".join(["HTTP/1.1 200 OK", *self.marks, *fields, "", ""]).encode("latin-1")

    async def _send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()


async def main(version: str, name: str, port: str, file: str) -> None:
    journal = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    marks = [f"X-Version: {version}", f"X-Instance: {name}"]

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await Conversation(marks, journal, reader, writer).go_on()

    server = await asyncio.start_server(serve, "127.0.0.1", int(port), backlog=1024)
    over = asyncio.Event()
    asyncio.get_running_loop().add_reader(0, over.set)  # nobody writes there: it is readable at its end
    print("ready", flush=True)
    await over.wait()
    server.close()
    os._exit(0)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
