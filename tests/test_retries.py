"""Sending once more: what, where to, how often, and what is never sent twice."""

from __future__ import annotations

import pytest

from rolling_router.health import Rules
from rolling_router.interfaces import Pin
from rolling_router.proxy.budget import FLOOR_PER_SECOND, WINDOW_SECONDS, Budget, Retrying
from rolling_router.proxy.deadlines import Deadlines
from rolling_router.rollout.model import Instance, Snapshot, Version
from rolling_router.routing.place import Reason
from tests.fakes import ALONE, NEW, OLD, answer, body_of, fields_of, get, post, status_of
from tests.rollouts import Named

MANY = Version("many", 8080, tuple(Instance(f"10.0.3.{number}", 80) for number in range(1, 5)))
BAD = answer(b"no", status=b"503 Service Unavailable")
BY_STATUS = Retrying(statuses=frozenset({503}))


def split(blend, stickiness=None, **changes):
    return Snapshot("shop", **{"stable": OLD, "candidate": NEW, **changes}, blend=blend, stickiness=stickiness)


@pytest.mark.parametrize("method", [b"GET", b"HEAD", b"OPTIONS", b"DELETE"])
@pytest.mark.parametrize("ending", ["close", "reset", "half a head"])
def test_what_can_be_done_twice_goes_to_another_instance_when_the_first_breaks_off(make_house, method, ending):
    house = make_house(split(0))
    client = house.client(get(method=method))
    first = house.accept()
    if ending == "half a head":
        first.send(b"HTTP/1.1 200 OK\r\nContent-Le")
    first.reset() if ending == "reset" else first.close()
    second = house.accept()
    assert second.line.getPeer().host != first.line.getPeer().host
    assert second.take().startswith(method)
    second.send(answer(b"" if method == b"HEAD" else b"hello"))
    assert status_of(client.take()) == 200
    (exchange,) = house.score.over
    assert exchange.retries == 1
    assert house.score.retries == ["reset"]
    assert house.score.failures == [("old", "reset")]


@pytest.mark.parametrize("request_", [post(b"abc"), get(method=b"PATCH"), get(method=b"LOCK"), post()])
def test_what_cannot_be_done_twice_is_not(make_house, request_):
    house = make_house(split(0), retrying=BY_STATUS)
    for ending in ("reset", "status"):
        client = house.client(request_)
        instance = house.accept()
        instance.send(BAD) if ending == "status" else instance.reset()
        assert house.connecting == []
        assert status_of(client.take()) == (503 if ending == "status" else 502)
        instance.close()
    assert house.score.retries == []


def test_a_body_that_was_sent_is_not_sent_twice(make_house):
    house = make_house(split(0))
    put = post(b"abc").replace(b"POST", b"PUT")
    client = house.client(put)
    house.accept().reset()
    assert house.connecting == []
    assert status_of(client.take()) == 502


def test_nothing_is_sent_again_once_the_answer_has_begun(make_house):
    house = make_house(split(0))
    client = house.client(get())
    instance = house.accept()
    instance.send(answer()[:-1])
    instance.reset()
    assert house.connecting == []
    assert not client.is_open
    assert house.score.failures == [("old", "reset")]


def test_there_is_no_third(make_house):
    house = make_house(split(50))
    client = house.client(get())
    house.accept().reset()
    house.accept().reset()
    assert house.connecting == []
    assert status_of(client.take()) == 502


def kept(house, count):
    """One kept connection to each of so many instances, by address."""
    clients = [house.client(get()) for _ in range(count)]
    instances = [house.accept() for _ in clients]
    for instance in instances:
        instance.send(answer())
        instance.take()
    return {instance.line.getPeer().host: instance for instance in instances}


def who_has_it(instances):
    """The address of the instance that was sent a request since this was asked last."""
    (host,) = [host for host, instance in instances.items() if instance.take()]
    return host


@pytest.mark.parametrize("second", ["refuses", "resets"])
def test_there_is_no_third_behind_kept_connections_to_instances_that_are_gone(make_house, second):
    house = make_house(split(0, stable=MANY, candidate=None))
    instances = kept(house, len(MANY.instances))
    client = house.client(get())
    first = who_has_it(instances)
    instances[first].reset()
    assert house.refuse() == first
    other = who_has_it(instances)
    assert other != first
    instances[other].reset()
    assert house.connecting == [other]
    house.refuse() if second == "refuses" else house.accept().reset()
    assert house.connecting == []
    assert [host for host, instance in instances.items() if instance.take()] == []
    assert status_of(client.take()) == 502
    assert house.score.over[-1].retries == 3


def test_what_a_second_instance_refuses_goes_to_a_third_that_is_the_second_to_have_it(make_house):
    house = make_house(split(0, stable=MANY, candidate=None))
    client = house.client(get())
    house.accept().reset()
    house.refuse()
    house.refuse()
    house.accept().send(answer())
    assert status_of(client.take()) == 200


def test_a_change_of_protocol_that_an_instance_may_have_had_is_sent_to_nobody_again(make_house):
    house = make_house(split(0, stable=MANY, candidate=None))
    instances = kept(house, len(MANY.instances))
    client = house.client(get(b"/", b"Connection: Upgrade", b"Upgrade: websocket"))
    first = who_has_it(instances)
    instances[first].reset()
    assert house.connecting == []
    assert [host for host, instance in instances.items() if instance.take()] == []
    assert status_of(client.take()) == 502


def test_a_change_of_protocol_is_not_sent_where_the_instance_has_hung_up(house):
    client, instance = house.exchange(get(), answer())
    client.take(), instance.take()
    instance.line.wire.goodbye = b""  # which nobody has read yet
    client.send(get(b"/", b"Connection: Upgrade", b"Upgrade: websocket"))
    assert instance.take() == b""
    assert b"Upgrade: websocket" in house.accept().take()


def test_a_candidate_that_breaks_off_is_answered_for_by_stable_and_counts_as_having_failed(make_house):
    house = make_house(split(100, candidate=ALONE))
    client = house.client(get())
    house.accept().reset()
    assert house.connecting == ["10.0.0.1"]
    house.accept().send(answer())
    assert status_of(client.take()) == 200
    (exchange,) = house.score.over
    assert exchange.placement.reason is Reason.CANDIDATE_DOWN
    assert exchange.placement.asked is not None
    assert house.score.failures == [("alone", "reset")]


def test_stable_is_not_answered_for_by_a_candidate_at_nought(make_house):
    house = make_house(split(0, stable=ALONE))
    client = house.client(get())
    house.accept().reset()
    assert status_of(client.take()) == 502


def test_one_failure_ends_no_pin(make_house):
    pin = Pin(ALONE, ALONE.instances[0])
    house = make_house(split(50, "named", candidate=ALONE), strategies={"named": Named(lambda client, split: pin)})
    client = house.client(get())
    house.accept().reset()
    house.accept().send(answer())
    got = client.take()
    assert status_of(got) == 200
    assert b"set-cookie" not in dict(fields_of(got))


def test_a_status_is_tried_elsewhere_only_where_that_is_chosen(make_house):
    house = make_house(split(0))
    client, _ = house.exchange(get(), BAD)
    assert status_of(client.take()) == 503
    assert house.score.failures == []
    house = make_house(split(0), retrying=BY_STATUS)
    client, first = house.exchange(get(), BAD)
    house.accept().send(answer())
    assert body_of(client.take()) == b"hello"
    assert (house.score.retries, house.score.failures) == (["status"], [("old", "status")])
    assert not first.is_open


def test_a_status_goes_to_the_client_when_there_is_no_other_instance(make_house):
    house = make_house(split(0, stable=ALONE), retrying=BY_STATUS)
    client, _ = house.exchange(get(), BAD)
    assert body_of(client.take()) == b"no"
    assert house.score.retries == []


def test_an_instance_that_fails_three_requests_in_a_row_is_left_alone(make_house):
    house = make_house(split(0), rules=Rules(frozenset({503})))
    clients = [house.client() for _ in range(20)]
    first = None
    for client in clients:
        client.send(post(b"abc"))
        while house.connecting:
            instance = house.accept()
            first = first or instance.line.getPeer().host
        for line in house.lines:
            if line.wire.sent.startswith(b"POST"):
                line.wire.sent.clear()
                line.wire.inbound.append(BAD if line.getPeer().host == first else answer())
        house.turn()
    statuses = [status_of(client.take()) for client in clients]
    assert statuses.count(503) == 3
    assert statuses[6:] == [200] * 14
    assert house.score.ejections == [("stable", "status")]


def test_the_only_instance_is_not_left_alone_for_what_it_answers(make_house):
    house = make_house(split(50, candidate=ALONE), rules=Rules(frozenset({503})))
    for _ in range(30):
        client = house.client(get())
        while house.connecting:
            house.accept()
        for line in house.lines:
            if line.wire.sent.startswith(b"GET"):
                line.wire.sent.clear()
                line.wire.inbound.append(BAD if line.getPeer().host.startswith("10.0.2") else answer())
        house.turn()
        client.close()
    statuses = [exchange.status for exchange in house.score.over]
    assert statuses.count(503) == 15, "the candidate's share, exactly: its errors show as its own"
    assert house.score.ejections == []


# The budget


def test_a_storm_gets_a_share_and_a_floor():
    from twisted.internet.task import Clock

    clock, sent = Clock(), [0]
    deadlines = Deadlines(clock)
    deadlines.startService()
    budget = Budget(20, lambda: sent[0], deadlines)
    floor = FLOOR_PER_SECOND * WINDOW_SECONDS
    assert sum(budget.spend() for _ in range(1000)) == floor
    assert budget.refused == 1000 - floor
    clock.pump([0.5] * 40)
    again = 0
    for _ in range(20 * 2):  # 20 seconds in which every request fails at first
        for _ in range(500):
            sent[0] += 1
            if budget.spend():
                again += 1
                sent[0] += 1
        clock.advance(0.5)
    assert 0.2 * 20_000 * 0.9 <= again <= 0.2 * 20_000 + 3 * floor
    deadlines.stopService()


def test_a_budget_of_nothing_is_nothing(make_house):
    house = make_house(split(0), retrying=Retrying(percent=0.0))
    client = house.client(get())
    house.accept().reset()
    assert status_of(client.take()) == 502
    assert house.dispatch.budget.refused == 1
    client = house.client(get())
    house.refuse()
    house.accept().send(answer())
    assert status_of(client.take()) == 200, "what was never sent needs no budget"
