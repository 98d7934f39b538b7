"""Requests changed by lot, over real sockets: what reaches the instance is what another parser reads, and all of it."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import h11
import pytest

from tests.corpus.mutate import mutated
from tests.corpus.requests import CASES

from .conftest import StartRouter
from .router import Router, rollout

SEED, COUNT, AT_ONCE = 20261123, 400, 96
STREAMS = [stream for stream, _ in CASES.values()]
GOOD = [stream for stream, statuses in CASES.values() if set(statuses) == {200}]


class Strict:
    """An instance made of h11. Whatever it cannot read is a failure, but the end of the connection inside a body."""

    version, name = "1.0", "strict"

    def __init__(self) -> None:
        self.served = 0
        self.failures: list[str] = []
        self._lock = threading.Lock()
        self._listening = socket.create_server(("127.0.0.1", 0), backlog=256)
        self.address = f"127.0.0.1:{self._listening.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def stop(self) -> None:
        with suppress(OSError):
            self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                sock = self._listening.accept()[0]
                threading.Thread(target=self._serve, args=(sock,), daemon=True).start()

    def _serve(self, sock: socket.socket) -> None:
        sock.settimeout(60)
        theirs = h11.Connection(h11.SERVER, max_incomplete_event_size=1 << 20)
        try:
            with sock:
                while self._serve_one(sock, theirs):
                    theirs.start_next_cycle()
        except (OSError, h11.RemoteProtocolError) as wrong:
            if "without sending complete message body" not in str(wrong) and not isinstance(wrong, OSError):
                self.failures.append(f"{wrong}: {theirs.trailing_data[0]!r}")

    def _serve_one(self, sock: socket.socket, theirs: h11.Connection) -> bool:
        body = 0
        while True:
            event = theirs.next_event()
            if event is h11.NEED_DATA:
                if theirs.they_are_waiting_for_100_continue:
                    sock.sendall(theirs.send(h11.InformationalResponse(status_code=100, headers=[])) or b"")
                theirs.receive_data(sock.recv(65536))
            elif isinstance(event, h11.Data):
                body += len(event.data)
            elif isinstance(event, h11.EndOfMessage):
                break
            elif isinstance(event, h11.ConnectionClosed) or event is h11.PAUSED:
                return False
        with self._lock:
            self.served += 1
        length = b"%d" % body
        head = h11.Response(status_code=200, headers=[("Content-Length", "0"), ("X-Length", length)])
        sock.sendall((theirs.send(head) or b"") + (theirs.send(h11.EndOfMessage()) or b""))
        return theirs.our_state is h11.DONE and theirs.their_state is h11.DONE


@pytest.fixture(scope="module")
def strict() -> Iterator[Strict]:
    made = Strict()
    yield made
    made.stop()


def answers(router: Router, stream: bytes) -> tuple[int, bytes]:
    """How many answers came of an instance, and all that came."""
    with router.wire(30) as wire:
        got = b""
        with suppress(ConnectionError):
            wire.send(stream)
            while piece := wire.sock.recv(65536):
                got += piece
    return got.count(b"\r\nX-Length: "), got


def test_each_request_that_reaches_the_instance_is_one_and_is_answered_once(
    start_router: StartRouter, strict: Strict
) -> None:
    waits = ("--head-seconds", "--idle-seconds", "--body-seconds")
    router = start_router(rollout([strict]), *[word for wait in waits for word in (wait, "5")])
    streams = [*STREAMS, *mutated([*STREAMS, *GOOD * 15], SEED, COUNT)]
    with ThreadPoolExecutor(AT_ONCE) as pool:
        counted = list(pool.map(lambda stream: answers(router, stream), streams))
    assert strict.failures == []
    for stream, (_, got) in zip(streams, counted, strict=True):
        assert not got or got.startswith(b"HTTP/1.1 "), stream
        assert b"HTTP/1.1 500" not in got, stream
    told = sum(number for number, _ in counted)
    assert told > COUNT / 5
    # A client that leaves, or a body that never comes, may leave a request without its answer; never the reverse.
    assert told <= strict.served
    for (name, (stream, statuses)), (number, got) in zip(CASES.items(), counted, strict=False):
        assert number == statuses.count(200), (name, stream, got)
