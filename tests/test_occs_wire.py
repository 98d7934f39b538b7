"""The client before servers that misbehave, over real sockets."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest
import pytest_twisted
from twisted.internet.task import deferLater

from rolling_router.errors import StoreLost
from rolling_router.occs.calls import Patience
from rolling_router.occs.client import OccsClient
from rolling_router.occs.token import Token
from tests.live.instance import Call, Instance

SHORT = Patience(limit_seconds=1.0, tries=1)
PATH = "/v1/kv/rolling/"


@pytest.fixture
def node() -> Iterator[Instance]:
    node = Instance()
    yield node
    node.stop()
    assert node.failures == []


@pytest_twisted.async_yield_fixture
async def client(node):
    from twisted.internet import reactor

    client = OccsClient.of_node(reactor, f"http://{node.address}")
    yield client
    await client.close()


async def lost(client: OccsClient, patience: Patience = SHORT) -> str:
    with pytest.raises(StoreLost) as caught:
        await client.keys.below("rolling/", patience)
    return str(caught.value)


async def is_true(event: threading.Event) -> None:
    from twisted.internet import reactor

    deadline = time.monotonic() + 30
    while not event.is_set():
        assert time.monotonic() < deadline
        await deferLater(reactor, 0.02)


@pytest.mark.parametrize(
    ("piece", "pause", "words"),
    [(b"10000\r\n" + b" " * 65536 + b"\r\n", 0.0, "more than 16 MiB"), (b"1\r\n[\r\n", 0.05, "within 1 seconds")],
    ids=["fast", "slow"],
)
@pytest_twisted.ensureDeferred
async def test_an_endless_answer_ends_and_its_connection_with_it(node, client, piece, pause, words):
    over = threading.Event()

    def endless(call: Call) -> None:
        call.keeps = False
        call.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        try:
            while True:
                call.send(piece)
                time.sleep(pause)
        except OSError:
            over.set()

    node.on(PATH, endless)
    patience = SHORT if pause else Patience(limit_seconds=20.0, tries=1)
    assert words in await lost(client, patience)
    await is_true(over)


@pytest_twisted.ensureDeferred
async def test_an_answer_that_is_cut_is_asked_for_again(node, client):
    def cut(call: Call) -> None:
        call.send(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n[")
        call.close()

    node.on(PATH, cut)
    assert "broke off its answer" in await lost(client, Patience(5.0, 3, 0.02))
    assert len(node.calls) == 3


@pytest_twisted.ensureDeferred
async def test_a_connection_that_is_reset_is_made_again(node, client):
    def reset_once(call: Call) -> None:
        node.on(PATH, lambda call: call.answer(b"[]"))
        call.reset()

    node.on(PATH, reset_once)
    assert await client.keys.below("rolling/") == {}


@pytest_twisted.ensureDeferred
async def test_a_redirect_is_not_followed(node, client):
    node.on(PATH, lambda call: call.answer(b"", "Location: http://127.0.0.1:1/", status="302 Found"))
    assert "status 302" in await lost(client)


@pytest_twisted.ensureDeferred
async def test_no_token_goes_to_a_node(node, client):
    node.on(PATH, lambda call: call.answer(b"[]"))
    await client.keys.below("rolling/")
    assert node.calls[0].one(b"Authorization") is None


@pytest_twisted.ensureDeferred
async def test_a_port_that_speaks_no_tls_is_named(node):
    from twisted.internet import reactor

    node.on("", lambda call: None)
    environ = {"OCCS_INSECURE": "1"}
    where = f"https://{node.address}"
    client = OccsClient.of_manager(reactor, where, environ, Token("x"))
    over = threading.Event()

    def hang_up() -> None:  # as soon as there is a connection
        while not over.wait(0.05):
            node.hang_up()

    threading.Thread(target=hang_up, daemon=True).start()
    try:
        said = await lost(client, Patience(limit_seconds=20.0, tries=1))
    finally:
        over.set()
    assert said.startswith((f"no TLS with {where}", f"{where} broke off its answer")), said
    await client.close()


@pytest_twisted.ensureDeferred
async def test_nobody_there(node, client):
    node.stop()
    assert f"http://{node.address} refuses connections" in await lost(client)


@pytest_twisted.ensureDeferred
async def test_a_name_that_does_not_exist():
    from twisted.internet import reactor

    client = OccsClient.of_node(reactor, "http://no-such-host.invalid:9109")
    assert "is a name that cannot be found" in await lost(client, Patience(limit_seconds=30.0, tries=1))
