"""Bringing requests to instances: who is tried, how often, and what the client is told of it."""

from __future__ import annotations

from errno import EMFILE

import pytest
from twisted.internet.error import ConnectBindError

from rolling_router.interfaces import Pin
from rolling_router.rollout.model import Role, Snapshot
from rolling_router.routing.place import Reason
from rolling_router_plugins.cookie import CookiePlugin
from tests.fakes import ALONE, NEW, OLD, ONE, answer, body_of, fields_of, first_line, get, post, status_of
from tests.rollouts import Named


def split(blend, stickiness=None, **changes):
    return Snapshot("shop", **{"stable": OLD, "candidate": NEW, **changes}, blend=blend, stickiness=stickiness)


def last_reason(house):
    exchange = house.score.over[-1]
    return exchange.reason or exchange.placement.reason


# Instances that do not take the connection


def test_the_next_instance_of_the_version_is_tried_when_one_refuses(make_house):
    house = make_house(split(0))
    client = house.client(post(b"abc"))
    assert house.refuse() == "10.0.0.1"
    assert house.connecting == ["10.0.0.2"]
    instance = house.accept()
    assert body_of(instance.take()) == b"abc", "nothing had been sent, so a POST may go elsewhere too"
    instance.send(answer())
    assert client.take() == answer()
    assert house.score.over[0].retries == 1


def test_then_the_other_version_is_tried_and_the_reason_says_so(make_house):
    for blend, order, reason in (
        (100, ["10.0.1.1", "10.0.1.2", "10.0.0.1"], Reason.CANDIDATE_DOWN),
        (1, ["10.0.0.1", "10.0.0.2", "10.0.1.1"], Reason.STABLE_DOWN),
    ):
        house = make_house(split(blend))
        client = house.client(get())
        assert [house.refuse(), house.refuse(), *house.connecting] == order
        house.accept().send(answer())
        assert status_of(client.take()) == 200
        assert last_reason(house) is reason
        assert house.score.over[0].placement.asked is (Role.STABLE if blend == 1 else Role.CANDIDATE)


def test_a_candidate_at_nought_is_not_tried(make_house):
    house = make_house(split(0))
    client = house.client(get())
    house.refuse(), house.refuse()
    assert house.connecting == []
    assert status_of(client.take()) == 503


def test_when_all_refuse_the_client_is_told_to_come_again(make_house):
    house = make_house(split(50))
    client = house.client(get())
    assert {house.refuse() for _ in range(4)} == {"10.0.0.1", "10.0.0.2", "10.0.1.1", "10.0.1.2"}
    got = client.take()
    assert status_of(got) == 503
    assert int(dict(fields_of(got))[b"retry-after"]) > 0
    assert last_reason(house) is Reason.NO_INSTANCE
    assert client.is_open
    assert len(house.score.missed) == 4


def test_when_the_last_one_does_not_answer_in_time_it_is_a_gateway_timeout(house):
    client = house.client(get())
    house.time_out()
    assert status_of(client.take()) == 504


def test_an_instance_that_refused_is_left_alone_for_a_while(make_house):
    house = make_house(split(0))
    house.client(get())
    house.refuse()
    house.accept().send(answer())
    for _ in range(6):
        house.client(get()).close()
    assert "10.0.0.1" not in house.connecting
    while house.connecting:
        house.accept()
    house.wait(12)  # by then its share is whole again, too
    tried = []
    for _ in range(4):
        house.client(get())
        tried += house.connecting
        while house.connecting:
            house.accept()
    assert "10.0.0.1" in tried


def test_an_only_instance_that_is_ejected_is_tried_all_the_same(house):
    house.client(get())
    house.refuse()
    client = house.client(get())
    house.accept().send(answer())
    assert client.take() == answer()


def test_a_burst_of_refusals_ejects_no_longer_than_one(house):
    for _ in range(30):
        house.client(get())
    for _ in range(30):
        house.refuse()
    (load,) = house.loads
    assert load.out_until - house.deadlines.now <= 1.0


# Who cannot be served


def test_an_app_that_is_not_set_up_says_so(make_house):
    house = make_house(Snapshot("shop"))
    client = house.client(get())
    got = client.take()
    assert status_of(got) == 503
    assert b"not set up yet" in got
    assert b"retry-after" in dict(fields_of(got))
    assert last_reason(house) is Reason.NOT_SET_UP
    assert client.is_open


def test_a_request_with_a_body_that_nobody_can_serve_ends_its_connection(make_house):
    house = make_house(Snapshot("shop"))
    client = house.client(post(b"abc", length=9))
    got = client.take()
    assert status_of(got) == 503
    assert (b"connection", b"close") in fields_of(got)
    client.close()


def test_pipelined_requests_that_nobody_can_serve_are_all_answered(make_house):
    house = make_house(Snapshot("shop"))
    client = house.client(get() * 200)
    assert client.take().count(b"HTTP/1.1 503 ") == 200


# Changes on the way


def test_what_is_in_flight_ends_where_it_began(make_house):
    house = make_house(split(0))
    client = house.client(post(b"abc", length=6))
    instance = house.accept()
    house.follow(ONE)
    client.send(b"def")
    assert instance.take().endswith(b"abcdef")
    instance.send(answer())
    assert client.take() == answer()
    assert not instance.is_open, "it is of no use any more"
    client.send(get())
    assert house.connecting == ["10.0.2.1"]


def test_what_was_connecting_goes_where_it_was_meant_for(make_house):
    house = make_house(split(0))
    client = house.client(get())
    house.follow(ONE)
    house.refuse()
    assert house.connecting == ["10.0.0.2"]
    house.accept().send(answer())
    assert client.take() == answer()


def test_idle_connections_of_instances_that_left_are_closed(make_house):
    house = make_house(split(0))
    _, instance = house.exchange(get(), answer())
    house.follow(split(50))
    assert instance.is_open
    house.follow(ONE)
    house.turn()
    assert not instance.is_open


def test_two_hundred_changes_under_way_fail_no_request(make_house):
    house = make_house(split(0))
    snapshots = [split(0), split(50, candidate=ALONE), split(100), split(1, stable=ALONE), ONE]
    clients = [house.client() for _ in range(8)]
    for at in range(200):
        for client in clients:
            client.send(get(b"/%d" % at))
        house.follow(snapshots[at % len(snapshots)])
        while house.connecting:
            house.accept()
        for line in [line for line in house.lines if line.wire.sent.endswith(b"\r\n\r\n") and line.end is None]:
            if line.wire.sent.startswith(b"GET"):
                line.wire.sent.clear()
                line.wire.inbound.append(answer(b"%d" % at))
        house.turn()
        for client in clients:
            assert client.take() == answer(b"%d" % at)


# What the client is told


def test_a_client_gets_its_cookie_once_and_comes_back_by_it(make_house):
    house = make_house(split(100, "cookie"), strategies={"cookie": CookiePlugin().make("shop", {})})
    client, instance = house.exchange(get(), answer(b"hello", b"Set-Cookie: theirs=1"))
    told = [value for name, value in fields_of(client.take()) if name == b"set-cookie"]
    assert told[0] == b"theirs=1"
    assert b"HttpOnly" in told[1]
    pair = told[1].partition(b";")[0]
    client.send(get(b"/", b"Cookie: theirs=1; " + pair))
    assert (b"cookie", b"theirs=1") in fields_of(instance.take()[-200:].partition(b"GET ")[2])
    instance.send(answer())
    assert client.take() == answer()
    assert last_reason(house) is Reason.PINNED


@pytest.mark.parametrize(
    ("theirs", "is_told", "is_made_private"),
    [
        ((), True, True),
        ((b"Cache-Control: no-cache",), True, True),
        ((b"Cache-Control: max-age=0",), True, True),
        ((b"Cache-Control: private, max-age=60",), True, False),
        ((b"Cache-Control: no-store",), True, False),
        ((b"Cache-Control: public",), False, False),
        ((b"Cache-Control: max-age=60",), False, False),
        ((b"cache-control: S-MAXAGE=60",), False, False),
        ((b"Cache-Control: max-age=" + b"9" * 5000,), False, False),
        ((b"Cache-Control: max-age=" + b"0" * 5000,), True, True),
        ((b"Expires: Wed, 21 Oct 2099 07:28:00 GMT",), False, False),
        ((b"Expires: 0",), True, True),
        ((b"Cache-Control: max-age=0", b"Expires: Wed, 21 Oct 2099 07:28:00 GMT"), True, True),
        ((b"Cache-Control: no-cache", b"Cache-Control: public"), False, False),
    ],
)
def test_no_pin_goes_with_an_answer_that_shared_caches_may_keep(make_house, theirs, is_told, is_made_private):
    house = make_house(split(50, "named"), strategies={"named": Named()})
    client, _ = house.exchange(get(), answer(b"hello", *theirs))
    fields = fields_of(client.take())
    assert ((b"set-cookie", b"named=1") in fields) is is_told
    assert ((b"cache-control", b"private") in fields) is is_made_private


def test_an_answer_of_the_routers_own_carries_no_pin(make_house):
    house = make_house(split(50, "named"), strategies={"named": Named()})
    client = house.client(post(b"abc"))
    house.accept().close()
    got = client.take()
    assert status_of(got) == 502
    assert b"set-cookie" not in dict(fields_of(got))
    assert (b"cache-control", b"no-store") in fields_of(got)


def test_a_pinned_client_that_is_served_by_another_instance_is_told(make_house):
    pin = Pin(NEW, NEW.instances[0])
    house = make_house(split(50, "named"), strategies={"named": Named(lambda client, split: pin)})
    client = house.client(get())
    assert house.refuse() == "10.0.1.1"
    house.accept().send(answer())
    assert (b"set-cookie", b"named=1") in fields_of(client.take())


def test_every_exchange_is_told_of_once_with_what_it_was(make_house):
    house = make_house(split(50))
    client = house.client(post(b"abc"))
    house.accept().send(answer(b"hello"))
    (exchange,) = house.score.over
    assert (exchange.status, exchange.bytes_in, exchange.bytes_out, exchange.is_cut) == (200, 3, 5, False)
    assert first_line(client.take()) == b"HTTP/1.1 200 OK"
    assert last_reason(house) is Reason.BLEND


def test_an_instance_is_not_blamed_for_descriptors_that_the_router_lacks(house):
    client = house.client(get())
    house.refuse(ConnectBindError(EMFILE, "Too many open files"))
    got = client.take()
    assert (status_of(got), dict(fields_of(got))[b"retry-after"]) == (503, b"5")
    assert (house.score.missed, house.score.limits) == ([], ["descriptors"])
    client.send(get())
    house.accept().send(answer())
    assert client.take() == answer()
