"""WebSockets through the router, by a client and a server that know nothing of it."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Iterator

import attrs
import pytest
from websockets.exceptions import ConnectionClosed, ConnectionClosedError, ConnectionClosedOK, InvalidStatus
from websockets.sync.client import ClientConnection, connect
from websockets.sync.server import Server, ServerConnection, serve

from .conftest import StartInstance, StartRouter
from .instance import Call, Instance
from .router import Router, rollout, until
from .wire import get

UPGRADE = (
    "Connection: Upgrade",
    "Upgrade: websocket",
    "Sec-WebSocket-Version: 13",
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
)


@attrs.define(eq=False)
class Echo:
    """An instance that speaks WebSocket and nothing else: every message back as it came."""

    version: str
    name: str = "w"
    server: Server = attrs.field(init=False)
    heads: list[dict[str, str]] = attrs.field(init=False, factory=list)
    codes: list[int | None] = attrs.field(init=False, factory=list)

    def __attrs_post_init__(self) -> None:
        self.server = serve(self._echo, "127.0.0.1", 0, max_size=None, compression=None)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.server.socket.getsockname()[1]}"

    def _echo(self, connection: ServerConnection) -> None:
        assert connection.request is not None
        self.heads.append({name.lower(): value for name, value in connection.request.headers.raw_items()})
        try:
            for message in connection:
                if message == "who":
                    connection.send(self.version)
                elif message == "bye":
                    connection.close(4001, "as you like")
                elif message == "die":
                    connection.socket.close()
                    return
                else:
                    connection.send(message)
        except ConnectionClosed:
            pass
        self.codes.append(connection.close_code)


@pytest.fixture(scope="module")
def echo() -> Iterator[Echo]:
    one = Echo("1.0")
    yield one
    one.server.shutdown()


@pytest.fixture(scope="module")
def router(start_router: StartRouter, echo: Echo) -> Router:
    return start_router(rollout([echo]))


def opened(router: Router, **options: object) -> ClientConnection:
    options = {"max_size": None, "compression": None, "proxy": None, "open_timeout": 30, **options}
    return connect(f"ws://127.0.0.1:{router.port}/ws?a=b", **options)  # type: ignore[arg-type]


def test_messages_of_all_sizes_come_back(router: Router, echo: Echo) -> None:
    with opened(router, subprotocols=["chat"]) as socket:
        for size in (0, 1, 125, 126, 65_535, 65_536, 5_000_000):
            message = os.urandom(size)
            socket.send(message)
            assert socket.recv(30) == message
        socket.send("text \N{SNOWMAN}")
        assert socket.recv(30) == "text \N{SNOWMAN}"
        assert socket.ping().wait(30)
    head = echo.heads[-1]
    assert head["connection"].lower() == "upgrade"
    assert head["x-forwarded-for"] == "127.0.0.1"
    assert head["sec-websocket-protocol"] == "chat"


def test_many_messages_in_flight_keep_their_order(router: Router) -> None:
    with opened(router) as socket:
        sending = threading.Thread(target=lambda: [socket.send(str(number)) for number in range(5000)])
        sending.start()
        assert [socket.recv(30) for _ in range(5000)] == [str(number) for number in range(5000)]
        sending.join()


def test_silence_is_no_reason_to_end(start_router: StartRouter, echo: Echo) -> None:
    router = start_router(rollout([echo]), "--idle-seconds=2", "--body-seconds=2", "--answer-seconds=2")
    with opened(router) as socket:
        # Longer than any limit on silence that this router has for requests.
        with pytest.raises(TimeoutError):
            socket.recv(4)
        socket.send("still there")
        assert socket.recv(30) == "still there"


def test_the_client_may_close(router: Router, echo: Echo) -> None:
    before = len(echo.codes)
    with opened(router) as socket:
        socket.close(1000)
    until(lambda: len(echo.codes) > before)
    assert echo.codes[-1] == 1000
    until(lambda: router.status()["snapshot"]["stable"]["instances"][0]["in_flight"] == 0)


def test_the_instance_may_close(router: Router) -> None:
    with opened(router) as socket:
        socket.send("bye")
        with pytest.raises(ConnectionClosed):
            socket.recv(30)
        assert (socket.close_code, socket.close_reason) == (4001, "as you like")


def test_an_instance_that_dies_ends_it(router: Router) -> None:
    with opened(router) as socket:
        socket.send("die")
        with pytest.raises((ConnectionClosedError, ConnectionClosedOK)):
            socket.recv(30)
        assert socket.close_code != 1000
    until(lambda: router.status()["snapshot"]["stable"]["instances"][0]["in_flight"] == 0)


def who(socket: ClientConnection) -> str:
    socket.send("who")
    return str(socket.recv(30))


def test_it_is_a_choice_like_any_other_and_ends_where_it_began(router: Router, echo: Echo) -> None:
    other = Echo("1.1")
    try:
        router.put(rollout([echo], [other], 50))
        with contextlib.ExitStack() as stack:
            sockets = [stack.enter_context(opened(router)) for _ in range(10)]
            versions = [who(socket) for socket in sockets]
            assert sorted(versions) == ["1.0"] * 5 + ["1.1"] * 5
            router.put(rollout([echo]))
            assert [who(socket) for socket in sockets] == versions
    finally:
        router.put(rollout([echo]))
        other.server.shutdown()


def test_an_instance_may_decline_and_the_connection_goes_on(
    router: Router, echo: Echo, start_instance: StartInstance
) -> None:
    instance: Instance = start_instance()
    router.put(rollout([instance]))
    try:
        with pytest.raises(InvalidStatus):
            opened(router)
        assert instance.calls[-1].one(b"Upgrade") == b"websocket"
        with router.wire() as wire:
            assert wire.ask(get("/", *UPGRADE)).body == b"1.0 a\n"
            # What followed in the same segment was HTTP after all.
            wire.send(get("/", *UPGRADE) + get("/next"))
            assert [wire.answer().status, wire.answer().status] == [200, 200]
        assert instance.calls[-1].target == b"/next"
    finally:
        router.put(rollout([echo]))


def test_what_is_sent_ahead_and_along_with_the_switch_arrives(
    router: Router, echo: Echo, start_instance: StartInstance
) -> None:
    instance: Instance = start_instance()

    def switch(call: Call) -> None:
        call.send(b"HTTP/1.1 101 Fine\r\nUpgrade: rot0\r\nConnection: upgrade\r\nX-A: b\r\n\r\nhello")
        call.send(call.file.read(5) + b"!")
        call.is_left()

    instance.on("/switch", switch)
    router.put(rollout([instance]))
    try:
        with router.wire() as wire:
            wire.send(get("/switch", "Connection: x, upgrade", "Upgrade: rot0") + b"ahead")
            answer = wire.any_answer()
            assert (answer.status, answer.phrase, answer.one(b"Upgrade")) == (101, b"Fine", b"rot0")
            assert (answer.one(b"Connection") or b"").lower() == b"upgrade"
            assert answer.one(b"X-A") == b"b"
            assert wire.exactly(11) == b"helloahead!"
    finally:
        router.put(rollout([echo]))


def test_an_open_one_is_cut_at_the_end_of_the_drain(start_router: StartRouter, echo: Echo) -> None:
    router = start_router(rollout([echo]), "--drain-seconds", "6")  # the last two of which are for goodbyes
    with opened(router) as socket:
        router.signal(15)
        until(lambda: "draining 1 client connections" in router.output())
        socket.send("in the drain")
        assert socket.recv(30) == "in the drain"
        with pytest.raises(ConnectionClosed):
            socket.recv(30)
    assert router.wait() == 0
