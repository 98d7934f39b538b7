"""Draining with the real process: instances that leave, and the router's own end."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack

import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect
from websockets.sync.server import serve

from .conftest import StartInstance, StartRouter
from .instance import Call
from .router import ROOT, TOKEN, Router, rollout, until
from .wire import get


class Sockets:
    """An instance that speaks WebSocket, by a library that is not Twisted's: it echoes."""

    version, name = "1.0", "ws"

    def __init__(self) -> None:
        self._server = serve(self._echo, "127.0.0.1", 0)
        self.address = f"127.0.0.1:{self._server.socket.getsockname()[1]}"
        self.codes: list[int | None] = []
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def _echo(self, ws) -> None:
        for message in ws:
            ws.send(message)
        self.codes.append(ws.protocol.close_rcvd.code if ws.protocol.close_rcvd else None)

    def close(self) -> None:
        self._server.shutdown()


@pytest.fixture
def sockets() -> Iterator[Sockets]:
    made = Sockets()
    yield made
    made.close()


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as made:
        yield made


def close_code(ws) -> int:
    with pytest.raises(ConnectionClosed) as closed:
        ws.recv(timeout=30)
    assert closed.value.rcvd is not None, "it ended without a word"
    return closed.value.rcvd.code


def drain(router: Router, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "rolling_router.cli", "drain", f"--router=http://127.0.0.1:{router.admin}", *arguments],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT), "ROLLING_ROUTER_TOKEN": TOKEN},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_websockets_of_a_version_that_left_are_told_to_come_back(
    start_router: StartRouter, start_instance: StartInstance, sockets: Sockets, stack: ExitStack
) -> None:
    router = start_router(rollout([sockets]), "--drain-seconds=1")
    clients = [stack.enter_context(connect(f"ws://127.0.0.1:{router.port}/")) for _ in range(5)]
    for ws in clients:
        ws.send("hello")
        assert ws.recv(timeout=20) == "hello"
    other = start_instance("2.0", "other")
    router.put(rollout([other]))
    assert router.ask(get("/")).version == "2.0", "what is new goes to who is there"
    assert {close_code(ws) for ws in clients} == {1001}
    until(lambda: router.status()["leaving"] == [])
    assert 'streams_ended_total{app="shop"} 5.0' in router.metrics()


def test_a_command_waits_until_nothing_is_left(start_router: StartRouter, start_instance: StartInstance) -> None:
    old, new = start_instance("1.0", "old"), start_instance("2.0", "new")
    going_on = threading.Event()

    def slowly(call: Call) -> None:
        assert going_on.wait(60)
        call.answer(b"at last")

    old.on("/slow", slowly)
    router = start_router(rollout([old]))
    assert drain(router, "--wait").returncode == 0, "nothing to wait for"
    with router.wire(60) as wire:
        wire.send(get("/slow"))
        until(lambda: any(call.target == b"/slow" for call in old.calls))
        router.put(rollout([new]))
        shown = drain(router)
        assert shown.returncode == 0
        assert f"1.0  {old.address}  1 in flight" in shown.stdout
        late = drain(router, "--wait", "--wait-seconds=0.5")
        assert (late.returncode, "still" in late.stderr) == (5, True)
        waiting = threading.Thread(target=lambda: results.append(drain(router, "--wait").returncode))
        results: list[int] = []
        waiting.start()
        going_on.set()
        assert wire.answer().body == b"at last"
        waiting.join(60)
    assert results == [0]


def test_at_sigterm_websockets_are_told_and_event_streams_end_whole(
    start_router: StartRouter, start_instance: StartInstance, sockets: Sockets, stack: ExitStack
) -> None:
    feed = start_instance("1.1", "feed")

    def events(call: Call) -> None:
        call.send(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")
        call.send(b"9\r\ndata: 1\n\n\r\n")
        call.is_left()

    feed.on("/events", events)
    router = start_router(rollout([sockets], [feed], 0), "--drain-seconds=30")
    clients = [stack.enter_context(connect(f"ws://127.0.0.1:{router.port}/")) for _ in range(4)]
    router.put(rollout([sockets], [feed], 100))
    with router.wire(30) as wire:
        wire.send(get("/events"))
        wire.until(b"data: 1\n\n\r\n")
        router.signal(signal.SIGTERM)
        assert {close_code(ws) for ws in clients} == {1001}
        assert wire.rest() == b"0\r\n\r\n"
    assert router.wait(30) == 0
    assert "were cut" not in router.output()


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_request_that_had_come_by_sigterm_is_served(
    start_router: StartRouter, start_instance: StartInstance, workers: str
) -> None:
    instance = start_instance()
    router = start_router(rollout([instance]), f"--workers={workers}")
    router.ask(get("/"))
    router.signal(signal.SIGSTOP) if workers == "1" else None
    wires = [router.wire(30).send(get("/")) for _ in range(150)]
    router.signal(signal.SIGTERM)
    router.signal(signal.SIGCONT)
    answers = [wire.answer() for wire in wires]
    assert {answer.status for answer in answers} == {200}
    for wire in wires:
        assert wire.sock.recv(1) == b""
        wire.sock.close()
    assert router.wait(30) == 0
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", router.port), 5)
