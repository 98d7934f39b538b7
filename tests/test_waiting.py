"""Bounds for each instance: who waits, who is served next, who is refused; and the blend stays exact."""

from __future__ import annotations

from collections import deque

from hypothesis import given, settings
from hypothesis import strategies as st

from rolling_router import health
from rolling_router.interfaces import Pin
from rolling_router.proxy.limits import Limits
from rolling_router.rollout.model import Role, Snapshot
from rolling_router.routing.place import Reason
from tests.fakes import ALONE, NEW, OLD, ONE, House, answer, body_of, fields_of, get, post, status_of
from tests.rollouts import Named


def bounded(most=1, **limits) -> Limits:
    return Limits(requests_per_instance=most, **limits)


def split(blend, stickiness=None, **changes):
    return Snapshot("shop", **{"stable": OLD, "candidate": NEW, **changes}, blend=blend, stickiness=stickiness)


def test_beyond_the_bound_requests_wait_and_are_served_in_their_order(make_house):
    house = make_house(ONE, limits=bounded(2))
    clients = [house.client(get(b"/%d" % at)) for at in range(5)]
    instances = [house.accept(), house.accept()]
    assert house.connecting == []
    assert house.dispatch.waiting.counts() == {"alone": 3}
    order = []
    for _ in range(5):
        busy = min((one for one in instances if one.line.wire.sent), key=lambda one: bytes(one.line.wire.sent))
        order.append(bytes(busy.line.wire.sent).split()[1])
        busy.line.wire.sent.clear()
        busy.send(answer())
        assert house.outstanding() <= 2
    assert order == [b"/0", b"/1", b"/2", b"/3", b"/4"]
    assert all(body_of(client.take()) == b"hello" for client in clients)


def test_all_instances_of_the_version_are_used_before_anybody_waits(make_house):
    house = make_house(split(0), limits=bounded(1))
    for _ in range(3):
        house.client(get())
    assert sorted(house.connecting) == ["10.0.0.1", "10.0.0.2"]
    assert house.dispatch.waiting.counts() == {"old": 1}


def test_a_full_queue_and_a_long_wait_are_told_to_come_again(make_house):
    house = make_house(ONE, limits=bounded(1, queue_length=1, queue_seconds=3.0))
    house.client(get())
    waits, refused = house.client(get()), house.client(get())
    for client, wait in ((refused, 0), (waits, 4)):
        house.wait(wait)
        got = client.take()
        assert status_of(got) == 503
        assert b"retry-after" in dict(fields_of(got))
        assert client.is_open
    assert [exchange.reason for exchange in house.score.over] == [Reason.FULL] * 2
    full = "requests-per-instance"
    assert house.score.limits == [full, full, "queue-length", "queue-seconds"]
    assert house.dispatch.waiting.count == 0


def test_who_leaves_while_it_waits_leaves_no_gap(make_house):
    house = make_house(ONE, limits=bounded(1))
    house.client(get())
    leaves, stays = house.client(get()), house.client(get())
    leaves.close()
    house.accept().send(answer())
    house.accept().send(answer()) if house.connecting else None
    assert house.dispatch.waiting.count == 0
    assert house.outstanding() == 1
    assert stays.is_open


def test_a_body_that_waits_arrives_whole(make_house):
    house = make_house(ONE, limits=bounded(1))
    first, instance = house.client(get()), house.accept()
    waits = house.client(post(b"abc", length=6))
    waits.send(b"def")
    instance.take()
    instance.send(answer())
    assert status_of(first.take()) == 200
    house.turn()
    instance.line.work()
    house.turn()
    assert instance.take().endswith(b"abcdef")
    instance.send(answer())
    assert status_of(waits.take()) == 200


def test_a_full_version_keeps_its_requests(make_house):
    house = make_house(split(100, candidate=ALONE), limits=bounded(1))
    for _ in range(3):
        house.client(get())
    assert house.connecting == ["10.0.2.1"]
    assert house.dispatch.waiting.counts() == {"alone": 2}


def test_a_pinned_client_waits_for_its_own_instance(make_house):
    pin = Pin(NEW, NEW.instances[1])
    house = make_house(split(50, "named"), strategies={"named": Named(lambda client, split: pin)}, limits=bounded(1))
    for _ in range(3):
        house.client(get())
    assert house.connecting == ["10.0.1.2"], "its session is there"
    assert house.dispatch.waiting.counts() == {"new": 2}


def test_an_instance_that_cannot_be_reached_gives_its_places_to_another(make_house):
    house = make_house(split(0), limits=bounded(1))
    clients = [house.client(get()) for _ in range(3)]
    assert house.refuse() == "10.0.0.1"
    assert house.connecting == ["10.0.0.2"]
    served = 0
    instance = house.accept()
    for _ in range(6):
        while house.connecting:
            house.refuse()
        if b"GET" in instance.take():
            instance.send(answer())
    served = sum(status_of(got) == 200 for client in clients if (got := client.take()))
    assert served == 3


def test_what_is_tried_elsewhere_does_not_come_back_to_where_it_failed(make_house):
    house = make_house(split(0), limits=bounded(1))
    client, busy = house.client(get()), house.client(get())
    first, second = house.accept(), house.accept()
    first.reset()
    assert house.connecting == [], "the other one is full, so it waits for that"
    assert house.dispatch.waiting.counts() == {"old": 1}
    second.send(answer())
    assert status_of(busy.take()) == 200
    assert b"GET" in second.take()
    second.send(answer())
    assert status_of(client.take()) == 200


def test_nobody_knocks_without_end_where_no_connection_is_taken(make_house):
    house = make_house(split(0), limits=bounded(1))
    house.client(get()), house.client(get())
    house.accept(), house.accept()
    first, second = house.router.plan.stable.loads
    for load in (first, second):
        assert health.unreachable(load, house.deadlines.now)
    first.outstanding -= 1  # as if its request had ended
    waits = house.client(get())
    assert house.refuse() == "10.0.0.1"
    assert house.connecting == []
    assert house.dispatch.waiting.count == 1
    house.wait(6)
    assert status_of(waits.take()) == 503
    first.outstanding += 1


def test_who_waits_is_served_by_an_instance_that_comes_back(make_house):
    house = make_house(split(0), limits=bounded(1))
    house.client(get())
    assert house.refuse() == "10.0.0.1"
    house.accept()
    waits = house.client(get())
    assert house.dispatch.waiting.count == 1
    house.wait(2)
    assert house.connecting == ["10.0.0.1"]
    house.accept().send(answer())
    assert status_of(waits.take()) == 200


def test_a_new_instance_of_the_version_serves_who_waits(make_house):
    small = type(OLD)("old", 8080, OLD.instances[:1])
    house = make_house(split(0, stable=small), limits=bounded(1))
    house.client(get()), house.client(get())
    assert house.connecting == ["10.0.0.1"]
    house.follow(split(0))
    assert house.connecting == ["10.0.0.1", "10.0.0.2"]


def test_nobody_who_waits_is_sent_to_an_instance_that_is_to_be_asked_for_its_health_first(make_house):
    small = type(OLD)("old", 8080, OLD.instances[:1])
    house = make_house(split(0, stable=small), limits=bounded(1))
    house.client(get()), house.client(get())
    before = house.router.plan
    house.dispatch.follow(split(0), lambda: health.distrust(health.newcomers(before, house.router.plan)))
    house.loads.update(house.router.loads)
    house.turn()
    assert house.connecting == ["10.0.0.1"]
    (new,) = [load for load in house.router.loads if load.instance == OLD.instances[1]]
    health.probed(new, None, health.Check("/"), house.deadlines.now, health.Rules())
    house.wait(1)
    assert house.connecting == ["10.0.0.1", "10.0.0.2"]


@settings(max_examples=40, deadline=None)
@given(blend=st.integers(0, 100), most=st.integers(1, 3), steps=st.lists(st.integers(0, 9), max_size=60))
def test_the_blend_is_exact_and_the_bound_holds_whatever_waits(blend, most, steps):
    house = House(split(blend), limits=bounded(most, queue_length=1000, queue_seconds=1e6))
    flying, asked = deque(), 0
    for step in steps:
        if step < 7:
            house.client(get())
            asked += 1
        while house.connecting:
            house.accept()
        flying.extend(line for line in house.lines if line.wire.sent.startswith(b"GET") and line not in flying)
        if step >= 4 and flying:
            line = flying.popleft()
            line.wire.sent.clear()
            line.wire.inbound.append(answer())
            house.turn()
        assert all(load.outstanding <= most for load in house.loads)
        waits = house.dispatch.waiting.counts()
        taken = waits.get("new", 0)
        taken += sum(load.outstanding for load in house.router.plan.candidate.loads)
        taken += sum(one.placement.role is Role.CANDIDATE for one in house.score.over)
        assert abs(taken * 100 - asked * blend) < 100
    house.leave()
