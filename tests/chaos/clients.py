"""The load: 64 clients that ask one thing after the other, each in its way, and check every byte that they get."""

from __future__ import annotations

import asyncio
import hashlib
import itertools
import random
import time
from collections.abc import AsyncIterator, Callable

import attrs
from websockets.frames import Frame, Opcode
from websockets.protocol import OPEN, Protocol, Side

from .instance import LAST_EVENT, body_of, event_of
from .judge import IDEMPOTENT, Outcome
from .record import Name
from .wire import Broken, Connection, Head

KINDS = {"kept": 26, "new": 14, "upload": 10, "socket": 7, "events": 7}
"""How many of each kind; 64 in all."""

UPGRADE = (
    "Connection: Upgrade",
    "Upgrade: websocket",
    "Sec-WebSocket-Version: 13",
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
)


class Wrong(Exception):
    """What came is not what was asked for."""


@attrs.define(eq=False)
class Client:
    """
    One of them.

    :ivar port: asked each time, so that it can change.    :ivar done: where outcomes go.
    :ivar pause: the longest between two requests, in seconds.
    """

    kind: str
    at: int
    port: int
    draw: random.Random
    done: Callable[[Outcome], None]
    over: asyncio.Event
    pause: float = 0.15
    _numbers: itertools.count = attrs.field(factory=itertools.count)
    _connection: Connection | None = None
    _cookie: str = ""
    _pin: Name | None = None

    async def run(self) -> None:
        while not self.over.is_set():
            await self._ask_once()
            await asyncio.sleep(self.draw.uniform(0, self.pause))
        self._drop()

    async def _ask_once(self) -> None:
        ask = {"upload": self._upload, "socket": self._socket, "events": self._events}.get(self.kind, self._fetch)
        outcome = Outcome("", "", True, False, self._pin, 0.0)
        try:
            await ask(outcome)
        except Broken as broken:
            outcome.end, outcome.text = ("cut" if outcome.name else "broken"), str(broken)
        except Wrong as wrong:
            outcome.end, outcome.text = "wrong", str(wrong)
        except Exception as failure:
            outcome.end, outcome.text = "failed", repr(failure)
        outcome.ended = time.monotonic()
        if outcome.end != "whole" or self.kind != "kept":
            self._drop()
        self.done(outcome)

    # What they ask

    async def _fetch(self, outcome: Outcome) -> None:
        method = self.draw.choice(["GET"] * 5 + ["HEAD", "DELETE", "POST", "PUT"])
        path = self.draw.choice(["/", "/", "/", "/chunked", "/slow", "/late"])
        size = self.draw.choice([0, 100, 100, 5000, 5000, 60_000, 300_000])
        target = f"{path}?size={size}&seconds={self.draw.uniform(0, 0.3):.3f}"
        target += "&close=1" if self.draw.random() < 0.03 else ""
        body = self.draw.randbytes(self.draw.choice([1, 200, 3000])) if method in ("POST", "PUT") else b""
        fields = [f"Content-Length: {len(body)}"] if body else []
        outcome.is_plain = path == "/" and size <= 5000
        if self.kind == "new" and self.draw.random() < 0.5:
            fields.append("Connection: close")
        connection = await self._begin(outcome, method, target, *fields, body=body)
        await self._finish(connection, outcome, size, body)

    async def _upload(self, outcome: Outcome) -> None:
        method, is_chunked = self.draw.choice(["POST", "PUT"]), self.draw.random() < 0.5
        body = self.draw.randbytes(self.draw.choice([5, 5000, 50_000, 400_000, 1_000_000]))
        framing = "Transfer-Encoding: chunked" if is_chunked else f"Content-Length: {len(body)}"
        connection = await self._begin(outcome, method, "/?size=50", framing, is_repeatable=False)
        step = max(1, len(body) // self.draw.randint(1, 8))
        for at in range(0, len(body), step):
            piece = body[at : at + step]
            await connection.send(b"%x\r\n%b\r\n" % (len(piece), piece) if is_chunked else piece)
            await asyncio.sleep(self.draw.uniform(0, 0.08))
        if is_chunked:
            await connection.send(b"0\r\n\r\n")
        await self._finish(connection, outcome, 50, body)

    async def _events(self, outcome: Outcome) -> None:
        count, seconds = self.draw.choice([1, 5, 40, 100, 200]), self.draw.uniform(0.02, 0.08)
        connection = await self._begin(outcome, "GET", f"/events?count={count}&seconds={seconds:.3f}")
        head = await self._head(connection, outcome)
        if head is None:
            return
        got = b""
        events = [event_of(outcome.number, at) for at in range(count)] + [LAST_EVENT]
        whole = b"".join(events)
        async for piece in connection.pieces(head):
            got += piece
            if not whole.startswith(got):
                raise Wrong(f"events that nobody sent: {got[-200:]!r}")
            if self.over.is_set():
                outcome.end = "left"
                return
        outcome.end = "whole" if got == whole else "ended"

    async def _socket(self, outcome: Outcome) -> None:
        outcome.is_socket = True
        connection = await self._begin(outcome, "GET", "/ws", *UPGRADE, is_repeatable=False)
        head = await self._head(connection, outcome)
        if head is None:
            return
        if head.status != 101:
            raise Wrong(f"status {head.status}")
        await self._talk(connection, Protocol(Side.CLIENT, state=OPEN), outcome)

    async def _talk(self, connection: Connection, protocol: Protocol, outcome: Outcome) -> None:
        for at in range(self.draw.choice([1, 10, 100, 200])):
            message = f"{outcome.number} {at} ".encode() + self.draw.randbytes(self.draw.choice([0, 20, 2000]))
            protocol.send_binary(message)
            async for frame in self._frames(connection, protocol):
                if frame.opcode is Opcode.CLOSE:
                    break
                if frame.opcode is not Opcode.BINARY or frame.data != message:
                    raise Wrong(f"not what was sent: {frame}")
                break
            if protocol.close_rcvd is not None:
                await connection.send(b"".join(protocol.data_to_send()))
                if protocol.close_rcvd.code != 1001:
                    raise Wrong(f"closed with {protocol.close_rcvd}")
                outcome.end = "ended"
                return
            if self.over.is_set():
                break
            await asyncio.sleep(self.draw.uniform(0, 0.1))
        protocol.send_close(1000)
        async for frame in self._frames(connection, protocol):
            if frame.opcode is Opcode.CLOSE:
                break
        outcome.end = "whole"

    async def _frames(self, connection: Connection, protocol: Protocol) -> AsyncIterator[Frame]:
        """Send what is to be sent, and give the frames that come."""
        while True:
            await connection.send(b"".join(protocol.data_to_send()))
            data = await connection.read()
            if not data:
                raise Broken("between two frames")
            protocol.receive_data(data)
            for event in protocol.events_received():
                assert isinstance(event, Frame)
                yield event

    # What is common to all

    async def _begin(
        self, outcome: Outcome, method: str, target: str, *fields: str, body: bytes = b"", is_repeatable: bool = True
    ) -> Connection:
        outcome.number = f"{self.at}-{next(self._numbers)}"
        outcome.method = method
        outcome.can_be_done_twice = method in IDEMPOTENT and not body and is_repeatable
        outcome.began = time.monotonic()
        if self._connection is None:
            self._connection = await Connection.open(self.port, f"127.0.0.{self.at + 2}")
        connection = self._connection
        outcome.is_kept = connection.asked > 0
        connection.asked += 1
        lines = [f"{method} {target} HTTP/1.1", "Host: shop.example", f"X-Number: {outcome.number}", *fields]
        if self._cookie:
            lines.append(f"Cookie: {self._cookie}")
        await connection.send("\r\n".join([*lines, "", ""]).encode("latin-1") + body)
        return connection

    async def _head(self, connection: Connection, outcome: Outcome) -> Head | None:
        """Of an instance's answer to this very request; ``None`` where there is none, and `outcome` has the end."""
        head = await connection.head()
        outcome.head_at = time.monotonic()
        if head is None:
            outcome.end = "nothing"
            return None
        outcome.status = head.status
        if "x-number" not in head.fields:
            outcome.end, outcome.text = "refused", (await connection.body(head, outcome.method)).decode().strip()
            return None
        outcome.name = head.fields["x-version"], head.fields["x-instance"]
        if head.fields["x-number"] != outcome.number:
            raise Wrong(f"the answer to {head.fields['x-number']}")
        for cookie in head.cookies:
            self._cookie, self._pin = cookie, outcome.name
        return head

    async def _finish(self, connection: Connection, outcome: Outcome, size: int, body: bytes) -> None:
        head = await self._head(connection, outcome)
        if head is None:
            return
        answer = await connection.body(head, outcome.method)
        if outcome.method != "HEAD" and answer != body_of(outcome.number, size):
            raise Wrong(f"a body of {len(answer)} bytes that is not its own")
        if head.fields["x-sha256"] != hashlib.sha256(body).hexdigest():
            raise Wrong(f"the instance got {head.fields['x-length']} bytes, of {len(body)}")
        if not connection.is_clean:
            raise Wrong("more came than was asked for")
        outcome.end = "whole"
        if head.is_last:
            self._drop()

    def _drop(self) -> None:
        if self._connection is not None:
            self._connection.close()
        self._connection = None
        if self.draw.random() < 0.2:  # somebody else, from now on
            self._cookie, self._pin = "", None


def crowd(port: int, seed: int, done: Callable[[Outcome], None], over: asyncio.Event, pause: float) -> list[Client]:
    """All 64 of them."""
    kinds = [kind for kind, count in KINDS.items() for _ in range(count)]
    return [Client(kind, at, port, random.Random(f"{seed} {at}"), done, over, pause) for at, kind in enumerate(kinds)]
