"""All client connections together: holding them before the first snapshot, draining, aborting."""

from __future__ import annotations

from rolling_router.proxy.limits import Limits
from rolling_router.rollout.model import Snapshot
from tests.fakes import ONE, answer, body_of, fields_of, get, status_of


def drain(house):
    drained = house.gate.drain()
    house.turn()
    return drained


def test_connections_are_counted(house):
    clients = [house.client() for _ in range(3)]
    assert (house.gate.accepted, house.gate.open) == (3, 3)
    clients[0].close()
    assert (house.gate.accepted, house.gate.open) == (3, 2)


def test_clients_that_are_held_wait_and_are_then_served(make_house):
    house = make_house(Snapshot("shop"))
    house.gate.hold()
    client = house.client(get())
    house.wait(2)
    assert client.take() == b""
    house.follow(ONE)
    house.gate.release()
    house.turn()
    house.accept().send(answer())
    assert client.take() == answer()


def test_a_client_that_is_held_for_longer_than_a_head_may_take_is_served(make_house):
    house = make_house(Snapshot("shop"), limits=Limits(head_seconds=2))
    house.gate.hold()
    client, silent = house.client(get()), house.client()
    house.wait(5)
    house.follow(ONE)
    house.gate.release()
    house.turn()
    house.accept().send(answer())
    assert client.take() == answer()
    house.wait(3)
    assert not silent.is_open


def test_a_drain_with_nobody_there_is_over_at_once(house):
    assert drain(house).called


def test_a_drain_closes_idle_connections(house):
    kept, _ = house.exchange(get(), answer())
    fresh = house.client()
    drained = drain(house)
    assert (kept.is_open, fresh.is_open, drained.called) == (False, False, True)


def test_a_drain_lets_a_request_end_and_says_that_the_connection_does(house):
    client = house.client(get())
    drained = drain(house)
    assert not drained.called
    house.accept().send(answer())
    got = client.take()
    assert (b"connection", b"close") in fields_of(got)
    assert body_of(got) == b"hello"
    assert (client.is_open, drained.called) == (False, True)


def test_a_drain_that_begins_behind_an_answers_head_ends_with_its_body(house):
    client = house.client(get())
    instance = house.accept()
    instance.send(answer()[:-1])
    drained = drain(house)
    assert client.is_open
    instance.send(answer()[-1:])
    assert client.take() == answer()
    assert (client.is_open, drained.called) == (False, True)


def test_requests_that_had_come_before_the_drain_are_served(house):
    client = house.client(get() + get() + get())
    instance = house.accept()
    drained = drain(house)
    instance.send(answer(b"1"))
    instance.send(answer(b"2"))
    assert client.take() == answer(b"1") + answer(b"2")
    instance.send(answer(b"3"))
    assert (b"connection", b"close") in fields_of(client.take())
    assert drained.called


def test_a_request_whose_head_was_coming_is_served(house):
    client = house.client(b"GET / HTTP/1.1\r\nHo")
    drained = drain(house)
    assert client.is_open
    client.send(b"st: shop.test\r\n\r\n")
    house.accept().send(answer())
    got = client.take()
    assert status_of(got) == 200
    assert (b"connection", b"close") in fields_of(got)
    assert (client.is_open, drained.called) == (False, True)


def test_an_error_in_a_drain_closes_too(house):
    client = house.client(get())
    drained = drain(house)
    house.refuse()
    assert (b"connection", b"close") in fields_of(client.take())
    assert drained.called


def test_aborting_ends_everything(house):
    streaming, instance = house.exchange(get(), answer()[:-1])
    connecting = house.client(get())
    idle = house.client()
    drained = drain(house)
    assert house.gate.abort() == 2
    house.turn()
    assert not any(end.is_open for end in (streaming, connecting, idle, instance))
    assert drained.called
    assert house.outstanding() == 0


def test_clients_beyond_the_most_are_turned_away_at_once_and_others_are_not_touched(make_house):
    house = make_house(limits=Limits(connections_most=2))
    clients = [house.client(host=f"192.0.2.{at}") for at in range(4)]
    house.turn()
    assert [one.is_open for one in clients] == [True, True, False, False]
    assert house.score.limits == ["connections-most"] * 2
    clients[0].close()
    assert house.client().is_open


def test_one_client_has_so_many_connections_and_a_trusted_proxy_any_number(make_house):
    house = make_house(limits=Limits(connections_per_client=2), trusted=["10.0.0.0/8"])
    for host, room in (("192.0.2.1", 2), ("192.0.2.2", 2), ("2001:db8::1", 2), ("10.0.0.1", 4)):
        clients = [house.client(host=host) for _ in range(4)]
        house.turn()
        assert [one.is_open for one in clients] == [True] * room + [False] * (4 - room), host
        clients[0].close()
        again = house.client(host=host)
        house.turn()
        assert again.is_open
    other = house.client(host="2001:db8::2:0:0:1")
    neighbour = house.client(host="2001:db8:0:1::1")
    house.turn()
    assert (other.is_open, neighbour.is_open) == (False, True), "a client has a whole /64"
    assert house.score.limits == ["connections-per-client"] * 7
