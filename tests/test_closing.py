"""The end of a connection by TLS or the PROXY protocol; others are in `test_downstream` and `test_waits`."""

from __future__ import annotations

from twisted.protocols.haproxy._wrapper import HAProxyWrappingFactory

from rolling_router.proxy.closing import LINGER_MOST_SECONDS, Closing
from rolling_router.proxy.limits import Limits
from tests.fakes import End, Line, post, status_of


def test_a_client_that_still_sends_is_read_from_until_it_has_had_its_answer(house, connect_by_tls):
    client = connect_by_tls(house)
    client.say(post(b"abc", length=1000))
    house.accept().reset()
    for _ in range(20):  # an upload slower than any patience with silence
        house.wait(house.limits.linger_seconds * 0.5)
        client.say(b"x")
        assert client.is_open
    assert status_of(client.read()) == 502
    house.wait(house.limits.linger_seconds + 1)
    assert not client.is_open
    assert house.score.limits == ["linger-seconds"]


def test_it_is_not_read_from_for_ever(house, connect_by_tls):
    client = connect_by_tls(house)
    client.say(post(b"abc", length=1000))
    house.accept().reset()
    began = house.reactor.seconds()
    while client.is_open:
        house.wait(1)
        client.say(b"x")
        assert house.reactor.seconds() - began < LINGER_MOST_SECONDS + 2
    assert house.reactor.seconds() - began >= LINGER_MOST_SECONDS


def test_behind_the_proxy_protocol_a_client_that_still_sends_is_read_from_too(house):
    made = HAProxyWrappingFactory(house.gate).buildProtocol(None)
    client = End(house, Line(house.reactor, "192.0.2.7", made))
    house.lines.append(client.line)
    client.send(b"PROXY TCP4 198.51.100.7 192.0.2.1 1111 80\r\n" + post(b"abc", length=1000))
    house.accept().reset()
    assert client.line.wire.is_half_closed
    for _ in range(20):
        house.wait(house.limits.linger_seconds * 0.5)
        client.send(b"x")
        assert client.is_open
    assert status_of(client.take()) == 502
    house.wait(house.limits.linger_seconds + 1)
    assert not client.is_open
    assert house.score.limits == ["linger-seconds"]


def test_who_is_let_in_while_its_connection_closes_does_not_begin_again(make_house, connect_by_tls):
    house = make_house(limits=Limits(head_seconds=1, linger_seconds=5))
    house.gate.hold()
    client = connect_by_tls(house, "h2")
    house.gate.drain()
    house.wait(2)
    house.gate.release()
    house.wait(8)
    assert not client.is_open
    assert not any(isinstance(one, Closing) for one in house.deadlines._members)
