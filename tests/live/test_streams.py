"""Streams: bodies of any size pass through, both ways, at the pace of the slower side, and are never collected."""

from __future__ import annotations

import contextlib
import hashlib
import queue
import threading
import time
from collections.abc import Iterator

import pytest

from .conftest import StartInstance, StartRouter
from .instance import Call, Instance
from .router import Router, rollout
from .wire import Cut, Wire, get

BLOCK = hashlib.shake_256(b"a pattern that compression or a shift would not survive").digest(1 << 20)
GIGABYTE = 1024
"""In blocks."""
MOST_GROWTH = 30 << 20


@pytest.fixture(scope="module")
def instance(start_instance: StartInstance) -> Instance:
    return start_instance()


@pytest.fixture(scope="module")
def router(start_router: StartRouter, instance: Instance) -> Router:
    router = start_router(rollout([instance]))
    router.ask(get())  # what is imported late is there
    return router


class Watched:
    """The most memory that a router has had, seen 50 times a second."""

    def __init__(self, router: Router) -> None:
        self.before = self.most = router.rss()
        self._router = router

    @contextlib.contextmanager
    def watching(self) -> Iterator[None]:
        over = threading.Event()

        def look() -> None:
            while not over.wait(0.02):
                self.most = max(self.most, self._router.rss())

        looking = threading.Thread(target=look)
        looking.start()
        try:
            yield
        finally:
            over.set()
            looking.join()

    def check(self, what: str) -> None:
        growth = self.most - self.before
        print(f"{what}: memory {self.before >> 20} MB and at most {growth / (1 << 20):.1f} MB more")
        assert growth < MOST_GROWTH, what


def send_blocks(call: Call, count: int) -> None:
    for _ in range(count):
        call.send(BLOCK)


def read_blocks(file: object, count: int) -> int:
    """Compare what comes with the pattern; gives the number of blocks that were as they should be."""
    into = bytearray(len(BLOCK))
    for at in range(count):
        view, got = memoryview(into), 0
        while got < len(BLOCK):
            more = file.readinto(view[got:])  # type: ignore[attr-defined]
            if not more:
                return at
            got += more
        if into != BLOCK:
            return at
    return count


class Source:
    """The bytes of a connection, those that were read with the head first."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire

    def readinto(self, view: memoryview) -> int:
        if self._wire._kept:
            data, self._wire._kept = self._wire._kept[: len(view)], self._wire._kept[len(view) :]
            view[: len(data)] = data
            return len(data)
        return self._wire.sock.recv_into(view)


# A gigabyte


@pytest.mark.parametrize("framing", ["length", "close"])
def test_a_gigabyte_comes_down_with_memory_flat(router: Router, instance: Instance, framing: str) -> None:
    def download(call: Call) -> None:
        length = f"Content-Length: {GIGABYTE * len(BLOCK)}\r\n" if framing == "length" else ""
        call.send(f"HTTP/1.1 200 OK\r\n{length}\r\n".encode())
        send_blocks(call, GIGABYTE)
        call.close()

    instance.on("/gigabyte", download)
    watched = Watched(router)
    began = time.monotonic()
    # From HTTP/1.0 that ends with the connection, so that this client need not take chunks apart.
    with watched.watching(), router.wire() as wire:
        wire.send(get("/gigabyte", minor=0))
        wire.until(b"\r\n\r\n")
        assert read_blocks(Source(wire), GIGABYTE) == GIGABYTE
        assert wire.is_closed()
    watched.check(f"1 GB down in {time.monotonic() - began:.1f} s")


@pytest.mark.parametrize("framing", ["length", "chunked"])
def test_a_gigabyte_goes_up_with_memory_flat(router: Router, instance: Instance, framing: str) -> None:
    blocks = GIGABYTE if framing == "length" else GIGABYTE // 4
    came: queue.Queue[int] = queue.Queue()

    def upload(call: Call) -> None:
        if framing == "length":
            came.put(read_blocks(call.file, blocks))
        else:
            came.put(len(call.read_body()) // len(BLOCK) if call.one(b"Transfer-Encoding") == b"chunked" else -1)
        call.answer(b"thanks")

    instance.on("/upload", upload)
    watched = Watched(router)
    began = time.monotonic()
    with watched.watching(), router.wire() as wire:
        if framing == "length":
            wire.send(get("/upload", f"Content-Length: {blocks * len(BLOCK)}", method="PUT"))
            for _ in range(blocks):
                wire.send(BLOCK)
        else:
            wire.send(get("/upload", "Transfer-Encoding: chunked", method="PUT"))
            for _ in range(blocks):
                wire.send(b"%x\r\n" % len(BLOCK) + BLOCK + b"\r\n")
            wire.send(b"0\r\n\r\n")
        assert wire.answer().body == b"thanks"
    assert came.get() == blocks
    watched.check(f"{blocks} MB up in {time.monotonic() - began:.1f} s")


# Slow sides


def fill(wire: Wire, data: bytes, seconds: float) -> int:
    """Send until nobody takes any more for so long; gives the number of bytes that were taken."""
    sent, rest = 0, memoryview(b"")
    wire.sock.settimeout(seconds)
    with contextlib.suppress(TimeoutError):
        while sent < 400 << 20:
            rest = rest or memoryview(data)
            taken = wire.sock.send(rest)
            sent, rest = sent + taken, rest[taken:]
    return sent


def stalled(sent: list[int]) -> int:
    """Wait until nothing more is taken; gives how much was."""
    before = -1
    while before != len(sent):
        before = len(sent)
        time.sleep(0.3)
    return before


def test_a_slow_reader_slows_the_instance_down(router: Router, instance: Instance) -> None:
    sent: list[int] = []

    def flood(call: Call) -> None:
        call.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (100 * len(BLOCK)))
        for _ in range(100):
            call.send(BLOCK)
            sent.append(1)

    instance.on("/flood", flood)
    watched = Watched(router)
    with watched.watching(), router.wire() as wire:
        wire.send(get("/flood")).until(b"\r\n\r\n")
        assert stalled(sent) < 50, "the instance could send all, though nobody reads"
        assert read_blocks(Source(wire), 100) == 100
    watched.check("a slow reader")


def test_a_slow_instance_slows_the_client_down(router: Router, instance: Instance) -> None:
    go_on = threading.Event()
    came: queue.Queue[int] = queue.Queue()

    def sluggish(call: Call) -> None:
        assert go_on.wait(60)
        total = int(call.one(b"Content-Length") or 0)
        while total:
            total -= len(call.file.read1(1 << 20))
        came.put(total)
        call.answer(b"at last")

    instance.on("/sluggish", sluggish)
    watched = Watched(router)
    with watched.watching(), router.wire() as wire:
        wire.send(get("/sluggish", f"Content-Length: {400 << 20}", method="PUT"))
        sent = fill(wire, BLOCK, 0.5)
        assert sent < 100 << 20, "the router took all, though the instance reads nothing"
        go_on.set()
        wire.sock.settimeout(30)
        while sent < 400 << 20:
            sent += wire.sock.send(BLOCK[: (400 << 20) - sent])
        assert wire.answer().body == b"at last"
    assert came.get() == 0
    watched.check("a slow instance")


def test_a_slow_instance_slows_down_a_client_that_sends_chunks(router: Router, instance: Instance) -> None:
    go_on = threading.Event()

    def sluggish(call: Call) -> None:
        assert go_on.wait(60)
        call.reset()

    instance.on("/sluggish-chunks", sluggish)
    watched = Watched(router)
    with watched.watching(), router.wire() as wire:
        wire.send(get("/sluggish-chunks", "Transfer-Encoding: chunked", method="PUT"))
        sent = fill(wire, b"%x\r\n" % len(BLOCK) + BLOCK + b"\r\n", 0.5)
        assert sent < 100 << 20
        go_on.set()
    watched.check("a slow instance, chunks")


def test_a_reader_that_takes_nothing_at_all_is_cut_even_if_it_goes_on_asking(
    start_router: StartRouter, instance: Instance
) -> None:
    router = start_router(rollout([instance]), "--body-seconds", "2")
    left = threading.Event()
    sent: list[int] = []

    def endless(call: Call) -> None:
        call.send(b"HTTP/1.1 200 OK\r\n\r\n")
        try:
            while True:
                call.send(BLOCK)
                sent.append(1)
        finally:
            left.set()

    instance.on("/endless", endless)
    with router.wire() as wire:
        wire.send(get("/endless")).until(b"\r\n\r\n")
        stalled(sent)
        wire.send(get())  # the next request, in the middle of an answer that nobody reads
        assert left.wait(40), "a client that reads nothing holds its instance for ever"


def test_a_pipelining_client_that_reads_nothing_costs_no_memory(router: Router, instance: Instance) -> None:
    instance.on("/large", lambda call: call.answer(BLOCK))
    watched = Watched(router)
    with watched.watching(), router.wire() as wire:
        wire.send(get("/large") * 200)
        time.sleep(0.5)  # nothing is to happen meanwhile
        for _ in range(200):
            assert wire.answer().body == BLOCK
    watched.check("200 answers of 1 MB that wait")


# As it comes


def test_events_arrive_one_by_one_as_the_instance_sends_them(router: Router, instance: Instance) -> None:
    may_send: queue.Queue[int] = queue.Queue()

    def events(call: Call) -> None:
        call.send(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n")
        while (number := may_send.get(timeout=30)) >= 0:
            call.send(b"data: %d\n\n" % number)
        call.close()

    instance.on("/events", events)
    with router.wire() as wire:
        wire.send(get("/events")).until(b"\r\n\r\n")  # the head comes before the first event does
        for number in range(50):
            may_send.put(number)
            wire.until(b"data: %d\n\n" % number)  # or this would wait for ever
        may_send.put(-1)
        wire.until(b"\r\n0\r\n\r\n")


def test_chunks_arrive_one_by_one_too(router: Router, instance: Instance) -> None:
    may_send: queue.Queue[bytes] = queue.Queue()

    def chunks(call: Call) -> None:
        call.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        while piece := may_send.get(timeout=30):
            call.send(b"%x\r\n%b\r\n" % (len(piece), piece))
        call.send(b"0\r\n\r\n")

    instance.on("/chunk-by-chunk", chunks)
    with router.wire() as wire:
        wire.send(get("/chunk-by-chunk")).until(b"\r\n\r\n")
        for number in range(50):
            may_send.put(b"piece %d" % number)
            wire.until(b"piece %d\r\n" % number)
        may_send.put(b"")
        wire.until(b"0\r\n\r\n")
        assert wire.ask(get()).status == 200


def test_a_body_goes_up_as_it_comes_and_the_answer_may_overtake_it(router: Router, instance: Instance) -> None:
    came: queue.Queue[bytes] = queue.Queue()

    def talk(call: Call) -> None:
        call.send(b"HTTP/1.1 200 OK\r\nContent-Length: 30\r\n\r\n")
        for _ in range(10):
            piece = call.file.read(3)
            came.put(piece)
            call.send(piece)

    instance.on("/talk", talk)
    with router.wire() as wire:
        wire.send(get("/talk", "Content-Length: 30", method="POST")).until(b"\r\n\r\n")
        for number in range(10):
            wire.send(b"%03d" % number)
            assert came.get(timeout=30) == b"%03d" % number
            assert wire.exactly(3) == b"%03d" % number


def test_an_answer_that_is_cut_short_is_visibly_short(router: Router, instance: Instance) -> None:
    def cut(call: Call) -> None:
        kind, _, how = call.target.partition(b"?")[2].partition(b"&")
        head = {b"length": b"Content-Length: 1000000\r\n", b"chunked": b"Transfer-Encoding: chunked\r\n", b"close": b""}
        start = b"%x\r\n" % 500_000 if kind == b"chunked" else b""
        call.send(b"HTTP/1.1 200 OK\r\n" + head[kind] + b"\r\n" + start + b"x" * 400_000)
        call.reset() if how == b"reset" else call.close()

    instance.on("/cut", cut)
    for kind, how in [
        ("length", "fin"),
        ("length", "reset"),
        ("chunked", "fin"),
        ("chunked", "reset"),
        ("close", "reset"),
    ]:
        for minor in (0, 1):
            with router.wire() as wire:
                wire.send(get(f"/cut?{kind}&{how}", minor=minor))
                with contextlib.suppress(Cut, ConnectionError):
                    answer = wire.answer()
                    assert answer.is_cut, (kind, how, minor)
                    assert len(answer.body) <= 400_000
