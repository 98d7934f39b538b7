"""The kept connections to one instance, and how others are made."""

from __future__ import annotations

from typing import Any

import pytest
from twisted.internet.error import DNSLookupError
from twisted.internet.testing import MemoryReactorClock

from rolling_router.proxy.deadlines import Deadlines
from rolling_router.proxy.dispatch import Dispatch
from rolling_router.proxy.limits import Limits
from rolling_router.proxy.pool import Pool
from rolling_router.rollout.model import Instance, Snapshot, Version
from rolling_router.routing.fleet import Load
from rolling_router.routing.router import Router
from tests.fakes import Score, answer, get


class SilentNames:
    """A name server that takes every question and answers none."""

    def resolveHostName(self, receiver: Any, name: str, *_: Any, **__: Any) -> Any:
        receiver.resolutionBegan(None)
        return receiver


def test_a_name_server_that_never_answers_costs_no_more_than_the_limit_for_connecting():
    reactor: Any = MemoryReactorClock()
    reactor.nameResolver = SilentNames()
    limits, deadlines = Limits(connect_seconds=5), Deadlines(reactor)
    dispatch = Dispatch(reactor, Router("shop", {}), limits, deadlines, Score())
    pool = Pool(reactor, Load(Instance("app.example", 80)), dispatch, limits, deadlines)
    failures = []
    pool.connect().addErrback(failures.append)
    reactor.advance(4.9)
    assert failures == []
    reactor.advance(0.2)
    assert [failure.type for failure in failures] == [DNSLookupError]
    assert reactor.getDelayedCalls() == []


def served(house, count):
    """So many requests at once, all answered: the instances' ends of the connections that were made."""
    clients = [house.client(get()) for _ in range(count)]
    instances = [house.accept() for _ in clients]
    for instance in instances:
        instance.send(answer())
    assert all(client.take() == answer() for client in clients)
    return instances


def test_as_many_as_allowed_are_kept_and_the_others_closed(make_house):
    house = make_house(limits=Limits(pool_idle=2))
    assert [instance.is_open for instance in served(house, 5)] == [True, True, False, False, False]


def test_none_may_be_kept(make_house):
    house = make_house(limits=Limits(pool_idle=0))
    assert [instance.is_open for instance in served(house, 2)] == [False, False]


def test_the_last_one_given_back_is_taken_first_and_the_others_grow_old(make_house):
    house = make_house(limits=Limits(pool_seconds=4))
    first, last = served(house, 2)
    client = house.client()
    for _ in range(8):
        client.send(get())
        last.send(answer())
        house.wait(1)
    assert (first.is_open, last.is_open) == (False, True)
    assert house.score.opened == 2


def test_one_that_the_instance_closed_is_not_taken(house):
    first, last = served(house, 2)
    last.close()
    house.client(get())
    assert house.connecting == []
    assert first.take().count(b"GET ") == 2


@pytest.mark.parametrize("host", ["10.0.0.1", "::1"])
def test_an_address_is_connected_to_as_it_is_without_asking_for_its_name(make_house, host):
    instance = Instance(host, 80)
    house = make_house(Snapshot("shop", Version("v", 80, (instance,))))
    client = house.client(b"GET / HTTP/1.0\r\n\r\n")
    assert house.connecting == [host]
    asked = house.accept()
    assert b"\r\nHost: %b\r\n" % str(instance).encode() in asked.take()
    client.close()


def test_a_shutdown_gives_up_what_is_still_connecting(house):
    client = house.client(get())
    house.dispatch.close()
    house.turn()
    assert b"HTTP/1.1 503 " in client.take()
    assert house.score.missed == [], "which says nothing about the instance"
