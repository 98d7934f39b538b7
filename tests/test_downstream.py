"""One client connection and what becomes of its requests: the engine in memory."""

from __future__ import annotations

import pytest
from twisted.internet.error import ConnectionDone

from rolling_router.proxy.closing import LINGER_MOST_SECONDS
from rolling_router.proxy.limits import Limits
from tests.fakes import answer, body_of, fields_of, first_line, get, post, status_of

CHUNKED = b"Transfer-Encoding: chunked"
HTTP_10 = b"GET / HTTP/1.0\r\n\r\n"


REFUSED_BY_A_LIMIT = {
    "line-bytes": get(b"/" + b"x" * 200),
    "head-bytes": get(b"/", b"X: " + b"x" * 1100),
    "head-fields": get(b"/", *[b"X: y"] * 11),
    "body-bytes": post(b"x" * 51),
    "chunk-framing": get(b"/", CHUNKED, method=b"POST") + (b"1;" + b"x" * 600 + b"\r\na\r\n") * 150,
}


@pytest.mark.parametrize("limit", REFUSED_BY_A_LIMIT)
def test_a_limit_that_acts_is_counted(make_house, limit):
    most = 50 if limit == "body-bytes" else 0
    house = make_house(limits=Limits(line_bytes=100, head_bytes=1000, head_fields=10, body_bytes=most))
    stream = REFUSED_BY_A_LIMIT[limit]
    client = house.client(*[stream[at : at + 60_000] for at in range(0, len(stream), 60_000)])
    while house.connecting:
        house.accept()
    client.take()
    assert house.score.limits == [limit]


# One request


def test_a_request_goes_to_an_instance_and_its_answer_to_the_client(house):
    client = house.client(get(b"/a?b=c", b"X-Odd: 1", b"x-odd: 2"))
    instance = house.accept()
    request = instance.take()
    assert first_line(request) == b"GET /a?b=c HTTP/1.1"
    assert b"Host: shop.test\r\nX-Odd: 1\r\nx-odd: 2\r\n" in request
    assert house.outstanding() == 1
    instance.send(answer(b"hello", b"Set-Cookie: a=1", b"set-cookie: b=2"))
    got = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nSet-Cookie: a=1\r\nset-cookie: b=2\r\n\r\nhello"
    assert client.take() == got
    assert house.outstanding() == 0
    assert client.is_open
    assert instance.is_open


def test_the_next_request_reuses_the_connection(house):
    client, instance = house.exchange(get(), answer())
    for at in range(5):
        instance.take(), client.take()
        client.send(get(b"/%d" % at))
        assert first_line(instance.take()) == b"GET /%d HTTP/1.1" % at
        instance.send(answer(b"%d" % at))
        assert body_of(client.take()) == b"%d" % at
    assert (house.score.opened, house.score.reused) == (1, 5)


def test_other_clients_reuse_it_too(house):
    house.exchange(get(), answer())
    house.client(get())
    assert (house.connecting, house.score.reused) == ([], 1)


def test_an_answer_that_comes_byte_by_byte_arrives_the_same(house):
    client = house.client(*[bytes((one,)) for one in get(b"/x")])
    instance = house.accept()
    instance.send(*[bytes((one,)) for one in answer(b"hello")])
    assert client.take() == answer(b"hello")


def test_pipelined_requests_are_answered_one_by_one_in_order(house):
    client = house.client(get(b"/1") + get(b"/2") + get(b"/3"))
    instance = house.accept()
    for at in (1, 2, 3):
        assert first_line(instance.take()) == b"GET /%d HTTP/1.1" % at
        assert house.outstanding() == 1
        instance.send(answer(b"%d" % at))
    assert client.take() == answer(b"1") + answer(b"2") + answer(b"3")


def test_while_requests_wait_the_client_is_not_read_from(house):
    client = house.client(get(b"/1") + get(b"/2"))
    instance = house.accept()
    assert not client.line.is_reading
    instance.send(answer())
    assert client.line.is_reading


def test_the_answer_to_a_head_has_no_body_and_the_connection_stays(house):
    client = house.client(get(method=b"HEAD") + get(b"/next"))
    instance = house.accept()
    instance.send(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n")
    assert client.take() == b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n"
    instance.send(answer(b"next"))
    assert client.take() == answer(b"next")


@pytest.mark.parametrize("status", [b"204 No Content", b"304 Not Modified"])
def test_answers_that_have_no_body_end_with_their_head(house, status):
    client, instance = house.exchange(get(), b"HTTP/1.1 " + status + b"\r\nETag: x\r\n\r\n")
    assert client.take() == b"HTTP/1.1 " + status + b"\r\nETag: x\r\n\r\n"
    assert (client.is_open, instance.is_open) == (True, True)
    assert house.outstanding() == 0


def test_interim_answers_are_passed_on(house):
    client = house.client(get())
    instance = house.accept()
    instance.send(b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n")
    assert client.take() == b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"
    instance.send(answer())
    assert client.take() == answer()


def test_a_client_of_http_1_0_gets_no_interim_answer_and_a_connection_that_closes(house):
    client, _ = house.exchange(HTTP_10, b"HTTP/1.1 103 Early Hints\r\n\r\n" + answer())
    assert client.take() == b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello"
    assert not client.is_open


def test_a_client_of_http_1_0_may_ask_to_keep_its_connection(house):
    client, instance = house.exchange(get(b"/", b"Connection: keep-alive", version=b"1.0"), answer())
    assert (b"connection", b"keep-alive") in fields_of(client.take())
    client.send(get(b"/", version=b"1.0"))
    instance.send(answer())
    assert not client.is_open


def test_the_instance_is_named_to_itself_where_a_client_of_http_1_0_names_no_host(house):
    house.client(HTTP_10)
    assert (b"host", b"10.0.2.1:80") in fields_of(house.accept().take())


def test_connection_close_is_honoured(house):
    client, instance = house.exchange(get(b"/", b"Connection: close"), answer())
    assert (b"connection", b"close") in fields_of(client.take())
    assert not client.is_open
    assert instance.is_open


# Requests with a body


def test_a_body_of_known_length_is_streamed(house):
    client = house.client(post(b"abc", length=9))
    instance = house.accept()
    assert body_of(instance.take()) == b"abc"
    client.send(b"def")
    assert instance.take() == b"def"
    client.send(b"ghi" + get(b"/next"))
    assert instance.take() == b"ghi"
    instance.send(answer())
    assert first_line(instance.take()) == b"GET /next HTTP/1.1"
    assert house.score.over[0].bytes_in == 9


def test_a_chunked_body_is_streamed_with_its_trailers(house):
    client = house.client(get(b"/", CHUNKED, method=b"POST") + b"3\r\nabc\r\n")
    instance = house.accept()
    assert body_of(instance.take()) == b"3\r\nabc\r\n"
    client.send(b"2;ext=1\r\nde\r\n1\r\n", b"f\r\n")
    assert instance.take() == b"2\r\nde\r\n1\r\nf\r\n"
    client.send(b"0\r\nX-Sum: 6\r\n\r\n")
    assert instance.take() == b"0\r\nX-Sum: 6\r\n\r\n"
    instance.send(answer())
    assert status_of(client.take()) == 200


def test_what_comes_while_connecting_is_kept_and_then_sent(house):
    client = house.client(post(b"abc", length=6))
    assert not client.line.is_reading
    client.send(b"def")
    instance = house.accept()
    assert body_of(instance.take()) == b"abcdef"


def test_expect_continue_is_left_to_the_instance(house):
    client = house.client(post(b"", b"Expect: 100-continue", length=3))
    instance = house.accept()
    assert (b"expect", b"100-continue") in fields_of(instance.take())
    instance.send(b"HTTP/1.1 100 Continue\r\n\r\n")
    assert client.take() == b"HTTP/1.1 100 Continue\r\n\r\n"
    client.send(b"abc")
    assert instance.take() == b"abc"
    instance.send(answer())
    assert client.take() == answer()


@pytest.mark.parametrize("status", [b"200 OK", b"413 Content Too Large"])
def test_an_answer_ahead_of_the_body_is_passed_on_and_the_connection_then_closed(house, status):
    client = house.client(post(b"abc", length=1000))
    instance = house.accept()
    instance.send(answer(b"early", status=status))
    got = client.take()
    assert first_line(got) == b"HTTP/1.1 " + status
    assert (b"connection", b"close") in fields_of(got)
    assert not instance.is_open
    assert house.outstanding() == 0
    # It lingers: a client that still sends must not be reset before it has read the answer.
    assert client.line.wire.is_half_closed
    assert client.is_open
    client.send(b"x" * 500)
    assert client.is_open
    client.close()
    assert not client.is_open


def test_lingering_has_an_end(house):
    client = house.client(post(b"abc", length=1000))
    house.accept().send(answer(b"early"))
    house.wait(house.limits.linger_seconds + 1)
    assert not client.is_open
    assert house.score.limits == ["linger-seconds"]


def test_lingering_goes_on_while_the_client_sends(house):
    client = house.client(post(b"abc", length=1000))
    house.accept().reset()
    for _ in range(20):  # an upload slower than any patience with silence
        house.wait(house.limits.linger_seconds * 0.5)
        client.send(b"x")
        assert client.is_open
    assert status_of(client.take()) == 502
    house.wait(house.limits.linger_seconds + 1)
    assert client.end is ConnectionDone, "a reset could take the answer away from a client that reads late"


def test_lingering_has_an_end_whatever_the_client_sends(house):
    client = house.client(post(b"abc", length=1000))
    house.accept().reset()
    began = house.reactor.seconds()
    while client.is_open:
        house.wait(1)
        client.send(b"x")
        assert house.reactor.seconds() - began < LINGER_MOST_SECONDS + 2
    assert house.reactor.seconds() - began >= LINGER_MOST_SECONDS


def test_the_body_after_an_early_head_may_take_its_time(house):
    client = house.client(post(b"a", length=100))
    instance = house.accept()
    instance.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n")
    for _ in range(99):  # an upload that goes on for longer than an answer may be silent
        house.wait(1)
        client.send(b"a")
    instance.send(b"0\r\n\r\n")
    assert client.take().endswith(b"\r\n\r\n2\r\nhi\r\n0\r\n\r\n")
    assert not client.is_open


def test_an_instance_that_falls_silent_after_an_upload_with_an_early_head_is_cut(house):
    client = house.client(post(b"a", length=2))
    instance = house.accept()
    instance.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n")
    client.send(b"a")
    house.wait(house.limits.body_seconds + 1)
    assert (client.is_open, instance.is_open) == (False, False)
    assert house.score.over[0].is_cut


# Answers of other kinds


def test_an_answer_until_the_close_is_chunked_for_http_1_1(house):
    client = house.client(get())
    instance = house.accept()
    instance.send(b"HTTP/1.0 200 OK\r\n\r\nab", b"cde")
    assert client.take() == b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n3\r\ncde\r\n"
    instance.close()
    assert client.take() == b"0\r\n\r\n"
    assert client.is_open


def test_an_answer_until_the_close_is_that_for_http_1_0_too(house):
    client = house.client(get(b"/", b"Connection: keep-alive", version=b"1.0"))
    instance = house.accept()
    instance.send(b"HTTP/1.0 200 OK\r\n\r\nab")
    instance.close()
    assert client.take() == b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nab"
    assert not client.is_open
    assert not house.score.over[0].is_cut


def test_a_chunked_answer_keeps_its_trailers(house):
    chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nX: y\r\n\r\n"
    client, _ = house.exchange(get(), chunked)
    assert body_of(client.take()) == b"3\r\nabc\r\n0\r\nX: y\r\n\r\n"
    assert client.is_open


def test_a_chunked_answer_is_unwrapped_for_http_1_0(house):
    client, _ = house.exchange(HTTP_10, b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n")
    assert client.take() == b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nabc"
    assert not client.is_open


def test_the_instance_may_close_without_the_client_noticing(house):
    client, instance = house.exchange(get(), answer(b"hello", b"Connection: close", b"Keep-Alive: timeout=5"))
    assert client.take() == answer()
    assert (client.is_open, instance.is_open) == (True, False)


def test_a_connection_with_more_in_it_than_was_asked_for_is_not_used_again(house):
    client, instance = house.exchange(get(), answer() + answer(b"not asked for"))
    assert client.take() == answer()
    assert (client.is_open, instance.is_open) == (True, False)


def test_an_idle_instance_that_speaks_unasked_is_dropped(house):
    _, instance = house.exchange(get(), answer())
    instance.send(answer(b"out of the blue"))
    assert not instance.is_open
    client = house.client(get())
    house.accept().send(answer(b"asked"))
    assert body_of(client.take()) == b"asked"


def test_a_date_is_added_where_an_instance_gives_none_and_to_the_router_s_own_answers(house):
    for _ in range(4):  # known heads, too
        client = house.client(get())
        if house.connecting:
            instance = house.accept()
        instance.send(answer())
        assert (b"date", b"Thu, 01 Jan 1970 00:00:00 GMT") in fields_of(client.take_all())
    client = house.client(get())
    instance.send(answer(b"hello", b"Date: theirs"))
    assert [value for name, value in fields_of(client.take_all()) if name == b"date"] == [b"theirs"]
    client = house.client(b"nonsense\r\n\r\n")
    assert (b"date", b"Thu, 01 Jan 1970 00:00:00 GMT") in fields_of(client.take_all())


def test_after_an_answer_without_a_body_it_is_looked_whether_one_came(house):
    client = house.client(get(method=b"HEAD"))
    instance = house.accept()
    instance.send(b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\n")
    client.take()
    instance.line.stopReading()  # the reactor has not come round to reporting it
    instance.send(answer(b"for whoever asks next"))
    client.send(get())
    house.accept().send(answer(b"asked"))
    assert body_of(client.take()) == b"asked"


@pytest.mark.parametrize("field", [b"Content-Length: 5", b"Transfer-Encoding: chunked"])
def test_a_204_with_a_body_does_not_keep_its_connection(house, field):
    client, instance = house.exchange(get(), b"HTTP/1.1 204 No Content\r\n" + field + b"\r\n\r\n")
    assert (status_of(client.take()), client.is_open, instance.is_open) == (204, True, False)


def test_so_many_requests_and_the_connection_ends_in_good_order(make_house):
    house = make_house(limits=Limits(requests_per_connection=2))
    client, instance = house.exchange(get(), answer())
    assert (b"connection", b"close") not in fields_of(client.take())
    client.send(get())
    instance.send(answer())
    assert (b"connection", b"close") in fields_of(client.take())
    assert (client.is_open, house.score.limits) == (False, ["requests-per-connection"])


# Instances that fail


def test_a_get_is_sent_again_when_the_kept_connection_was_closed_just_then(house):
    client, instance = house.exchange(get(), answer())
    client.take()
    client.send(get(b"/again"))
    instance.close()
    second = house.accept()
    assert first_line(second.take()) == b"GET /again HTTP/1.1"
    assert house.outstanding() == 1
    second.send(answer(b"again"))
    assert client.take() == answer(b"again")
    assert house.score.over[-1].retries == 1


def test_a_post_is_not_sent_again(house):
    client, instance = house.exchange(get(), answer())
    client.take()
    client.send(post(b"abc"))
    instance.close()
    assert house.connecting == []
    assert status_of(client.take()) == 502
    assert client.is_open


def test_a_put_whose_body_was_sent_is_not_sent_again(house):
    client, instance = house.exchange(get(), answer())
    client.take()
    client.send(post(b"abc").replace(b"POST", b"PUT"))
    instance.close()
    assert status_of(client.take()) == 502


def test_a_post_takes_a_new_connection_where_the_kept_one_has_hung_up_unnoticed(house):
    client, instance = house.exchange(get(), answer())
    client.take()
    instance.line.stopReading()  # the reactor has not come round to reporting it
    instance.close()
    client.send(post(b"abc"))
    second = house.accept()
    assert body_of(second.take()) == b"abc"
    second.send(answer())
    assert client.take() == answer()


def test_an_instance_that_closes_a_new_connection_is_a_bad_gateway(house):
    client = house.client(get())
    house.accept().close()
    got = client.take()
    assert status_of(got) == 502
    assert b"closed the connection without an answer" in got
    assert client.is_open


def test_an_instance_that_breaks_off_inside_the_head_is_a_bad_gateway(house):
    client, instance = house.exchange(get(), b"HTTP/1.1 200 OK\r\nContent-Le")
    instance.close()
    assert b"broke off its answer" in client.take()


def test_an_instance_that_answers_nonsense_is_a_bad_gateway(house):
    client, instance = house.exchange(get(), b"220 mail.test ESMTP\r\n")
    got = client.take()
    assert status_of(got) == 502
    assert b"not well-formed HTTP" in got
    assert not instance.is_open


def test_a_change_of_protocol_that_nobody_asked_for_is_a_bad_gateway(house):
    client, _ = house.exchange(get(), b"HTTP/1.1 101 Switching\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n")
    assert status_of(client.take()) == 502


@pytest.mark.parametrize(
    "cut",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n",
    ],
)
def test_an_answer_cut_short_is_cut_short_for_the_client_too(house, cut):
    client, instance = house.exchange(get() + get(b"/next"), cut)
    instance.close()
    assert client.take() == cut
    assert not client.is_open
    assert house.score.over[0].is_cut
    assert house.connecting == []


def test_a_reset_in_an_answer_until_the_close_does_not_look_like_its_end(house):
    for request, got in ((get(), b"3\r\nabc\r\n"), (HTTP_10, b"abc")):
        client, instance = house.exchange(request, b"HTTP/1.0 200 OK\r\n\r\nabc")
        instance.reset()
        assert body_of(client.take()) == got
        assert not client.is_open
        assert house.score.over[-1].is_cut


def test_a_chunked_answer_cut_short_is_reset_for_http_1_0(house):
    client, instance = house.exchange(HTTP_10, b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n")
    instance.close()
    assert body_of(client.take()) == b"abc"
    assert client.end.__name__ == "ConnectionAborted"


def test_an_answer_that_turns_into_nonsense_is_cut(house):
    client, instance = house.exchange(
        get(), b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\nnonsense\r\n"
    )
    assert body_of(client.take()) == b"3\r\nabc\r\n"
    assert (client.is_open, instance.is_open) == (False, False)


# Answers of the router's own


def test_what_is_no_request_is_refused_and_reaches_no_instance(house):
    client = house.client(b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n")
    got = client.take()
    assert status_of(got) == 400
    assert (b"connection", b"close") in fields_of(got)
    assert dict(fields_of(got))[b"x-request-id"] in body_of(got)
    assert house.connecting == []
    client.close()


def test_requests_before_a_malformed_one_are_answered_first(house):
    client = house.client(get() + b"nonsense\r\n\r\n")
    house.accept().send(answer())
    got = client.take()
    assert got.startswith(answer() + b"HTTP/1.1 400 Bad Request\r\n")


def test_a_request_that_goes_wrong_in_its_body_is_refused_and_its_instance_let_go(house):
    client = house.client(get(b"/", CHUNKED, method=b"POST") + b"3\r\nabc\r\n")
    instance = house.accept()
    client.send(b"nonsense\r\n")
    assert status_of(client.take()) == 400
    assert not instance.is_open


def test_a_request_that_goes_wrong_while_connecting_is_refused(house):
    client = house.client(get(b"/", CHUNKED, method=b"POST") + b"nonsense\r\n")
    assert status_of(client.take()) == 400
    instance = house.accept()
    assert instance.take() == b""


def test_a_body_that_is_too_long_is_refused(make_house):
    house = make_house(limits=Limits(body_bytes=5))
    assert status_of(house.client(post(b"123456")).take()) == 413
    assert house.connecting == []
    house.client(post(b"12345"))
    assert house.connecting == ["10.0.2.1"]


def test_the_refusal_of_a_head_has_no_body(make_house):
    house = make_house(limits=Limits(answer_seconds=1))
    client = house.client(get(method=b"HEAD"))
    house.accept().close()
    got = client.take()
    assert status_of(got) == 502
    assert body_of(got) == b""
    assert int(dict(fields_of(got))[b"content-length"]) > 0
    assert client.is_open


# Clients that leave


def test_a_client_that_leaves_while_connecting_leaves_nothing_outstanding(house):
    client = house.client(get())
    client.close()
    assert house.outstanding() == 0
    instance = house.accept()
    assert instance.take() == b""
    house.client(get())
    assert instance.take() != b"", "the connection is there, so the next request takes it"
    assert house.score.over[0].is_cut


def test_a_connection_that_nobody_ever_used_grows_old_too(house):
    house.client(get()).close()
    instance = house.accept()
    house.wait(house.limits.pool_seconds + 1)
    assert not instance.is_open


def test_a_client_that_leaves_while_connecting_is_not_placed_again(house):
    client = house.client(get())
    client.close()
    house.refuse()
    assert house.connecting == []


@pytest.mark.parametrize("sent", [b"", answer(b"abcdefghi")[:-6]], ids=["waiting", "streaming"])
def test_a_client_that_leaves_lets_its_instance_go(house, sent):
    client, instance = house.exchange(get(), sent)
    client.reset()
    assert house.outstanding() == 0
    assert not instance.is_open
    assert house.score.over[0].is_cut


def test_a_client_that_leaves_inside_its_body_lets_its_instance_go(house):
    client = house.client(post(b"abc", length=9))
    instance = house.accept()
    client.reset()
    assert (house.outstanding(), instance.is_open) == (0, False)


def test_a_client_that_leaves_with_requests_waiting_has_only_the_first_one_sent(house):
    client = house.client(get() + get() + get())
    instance = house.accept()
    client.line.startReading()
    client.close()
    assert len(house.score.over) == 1
    assert not instance.is_open
