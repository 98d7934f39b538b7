"""Upgrades: two connections that speak another protocol with each other."""

from __future__ import annotations

import pytest

from rolling_router.proxy.limits import Limits
from rolling_router.proxy.sending import unsent_bytes
from tests.fakes import answer, fields_of, get, post, status_of

ASKS = get(b"/ws", b"Connection: keep-alive, Upgrade", b"Upgrade: websocket", b"Sec-WebSocket-Key: x")
AGREES = (
    b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: y\r\n\r\n"
)


def tunnel(house, behind_request=b"", behind_answer=b""):
    client = house.client(ASKS + behind_request)
    instance = house.accept()
    asked = fields_of(instance.take())
    assert {(b"connection", b"Upgrade"), (b"upgrade", b"websocket"), (b"sec-websocket-key", b"x")} <= set(asked)
    instance.send(AGREES + behind_answer)
    return client, instance


def test_an_upgrade_is_agreed_and_bytes_pass_as_they_are(house):
    client, instance = tunnel(house)
    got = client.take()
    assert status_of(got) == 101
    upgrade = {(b"connection", b"Upgrade"), (b"upgrade", b"websocket"), (b"sec-websocket-accept", b"y")}
    assert set(fields_of(got)) == upgrade
    client.send(b"\x81\x00GET / HTTP/1.1\r\n\r\n")
    assert instance.take() == b"\x81\x00GET / HTTP/1.1\r\n\r\n"
    instance.send(b"\xff\x00")
    assert client.take() == b"\xff\x00"
    assert house.outstanding() == 1


def test_bytes_that_come_with_the_heads_pass_too(house):
    client, instance = tunnel(house, b"early", b"bird")
    assert instance.take() == b"early"
    assert client.take().endswith(b"\r\n\r\nbird")
    client.close()
    (exchange,) = house.score.over
    assert (exchange.bytes_in, exchange.bytes_out) == (len(b"early"), len(b"bird"))


@pytest.mark.parametrize("who", ["client", "instance"])
@pytest.mark.parametrize("how", ["close", "reset"])
def test_the_end_of_one_side_is_the_end_of_the_other(house, who, how):
    client, instance = tunnel(house)
    client.take()
    client.send(b"12345")
    instance.send(b"123")
    leaving, staying = (client, instance) if who == "client" else (instance, client)
    leaving.send(b"last words")
    getattr(leaving, how)()
    assert staying.take().endswith(b"last words")
    assert not staying.is_open
    assert house.outstanding() == 0
    (exchange,) = house.score.over
    assert exchange.status == 101
    assert exchange.bytes_in + exchange.bytes_out == 5 + 3 + 10


def test_a_tunnel_may_be_silent_for_nearly_an_hour(house):
    client, instance = tunnel(house)
    house.wait(3590)
    client.send(b"still there")
    assert instance.take() == b"still there"


@pytest.mark.parametrize("who", ["client", "instance"])
def test_each_side_is_held_back_while_the_other_takes_nothing(house, who):
    client, instance = tunnel(house)
    client.take()
    sender, receiver = (client, instance) if who == "client" else (instance, client)
    receiver.make_room(0)
    for _ in range(100):
        if sender.line.is_reading:
            sender.send(b"x" * 50_000)
    assert unsent_bytes(receiver.line) < 200_000
    receiver.make_room(None)
    assert sender.line.is_reading
    sender.send(b"on we go")
    assert receiver.take().endswith(b"on we go")


@pytest.mark.parametrize("who", ["client", "instance"])
def test_a_side_that_never_takes_the_last_words_is_cut(make_house, who):
    house = make_house(limits=Limits(body_seconds=5))
    client, instance = tunnel(house)
    leaving, staying = (client, instance) if who == "client" else (instance, client)
    staying.make_room(0)
    leaving.send(b"last words")
    leaving.reset()
    house.wait(11)
    assert not staying.is_open


def test_a_declined_upgrade_is_answered_and_http_goes_on(house):
    client = house.client(ASKS)
    instance = house.accept()
    instance.send(answer(b"no"))
    assert client.take() == answer(b"no")
    client.send(get(b"/next"))
    assert b"GET /next HTTP/1.1" in instance.take()
    instance.send(answer(b"next"))
    assert client.take() == answer(b"next")


def test_requests_behind_a_declined_upgrade_are_served(house):
    client = house.client(ASKS + get(b"/next") + get(b"/and"))
    instance = house.accept()
    instance.send(answer(b"no"))
    instance.send(answer(b"next"))
    instance.send(answer(b"and"))
    assert client.take() == answer(b"no") + answer(b"next") + answer(b"and")


@pytest.mark.parametrize("protocol", [b"websocket", b"h2c"])
def test_a_request_with_a_body_stays_what_it_is_and_its_upgrade_is_not_offered(house, protocol):
    # Some clients offer h2c with every request. Taken for the other protocol, the body would be missing at the
    # instance, which would then take the next client's request for it.
    client = house.client(post(b"abc", b"Connection: Upgrade", b"Upgrade: " + protocol) + get(b"/next"))
    instance = house.accept()
    request = instance.take()
    assert request.endswith(b"\r\n\r\nabc")
    assert b"upgrade" not in dict(fields_of(request))
    instance.send(answer())
    assert instance.take().startswith(b"GET /next HTTP/1.1\r\n")
    client.close()


def test_an_upgrade_that_connection_does_not_name_is_none(house):
    house.client(get(b"/", b"Upgrade: websocket"))
    assert b"upgrade" not in dict(fields_of(house.accept().take()))


@pytest.mark.parametrize(
    "agrees",
    [
        b"HTTP/1.1 101 Switching Protocols\r\n\r\nbytes",
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\nbytes",
        b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\n\r\nbytes",
    ],
)
def test_a_change_to_nobody_knows_what_is_a_bad_gateway(house, agrees):
    client = house.client(ASKS)
    house.accept().send(agrees)
    assert status_of(client.take()) == 502


def test_a_drain_leaves_a_tunnel_to_its_end_and_the_service_may_cut_it(house):
    client, instance = tunnel(house)
    drained = house.gate.drain()
    house.turn()
    assert (client.is_open, drained.called) == (True, False)
    assert house.gate.abort() == 1
    house.turn()
    assert (client.is_open, instance.is_open, drained.called) == (False, False, True)


def test_a_tunnel_in_which_nothing_moves_ends_and_one_that_moves_does_not(make_house):
    house = make_house(limits=Limits(tunnel_seconds=40, body_seconds=5))
    client, instance = tunnel(house)
    for _ in range(6):
        house.wait(30)
        instance.send(b"ping")
        house.wait(30)
        client.send(b"pong")
    assert (client.is_open, instance.is_open, house.score.limits) == (True, True, [])
    house.wait(51)
    assert (client.is_open, instance.is_open, house.score.limits) == (False, False, ["tunnel-seconds"])


def test_a_tunnel_may_be_silent_for_ever(make_house):
    house = make_house(limits=Limits(tunnel_seconds=0, body_seconds=5))
    client, _ = tunnel(house)
    house.wait(4000)
    assert client.is_open


@pytest.mark.parametrize(
    ("asked", "agreed", "is_agreed"),
    [
        (b"websocket", b"WebSocket", True),
        (b"foo/1, foo/2", b"foo/2", True),
        (b"foo", b"foo/2", True),
        (b"websocket", b"foo", False),
        (b"websocket", b"websocket, foo", False),
    ],
)
def test_only_a_protocol_that_was_asked_for_is_changed_to(house, asked, agreed, is_agreed):
    client = house.client(get(b"/ws", b"Connection: Upgrade", b"Upgrade: " + asked))
    house.accept().send(AGREES.replace(b"websocket", agreed))
    assert status_of(client.take()) == (101 if is_agreed else 502)


def test_what_a_client_sent_last_has_its_time_to_reach_the_instance(make_house):
    house = make_house(limits=Limits(body_seconds=10))
    client, instance = tunnel(house)
    house.wait(9)
    client.send(b"goodbye")
    instance.make_room(0)
    client.send(b", and thanks")
    client.close()
    house.wait(9)
    assert instance.is_open
    instance.make_room(None)
    assert instance.take().endswith(b"goodbye, and thanks")
