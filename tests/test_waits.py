"""Every wait ends: the limits in seconds, by a clock that is turned by hand."""

from __future__ import annotations

import pytest

from rolling_router.proxy.limits import Limits
from tests.fakes import answer, body_of, get, post, status_of

LIMITS = Limits(head_seconds=3, idle_seconds=7, answer_seconds=11, body_seconds=5, pool_seconds=4, linger_seconds=2)


@pytest.fixture
def house(make_house):
    return make_house(limits=LIMITS)


def seconds_until(house, happened, most=40):
    """How long it took, to a quarter of a second."""
    for quarters in range(most * 4):
        if happened():
            return quarters / 4
        house.wait(0.25)
    raise AssertionError(f"it did not happen within {most} seconds")


def gone(end):
    return lambda: not end.is_open


def test_a_connection_on_which_nothing_comes_is_closed_without_a_word(house):
    client = house.client()
    assert 3 <= seconds_until(house, gone(client)) <= 4
    assert client.take() == b""


def test_a_head_that_does_not_come_to_its_end_is_a_request_timeout(house):
    client = house.client(b"GET / HT")
    assert 3 <= seconds_until(house, lambda: client.line.wire.sent) <= 4
    assert status_of(client.take()) == 408


def test_a_head_that_trickles_gets_no_more_time(house):
    client = house.client(b"GET / HTTP/1.1\r\n")
    for _ in range(30):
        client.send(b"x")
        house.wait(0.25)
    assert status_of(client.take()) == 408


def test_a_second_head_has_as_long_as_the_first(house):
    client, _ = house.exchange(get(), answer())
    client.take()
    house.wait(5)
    client.send(b"GET")
    assert 3 <= seconds_until(house, lambda: client.take()) <= 4


def test_a_kept_connection_is_closed_when_nothing_more_comes(house):
    client, _ = house.exchange(get(), answer())
    assert 7 <= seconds_until(house, gone(client)) <= 8


def test_blank_lines_do_not_make_a_request(house):
    client, _ = house.exchange(get(), answer())
    client.take()
    client.send(b"\r\n")
    seconds_until(house, gone(client))
    assert client.take() == b""


def test_a_body_that_falls_silent_is_a_request_timeout(house):
    client = house.client(post(b"abc", length=9))
    instance = house.accept()
    assert 5 <= seconds_until(house, lambda: client.line.wire.sent) <= 6
    assert status_of(client.take()) == 408
    assert not instance.is_open
    assert house.outstanding() == 0


def test_a_body_that_goes_on_slowly_may_take_for_ever(house):
    client = house.client(post(b"", length=20))
    instance = house.accept()
    for _ in range(20):
        house.wait(4)
        client.send(b"x")
    instance.send(answer())
    assert client.take() == answer()


def test_an_instance_that_does_not_answer_is_a_gateway_timeout(house):
    client = house.client(get())
    instance = house.accept()
    assert 11 <= seconds_until(house, lambda: client.line.wire.sent) <= 12
    got = client.take()
    assert status_of(got) == 504
    assert b"did not answer within 11 seconds" in got
    assert not instance.is_open
    assert client.is_open


def test_the_time_for_the_answer_begins_with_the_end_of_the_request(house):
    client = house.client(post(b"", length=20))
    house.accept()
    for _ in range(20):
        house.wait(1)
        client.send(b"x")
    assert 10 <= seconds_until(house, lambda: client.line.wire.sent) <= 12


def test_an_interim_answer_is_not_the_answer(house):
    client = house.client(get())
    house.accept().send(b"HTTP/1.1 102 Processing\r\n\r\n")
    client.take()
    assert 10 <= seconds_until(house, lambda: client.line.wire.sent[30:]) <= 12
    assert status_of(client.take()) == 504


def test_an_answer_that_falls_silent_is_cut(house):
    client, instance = house.exchange(get(), answer(b"hello")[:-2])
    assert 5 <= seconds_until(house, gone(client)) <= 6
    assert body_of(client.take()) == b"hel"
    assert not instance.is_open
    assert house.score.over[0].is_cut


def test_an_answer_that_goes_on_slowly_may_take_for_ever(house):
    client = house.client(get())
    instance = house.accept()
    instance.send(answer(b"x" * 20)[:-20])
    for _ in range(20):
        house.wait(4)
        instance.send(b"x")
    assert client.take() == answer(b"x" * 20)


def test_an_idle_connection_to_an_instance_is_closed_in_time(house):
    _, instance = house.exchange(get(), answer())
    assert 4 <= seconds_until(house, gone(instance)) <= 5


def test_a_client_that_takes_nothing_of_its_answer_is_cut(house):
    client = house.client(get())
    client.make_room(0)
    instance = house.accept()
    instance.send(answer(b"x" * 1_000_000)[:200_000])
    assert 5 <= seconds_until(house, gone(client)) <= 7
    assert not instance.is_open
    assert house.outstanding() == 0


def test_a_client_that_takes_nothing_is_cut_even_if_it_goes_on_talking(house):
    client = house.client(get())
    client.make_room(0)
    house.accept().send(answer(b"x" * 1_000_000)[:200_000])
    for _ in range(10):
        client.line.wire.inbound.append(b"GET / HTTP/1.1\r\n" if _ == 0 else b"X: y\r\n")
        house.wait(1)
    assert not client.is_open


def test_a_client_that_takes_its_answer_slowly_is_not_cut(house):
    client = house.client(get())
    client.make_room(0)
    instance = house.accept()
    instance.send(answer(b"x" * 300_000))
    for _ in range(31):
        house.wait(3)
        assert client.is_open
        client.make_room(10_000)
    client.make_room(None)
    assert client.take() == answer(b"x" * 300_000)
    assert client.is_open


def test_a_client_that_does_not_take_the_end_of_its_answer_is_cut(house):
    client = house.client(get(b"/", b"Connection: close"))
    client.make_room(0)
    house.accept().send(answer(b"x" * 1000))
    assert 5 <= seconds_until(house, gone(client)) <= 7


def test_an_instance_that_takes_nothing_of_the_body_is_a_gateway_timeout(house):
    client = house.client(post(b"", length=1_000_000))
    instance = house.accept()
    instance.make_room(0)
    client.send(*[b"x" * 50_000] * 4)
    assert 5 <= seconds_until(house, lambda: client.line.wire.sent) <= 7
    assert status_of(client.take()) == 504
    assert not instance.is_open


def test_an_instance_that_takes_the_body_slowly_is_given_the_time(house):
    client = house.client(post(b"", length=200_000))
    instance = house.accept()
    instance.make_room(0)
    client.send(*[b"x" * 50_000] * 4)
    for _ in range(21):
        house.wait(3)
        instance.make_room(10_000)
    assert client.is_open
    instance.make_room(None)
    instance.send(answer())
    assert client.take() == answer()


def test_an_instance_that_never_takes_what_is_left_of_a_request_is_let_go(house):
    client = house.client(post(b"x" * 40_000))
    instance = house.accept()
    instance.make_room(0)
    client.take()
    instance.send(answer(b"hello", b"Connection: close"))
    assert client.take() == answer()
    seconds_until(house, gone(instance))


def test_a_client_that_takes_its_refusal_to_the_last_byte_and_no_more_is_let_go(house):
    refused = b"GET / HTTP/1.1\r\n\r\n"
    whole = len(house.client(refused).take_all())
    house.wait(40)
    house.score.limits.clear()
    client = house.client()
    client.make_room(whole)  # a socket without room is closed by nobody but us
    client.send(refused)
    assert len(client.take_all()) == whole
    seconds_until(house, gone(client))
    assert house.score.limits == ["linger-seconds", "body-seconds"]


def test_which_limit_acted_is_counted(house):
    house.client()
    house.client(b"GET")
    house.wait(4)
    assert house.score.limits == ["head-seconds"] * 2
    house.wait(3)
    assert house.score.limits.pop() == "linger-seconds", "of the one that was told so and did not go"
    house.score.limits.clear()
    house.exchange(get(), answer())
    house.wait(5)
    assert house.score.limits == ["pool-seconds"]
    house.wait(4)
    assert house.score.limits == ["pool-seconds", "idle-seconds"]
    house.score.limits.clear()
    house.client(post(b"a", length=2))
    house.accept()
    house.wait(5.5)
    assert house.score.limits == ["body-seconds"]
    house.wait(10)
    house.score.limits.clear()
    house.client(get())
    house.accept()
    house.wait(12)
    assert house.score.limits == ["answer-seconds"]
    house.score.limits.clear()
    house.exchange(get(), answer()[:-1])
    house.wait(6)
    assert "body-seconds" in house.score.limits
    house.score.limits.clear()
    house.client(get())
    house.time_out()
    assert house.score.limits == ["connect-seconds"]


def test_a_kept_connection_that_is_about_to_end_is_not_used_again(make_house):
    house = make_house(limits=LIMITS)
    client, instance = house.exchange(get(), answer())
    instance.take()
    for _ in range(10):
        house.reactor.advance(0.5)  # its time is over, and nobody has come to its socket yet
    assert house.dispatch.idle == 0
    client.send(get(b"/again"))
    assert instance.take() == b""
    assert house.accept().take().startswith(b"GET /again ")


def test_an_instance_that_reads_nothing_more_and_falls_silent_in_its_answer_has_its_limit(make_house):
    house = make_house(limits=LIMITS)
    client = house.client(post(length=10_000_000))
    instance = house.accept()
    instance.make_room(0)
    client.send(*[b"x" * 60_000] * 4)
    instance.send(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nab")
    house.wait(LIMITS.body_seconds + 1)
    assert not instance.is_open
    assert not client.is_open
    assert house.score.limits == ["body-seconds"]
    assert house.outstanding() == 0


def test_empty_lines_win_no_time(make_house):
    house = make_house(limits=LIMITS)
    new, kept = house.client(), house.client(get())
    house.accept().send(answer())
    for second in range(6):
        for client in (new, kept):
            client.send(b"\r\n")
        house.wait(1)
        assert new.is_open == (second + 1 < LIMITS.head_seconds)
    house.wait(LIMITS.idle_seconds - 6 + 1)
    assert not kept.is_open
