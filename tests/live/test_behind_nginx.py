"""The configuration that docs/behind-a-proxy.md has for nginx, as it is there, before a real router."""

from __future__ import annotations

import re
import socket
import threading
from collections.abc import Iterator

import pytest

from tests.ports import free_port

from .conftest import StartInstance, StartRouter
from .instance import Call, Instance
from .nginx import start_nginx
from .router import ROOT, rollout
from .wire import Wire, get, post

CLIENT = "127.0.0.2"
"""Not nginx's address, which is the only trusted one."""


@pytest.fixture(scope="module")
def instance(start_instance: StartInstance) -> Instance:
    return start_instance()


@pytest.fixture(scope="module", params=["tcp", "unix"])
def port(
    start_router: StartRouter,
    instance: Instance,
    tmp_path_factory: pytest.TempPathFactory,
    request: pytest.FixtureRequest,
) -> Iterator[int]:
    """Where nginx listens; it comes to the router by the loopback address, or by a unix socket."""
    directory = tmp_path_factory.mktemp("nginx")
    if request.param == "unix":
        server = f"unix:{directory}/shop.sock"
        start_router(rollout([instance], sticky=1), "--trusted-proxy", "unix", listen=server)
    else:
        server = f"127.0.0.1:{start_router(rollout([instance], sticky=1), '--trusted-proxy', '127.0.0.1/32').port}"
    found = re.search(r"```nginx\n(.*?)```", (ROOT / "docs" / "behind-a-proxy.md").read_text("utf-8"), re.DOTALL)
    assert found is not None
    port = free_port()
    page = found[1].replace("server 127.0.0.1:8000;", f"server {server};")
    page = page.replace("listen 80;", f"listen 127.0.0.1:{port};")
    assert (page.count(f"{server};"), page.count(f":{port};")) == (1, 1)
    process = start_nginx(directory, port, page)
    try:
        yield port
    finally:
        process.kill()
        process.wait()


def client(port: int) -> Wire:
    return Wire(port, sock=socket.create_connection(("127.0.0.1", port), 30, source_address=(CLIENT, 0)))


def test_the_instance_is_told_of_the_client_and_not_of_nginx(port: int, instance: Instance) -> None:
    with client(port) as wire:
        answer = wire.ask(get("/a", "X-Forwarded-For: 6.6.6.6", "X-Forwarded-Proto: https"))
    assert answer.status == 200
    call = instance.calls[-1]
    chain = call.one(b"X-Forwarded-For")
    assert chain in (f"6.6.6.6, {CLIENT}, 127.0.0.1".encode(), f"6.6.6.6, {CLIENT}, unknown".encode())
    assert call.one(b"X-Forwarded-Proto") == b"http"
    assert re.fullmatch(rb"[0-9a-f]{32}", call.one(b"X-Request-ID") or b""), "nginx's"
    assert call.one(b"Connection") in (None, b"keep-alive")
    (pin,) = answer.all(b"Set-Cookie")
    assert b"Secure" not in pin


def test_an_upload_arrives_whole(port: int, instance: Instance) -> None:
    body = bytes(range(256)) * 8192
    seen: list[bytes] = []

    def take(call: Call) -> None:
        seen.append(call.read_body())
        call.answer(b"taken")

    instance.on("/upload", take)
    with client(port) as wire:
        assert wire.ask(post(body, target="/upload")).body == b"taken"
    assert seen == [body]


def test_an_event_arrives_while_the_stream_goes_on(port: int, instance: Instance) -> None:
    heard = threading.Event()

    def stream(call: Call) -> None:
        call.send(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")
        call.send(b"9\r\ndata: 1\n\n\r\n")
        assert heard.wait(30)
        call.send(b"0\r\n\r\n")

    instance.on("/events", stream)
    with client(port) as wire:
        try:
            wire.send(get("/events"))
            wire.until(b"data: 1\n\n")
        finally:
            heard.set()


def test_a_protocol_can_be_changed_and_both_sides_speak(port: int, instance: Instance) -> None:
    def echo(call: Call) -> None:
        assert call.one(b"Upgrade") == b"websocket"
        call.send(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n")
        call.send(b"you said " + call.file.read(5))
        call.is_left()

    instance.on("/ws", echo)
    with client(port) as wire:
        wire.send(get("/ws", "Upgrade: websocket", "Connection: upgrade"))
        assert b" 101 " in wire.until(b"\r\n\r\n")
        wire.send(b"hello")
        assert wire.until(b"hello").endswith(b"you said hello")
