"""Clients of every kind at once, in threads, that take no failure: for whatever must not be noticed by any of them."""

from __future__ import annotations

import hashlib
import random
import socket
import threading
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from types import TracebackType
from typing import Any

import attrs

from .instance import Call, Instance
from .wire import Cut, Wire, get, post

_UPGRADE = (
    "Connection: Upgrade",
    "Upgrade: websocket",
    "Sec-WebSocket-Version: 13",
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
)
_SAID, _GOING_AWAY = b"\x81\x05hello", b"\x88\x02\x03\xe9"


def serve_all_kinds(instance: Instance) -> None:
    """Have it answer what a `Crowd` asks."""

    def echo(call: Call) -> None:
        call.send(b"HTTP/1.1 101 Switching\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
        call.keeps = False
        while data := call.file.read1(1 << 16):
            if data[:1] == b"\x88":
                return
            call.send(data)

    instance.on("/echo", lambda call: call.answer(call.read_body()))
    instance.on("/socket", echo)


@attrs.define(eq=False)
class Crowd:
    """
    :ivar connect: opens a connection.    :ivar counts: what was done how often, by kind of client.
    :ivar wrong: what must not be; asserted to be empty at the end.    :ivar versions: who answered.
    """

    connect: Callable[[], Wire]
    kept: int = 24
    new: int = 24
    uploads: int = 12
    sockets: int = 4
    pause_seconds: float = 0.03
    counts: Counter[str] = attrs.field(factory=Counter)
    wrong: list[str] = attrs.field(factory=list)
    _over: threading.Event = attrs.field(factory=threading.Event)
    _clients: list[threading.Thread] = attrs.field(factory=list)

    def __enter__(self) -> Crowd:
        for kind, count in (
            (self._ask_kept, self.kept),
            (self._ask_anew, self.new),
            (self._upload, self.uploads),
            (self._talk, self.sockets),
        ):
            for number in range(count):
                self._clients.append(threading.Thread(target=self._run, args=(kind, number), daemon=True))
        for client in self._clients:
            client.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        for client in self._clients:
            client.join(30)
        if kind is None:
            assert self.wrong == [], self.wrong
        elif value is not None:
            value.add_note(f"done by then: {dict(self.counts)}; wrong: {self.wrong}")

    def _run(self, kind: Callable[[Wire, random.Random], bool], number: int) -> None:
        lot = random.Random(number)
        wire: Wire | None = None
        while not self._over.wait(self.pause_seconds * lot.uniform(0.5, 1.5)):
            try:
                wire = wire or self.connect()
                goes_on = kind(wire, lot)
            except Exception as wrong:
                self.wrong.append(f"{kind.__name__} {number}: {wrong!r}")
                return
            self.counts[kind.__name__.strip("_")] += 1
            if not goes_on:
                wire.sock.close()
                wire = None
        if wire is not None:
            wire.sock.close()

    def _ask_kept(self, wire: Wire, lot: random.Random) -> bool:
        return _good(wire.ask(get()))

    def _ask_anew(self, wire: Wire, lot: random.Random) -> bool:
        _good(wire.ask(get("/", "Connection: close")))
        return False

    def _upload(self, wire: Wire, lot: random.Random) -> bool:
        body = lot.randbytes(lot.randrange(1, 200_000))
        whole = post(body, target="/echo")
        half = lot.randrange(len(whole))
        wire.send(whole[:half])
        self._over.wait(0.05)
        answer = wire.send(whole[half:]).answer()
        goes_on = _good(answer)
        assert hashlib.sha256(answer.body).digest() == hashlib.sha256(body).digest()
        return goes_on

    def _talk(self, wire: Wire, lot: random.Random) -> bool:
        if not getattr(wire, "is_socket", False):
            answer = wire.ask(get("/socket", *_UPGRADE))
            assert answer.status == 101, answer
            wire.is_socket = True  # type: ignore[attr-defined]  # a mark of ours
        with suppress(OSError):  # where it was told to go, and was slow to hear it
            wire.send(_SAID)
        try:
            heard = wire.exactly(2)
        except (Cut, ConnectionError) as gone:
            raise AssertionError("a WebSocket ended without a word") from gone
        if heard == _SAID[:2]:
            assert heard + wire.exactly(5) == _SAID
            return True
        assert heard + wire.exactly(2) == _GOING_AWAY, heard
        self.counts["sockets told to go away"] += 1
        with suppress(OSError):
            wire.sock.shutdown(socket.SHUT_WR)
        return False


def _good(answer: Any) -> bool:
    """Whether the connection goes on; :raises AssertionError: where the answer is not what it should be."""
    assert (answer.status, answer.is_cut) == (200, False), answer
    return answer.one(b"Connection") != b"close"
