"""What leaves gets nothing new, what is in flight ends, and streams are ended properly, a few at a time."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rolling_router.proxy.deadlines import TICK_SECONDS
from rolling_router.proxy.draining import how_many
from rolling_router.proxy.frames import GOING_AWAY
from rolling_router.proxy.tunnel import GOODBYE_SECONDS
from rolling_router.rollout.model import Snapshot
from tests.fakes import ALONE, NEW, OLD, ONE, answer, body_of, fields_of, get, status_of
from tests.test_tunnel import AGREES, ASKS

EVENTS = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream; charset=utf-8\r\nTransfer-Encoding: chunked\r\n\r\n"
OTHER = Snapshot("shop", stable=OLD)


def websocket(house):
    client = house.client(ASKS)
    instance = house.accept()
    instance.send(AGREES)
    client.take(), instance.take()
    return client, instance


def events(house, request=None, head=EVENTS):
    client = house.client(request or get(b"/events"))
    instance = house.accept()
    instance.send(head)
    return client, instance


@given(count=st.integers(0, 5000), seconds=st.floats(0, 60))
def test_all_are_ended_in_time_and_evenly(count, seconds):
    left, most = count, 0
    while seconds > 0 and left:
        ending = how_many(left, seconds)
        most = max(most, ending)
        left -= ending
        seconds -= TICK_SECONDS
    assert left == 0 or seconds <= 0 == left or how_many(left, seconds) == left
    assert how_many(left, 0) == left


def test_a_websocket_that_stays_in_the_middle_of_a_frame_ends_without_a_word(make_house):
    house = make_house(ONE, drain_seconds=5.0)
    client, instance = websocket(house)
    instance.send(b"\x82\x05hel")
    house.follow(OTHER)
    house.wait(4.5)
    assert client.is_open, "it has its time"
    house.wait(1.0 + GOODBYE_SECONDS)
    assert client.take() == b"\x82\x05hel", "in the middle of a frame nothing can be said"
    assert not client.is_open


def test_between_two_frames_it_is_said_at_once_and_both_sides_say_goodbye(make_house):
    house = make_house(ONE, drain_seconds=5.0)
    client, instance = websocket(house)
    house.follow(OTHER)
    house.wait(4.5)
    assert client.take() == b""
    house.wait(1.5)
    assert client.take() == GOING_AWAY
    instance.send(b"\x81\x02hi")
    assert client.take() == b"", "nothing follows a goodbye"
    client.send(b"\x88\x82mask..")
    assert instance.take() == b"\x88\x82mask..", "the client's goes to the instance, which then ends it"
    instance.close()
    assert not client.is_open
    assert house.outstanding() == 0


def test_in_the_middle_of_a_frame_it_is_said_behind_it(make_house):
    house = make_house(ONE, drain_seconds=1.0)
    client, instance = websocket(house)
    instance.send(b"\x82\x05hel")
    house.follow(OTHER)
    house.wait(2.0)
    instance.send(b"lo\x82\x05never")
    assert client.take() == b"\x82\x05hello" + GOING_AWAY


def test_who_says_no_goodbye_is_not_waited_for(make_house):
    house = make_house(ONE, drain_seconds=1.0)
    client, _ = websocket(house)
    house.follow(OTHER)
    house.wait(2.5 + GOODBYE_SECONDS)
    assert client.take() == GOING_AWAY
    assert not client.is_open


def test_an_instance_that_said_goodbye_itself_is_not_spoken_for(make_house):
    house = make_house(ONE, drain_seconds=1.0)
    client, instance = websocket(house)
    instance.send(b"\x88\x02\x03\xe8")
    house.follow(OTHER)
    house.wait(2.5 + GOODBYE_SECONDS)
    assert client.take() == b"\x88\x02\x03\xe8"
    assert not client.is_open


def test_another_protocol_ends_without_a_word(make_house):
    house = make_house(ONE, drain_seconds=1.0)
    client = house.client(ASKS.replace(b"websocket", b"other"))
    house.accept().send(AGREES.replace(b"websocket", b"other"))
    client.take()
    house.follow(OTHER)
    house.wait(3.0)
    assert (client.take(), client.is_open) == (b"", False)


def test_an_event_stream_ends_whole_and_its_connection_goes_on(make_house):
    house = make_house(ONE, drain_seconds=5.0)
    client, instance = events(house)
    instance.send(b"9\r\ndata: 1\n\n\r\n")
    house.follow(OTHER)
    house.wait(4.5)
    assert client.take().endswith(b"data: 1\n\n\r\n")
    house.wait(5.5)
    assert client.take() == b"0\r\n\r\n"
    assert (client.is_open, instance.is_open) == (True, False)
    assert not house.score.over[0].is_cut
    client.send(get())
    house.accept().send(answer())
    assert body_of(client.take()) == b"hello"


def test_an_event_stream_of_http_1_0_ends_with_its_connection(make_house):
    house = make_house(ONE, drain_seconds=1.0)
    client, _ = events(house, get(b"/events", version=b"1.0"))
    house.follow(OTHER)
    house.wait(3.0)
    assert not client.is_open


def test_what_ends_by_itself_is_let_end(make_house):
    house = make_house(ONE, drain_seconds=1.0)
    client, instance = events(house, head=EVENTS.replace(b"event-stream", b"plain"))
    long, other = house.client(get(b"/long")), house.accept()
    house.follow(OTHER)
    house.wait(30)
    instance.send(b"3\r\nend\r\n0\r\n\r\n")
    assert client.take().endswith(b"0\r\n\r\n")
    other.send(answer())
    assert body_of(long.take()) == b"hello"


def test_streams_on_instances_that_stay_go_on(make_house):
    house = make_house(Snapshot("shop", stable=OLD, candidate=NEW, blend=0), drain_seconds=1.0)
    client, _ = websocket(house)
    house.follow(OTHER)
    house.wait(30)
    assert (client.take(), client.is_open) == (b"", True)


def test_an_instance_that_comes_back_in_time_keeps_its_streams(make_house):
    house = make_house(ONE, drain_seconds=5.0)
    client, _ = websocket(house)
    house.follow(OTHER)
    assert house.gate.draining.what_is_left()
    house.wait(3)
    house.follow(ONE)
    house.wait(30)
    assert (client.take(), client.is_open) == (b"", True)


def test_what_is_left_is_told_and_ends_with_nil(make_house):
    house = make_house(ONE, drain_seconds=5.0)
    client, instance = house.client(get()), house.accept()
    house.follow(OTHER)
    ((load, left),) = house.gate.draining.what_is_left().items()
    assert (left.version, load.instance, load.outstanding) == ("alone", ALONE.instances[0], 1)
    instance.send(answer())
    assert house.gate.draining.what_is_left() == {}
    assert status_of(client.take()) == 200


def test_many_are_ended_over_some_time_and_not_as_one(make_house):
    house = make_house(ONE, drain_seconds=5.0)
    clients = [websocket(house)[0] for _ in range(40)]
    house.follow(OTHER)
    house.wait(4.5)
    told = []
    for _ in range(12):
        house.wait(0.5)
        told.append(sum(client.take() == GOING_AWAY for client in clients))
    assert sum(told) == 40
    assert max(told) <= 6, told
    assert house.gate.draining.ended == 40


# The router stops


def test_when_the_router_stops_websockets_are_told_within_its_time(make_house):
    house = make_house(ONE, drain_seconds=10.0)
    sides = [websocket(house) for _ in range(20)]
    stream, _ = events(house)
    drained = house.gate.drain()
    told = []
    for _ in range(16):
        house.wait(0.5)
        told.append(0)
        for client, instance in sides:
            if client.take() == GOING_AWAY:
                told[-1] += 1
                client.send(b"\x88\x82mask..")
                instance.close()
    assert (sum(told), drained.called) == (20, True)
    assert max(told) <= 4, told
    assert stream.take().endswith(b"0\r\n\r\n")


def test_a_first_request_that_has_come_but_was_not_read_is_served(house):
    client = house.client()
    client.line.wire.inbound.append(get())
    drained = house.gate.drain()
    house.turn()
    house.accept().send(answer())
    got = client.take()
    assert status_of(got) == 200
    assert (b"connection", b"close") in fields_of(got)
    assert drained.called


def test_so_is_the_next_one_of_a_kept_connection(house):
    client, instance = house.exchange(get(), answer())
    client.take()
    client.line.wire.inbound.append(get())
    house.gate.drain()
    house.turn()
    instance.send(answer())
    assert (b"connection", b"close") in fields_of(client.take())
    assert not client.is_open


def test_after_a_hand_over_who_has_an_answer_s_head_already_may_ask_once_more(house):
    """He was not told that the connection ends, so his next request may be on its way."""
    client = house.client(get())
    instance = house.accept()
    instance.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nb")
    drained = house.gate.drain(spares_idle=True)
    instance.send(b"b")
    assert (b"connection", b"close") not in fields_of(client.take())
    assert client.is_open
    client.send(get())
    instance.send(answer())
    assert (b"connection", b"close") in fields_of(client.take())
    assert not client.is_open
    assert drained.called


def test_after_a_hand_over_who_asks_no_more_is_let_go_in_the_end(house):
    client = house.client(get())
    instance = house.accept()
    instance.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nb")
    drained = house.gate.drain(spares_idle=True)
    instance.send(b"b")
    house.gate.close_idle()
    house.turn()
    assert not client.is_open
    assert drained.called


@pytest.mark.parametrize("half", [b"GET / HT", b"\r\n"])
def test_who_begins_and_goes_away_is_not_waited_for(house, half):
    client = house.client()
    client.line.wire.inbound.append(half)
    drained = house.gate.drain()
    house.turn()
    client.close()
    assert drained.called
