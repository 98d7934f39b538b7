"""The proxy's own epoll set: one round of it, over real sockets."""

from __future__ import annotations

import select
import socket
from contextlib import suppress

import pytest
from twisted.internet import reactor
from twisted.internet.error import ConnectionDone
from twisted.internet.protocol import Factory, Protocol
from twisted.python.failure import Failure

from rolling_router.proxy.loop import Loop, sender_for

LAST = b"and this is the end"


@pytest.fixture
def loop():
    made = Loop(reactor)
    yield made
    for selectable in made.removeAll():
        selectable.connectionLost(Failure(ConnectionDone()))


def test_what_is_sent_and_then_closed_arrives_whole_where_room_comes_in_the_same_round(loop):
    accepted = []

    class Ends(Protocol):
        """Whoever speaks has the other one told the last thing, and hung up on."""

        def connectionMade(self):
            accepted.append(self.transport)

        def dataReceived(self, data):
            sender_for(accepted[0])(accepted[0], LAST)
            accepted[0].loseConnection()

    factory = Factory.forProtocol(Ends)
    factory.noisy = False
    port = loop.listenTCP(0, factory, interface="127.0.0.1")
    address = ("127.0.0.1", port.getHost().port)
    with socket.create_connection(address) as slow, socket.create_connection(address) as quick:
        while len(accepted) < 2:
            loop._serve()
        slow.settimeout(20)
        ends = accepted[0]
        filled = 0
        is_there_room = True
        while is_there_room:  # the kernel may be about to make some more
            with suppress(BlockingIOError):
                while True:
                    filled += ends.socket.send(b"x" * 65536)
            is_there_room = bool(select.select([], [ends.socket], [], 0.2)[1])
        ends.write(b"y" * 10_000)  # queued, and looked after by epoll
        loop._serve()
        assert ends.dataBuffer or ends._tempDataLen
        quick.send(b"now")
        got = b""
        while len(got) < filled:  # then there is room, in the round that tells of both
            got += slow.recv(1 << 16)
        while ends.connected:
            loop._serve()
        while piece := slow.recv(1 << 16):
            got += piece
    assert len(got) == filled + 10_000 + len(LAST)
    assert got.endswith(LAST)
