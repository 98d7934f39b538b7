"""Connections by TLS that are held before the first snapshot, whatever came with the last of their handshake."""

from __future__ import annotations

import pytest
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import ResponseReceived

from rolling_router.proxy.limits import Limits
from rolling_router.rollout.model import Snapshot
from tests.fakes import ONE, answer, get, status_of


class Speaker:
    """What a client says by HTTP/2, and hears."""

    def __init__(self):
        self._spoken = H2Connection(H2Configuration(header_encoding="ascii"))
        self._spoken.initiate_connection()
        fields = [(":method", "GET"), (":path", "/"), (":scheme", "https"), (":authority", "shop.example")]
        self._spoken.send_headers(1, fields, end_stream=True)
        self.says = self._spoken.data_to_send()

    def status(self, heard):
        (told,) = [one for one in self._spoken.receive_data(heard) if isinstance(one, ResponseReceived)]
        return int(dict(told.headers)[":status"])


class PlainSpeaker:
    """The same by HTTP/1.1."""

    says = get()

    def status(self, heard):
        return status_of(heard)


@pytest.fixture(params=["h2", "http/1.1"])
def protocol(request):
    return request.param


@pytest.fixture
def speaker(protocol):
    return Speaker() if protocol == "h2" else PlainSpeaker()


def test_who_asks_with_the_last_of_the_handshake_is_held_and_then_served(make_house, connect_by_tls, protocol, speaker):
    house = make_house(Snapshot("shop"))
    house.gate.hold()
    client = connect_by_tls(house, protocol, first=speaker.says)
    house.wait(2)
    assert house.gate.open == 1
    house.follow(ONE)
    house.gate.release()
    house.turn()
    house.accept().send(answer())
    assert speaker.status(client.read()) == 200


def test_who_asks_after_the_handshake_is_held_and_then_served(make_house, connect_by_tls, protocol, speaker):
    house = make_house(Snapshot("shop"))
    house.gate.hold()
    client = connect_by_tls(house, protocol)
    client.say(speaker.says)
    house.wait(2)
    house.follow(ONE)
    house.gate.release()
    house.turn()
    house.accept().send(answer())
    assert speaker.status(client.read()) == 200


def test_who_says_nothing_once_it_is_let_in_has_the_time_of_a_head(make_house, connect_by_tls, protocol):
    house = make_house(Snapshot("shop"), limits=Limits(head_seconds=5, linger_seconds=1))
    house.gate.hold()
    client = connect_by_tls(house, protocol)
    house.wait(20)
    house.gate.release()
    house.wait(4)
    assert client.is_open
    house.wait(10)
    assert not client.is_open
    assert house.score.limits == ["head-seconds"]


def test_who_leaves_while_it_is_held_is_no_failed_handshake(make_house, connect_by_tls, protocol):
    house = make_house(Snapshot("shop"))
    house.gate.hold()
    client = connect_by_tls(house, protocol)
    house.gate.abort()
    house.turn()
    assert (client.is_open, house.gate.open) == (False, 0)
    assert (house.gate.handshakes, house.gate.failed_handshakes) == (1, 0)
