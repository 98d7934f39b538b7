"""Framing, by raw sockets: whatever way a message is cut up, exactly it reaches the other side, and nothing else."""

from __future__ import annotations

import re

import pytest

from .conftest import StartInstance, StartRouter
from .instance import Call, Instance
from .router import Router, rollout, until
from .wire import chunked, get, post


@pytest.fixture(scope="module")
def instance(start_instance: StartInstance) -> Instance:
    return start_instance()


@pytest.fixture(scope="module")
def router(start_router: StartRouter, instance: Instance) -> Router:
    return start_router(rollout([instance]))


# Connections


def test_a_client_keeps_its_connection_and_so_does_the_instance(router: Router, instance: Instance) -> None:
    with router.wire() as wire:
        first = wire.ask(get())
        before = instance.connections
        assert [wire.ask(get()).body for _ in range(20)] == [b"1.0 a\n"] * 20
    assert first.all(b"Connection") == []
    assert instance.connections == before


def test_pipelined_requests_are_answered_in_their_order(router: Router, instance: Instance) -> None:
    def echo_target(call: Call) -> None:
        call.answer(call.target)

    instance.on("/order", echo_target)
    with router.wire() as wire:
        wire.send(b"".join(get(f"/order?{n}") for n in range(200)))
        assert [wire.answer().body for _ in range(200)] == [b"/order?%d" % n for n in range(200)]


def test_pipelined_requests_with_bodies_of_all_kinds_do_not_mix(router: Router) -> None:
    requests = [
        post(b"x" * 70_000),
        get("/", method="HEAD"),
        get("/", "Transfer-Encoding: chunked", method="PUT") + chunked(b"a" * 10, b"b" * 20),
        get(),
        post(b""),
    ]
    with router.wire() as wire:
        wire.send(b"".join(requests))
        answers = [wire.answer(raw.startswith(b"HEAD")) for raw in requests]
    assert [answer.one(b"X-Length") for answer in answers] == [b"70000", b"0", b"30", b"0", b"0"]


def test_connection_close_is_obeyed_and_said(router: Router) -> None:
    with router.wire() as wire:
        answer = wire.ask(get("/", "Connection: close"))
        assert answer.one(b"Connection") == b"close"
        assert wire.is_closed()


def test_http_1_0_is_answered_and_closed_and_needs_no_host(router: Router, instance: Instance) -> None:
    with router.wire() as wire:
        answer = wire.ask(b"GET /old HTTP/1.0\r\n\r\n")
        assert (answer.status, answer.body) == (200, b"1.0 a\n")
        assert wire.is_closed()
    assert instance.calls[-1].head.startswith(b"GET /old HTTP/1.1\r\n")
    assert instance.calls[-1].one(b"Host") == instance.address.encode()


def test_http_1_0_keeps_the_connection_where_it_asks_to(router: Router) -> None:
    with router.wire() as wire:
        for _ in range(3):
            answer = wire.ask(get("/", "Connection: keep-alive", minor=0))
            assert answer.one(b"Connection") == b"keep-alive"


def test_http_1_0_gets_no_chunks_but_an_end(router: Router, instance: Instance) -> None:
    instance.on("/chunks", lambda call: call.answer_chunked(b"one", b"two", trailers=b"X-T: 1\r\n"))
    with router.wire() as wire:
        answer = wire.ask(get("/chunks", "Connection: keep-alive", minor=0))
        assert (answer.framing, answer.body) == ("close", b"onetwo")
        assert answer.one(b"Connection") == b"close"


def test_a_client_that_is_silent_after_its_request_is_not_asked_to_hurry(
    start_router: StartRouter, instance: Instance
) -> None:
    router = start_router(rollout([instance]), "--head-seconds", "2", "--idle-seconds", "3")
    with router.wire() as wire:
        wire.ask(post(b"x" * 40_000))  # more than a head may have, in one read
        assert wire.ask(get()).status == 200
        assert wire.is_closed()  # after the silence of a kept client, and without a word


# Bodies


def test_chunks_and_trailers_go_up(router: Router, instance: Instance) -> None:
    with router.wire() as wire:
        body = chunked(b"hello ", b"world", trailers=b"X-Sum: 42\r\nX-Sum: 43\r\n")
        wire.ask(get("/", "Transfer-Encoding: chunked", "Trailer: X-Sum", method="POST") + body)
    call = instance.calls[-1]
    assert call.body == b"hello world"
    assert call.trailers == [(b"X-Sum", b"42"), (b"X-Sum", b"43")]
    assert call.one(b"Trailer") == b"X-Sum"


def test_chunks_and_trailers_come_down(router: Router, instance: Instance) -> None:
    instance.on("/down", lambda call: call.answer_chunked(b"a" * 100_000, b"b", trailers=b"X-T: 1\r\nX-U: 2\r\n"))
    with router.wire() as wire:
        for _ in range(2):
            answer = wire.ask(get("/down"))
            assert (answer.framing, answer.body) == ("chunked", b"a" * 100_000 + b"b")
            assert answer.trailers == [(b"X-T", b"1"), (b"X-U", b"2")]


def test_chunk_extensions_and_odd_sizes_are_understood(router: Router, instance: Instance) -> None:
    with router.wire() as wire:
        wire.ask(
            get("/", "Transfer-Encoding: chunked", method="POST")
            + b"0005;a=b;c\r\nhello\r\nA\r\n0123456789\r\n0\r\n\r\n"
        )
    assert instance.calls[-1].body == b"hello0123456789"


def test_an_answer_that_ends_with_the_connection_is_chunked_for_the_client(router: Router, instance: Instance) -> None:
    def to_close(call: Call) -> None:
        call.send(b"HTTP/1.1 200 OK\r\nX-Kind: to close\r\n\r\n" + b"z" * 50_000)
        call.close()

    instance.on("/to-close", to_close)
    with router.wire() as wire:
        answer = wire.ask(get("/to-close"))
        assert (answer.framing, answer.body, answer.is_cut) == ("chunked", b"z" * 50_000, False)
        assert wire.ask(get()).status == 200


def test_an_instance_that_speaks_http_1_0_is_understood(router: Router, instance: Instance) -> None:
    def old(call: Call) -> None:
        call.send(b"HTTP/1.0 200 Fine\r\nContent-Length: 4\r\n\r\nold!")
        assert call.is_left()

    instance.on("/http-1.0", old)
    with router.wire() as wire:
        answer = wire.ask(get("/http-1.0"))
        assert (answer.phrase, answer.body) == (b"Fine", b"old!")
        assert wire.ask(get()).status == 200


@pytest.mark.parametrize("framing", ["Content-Length: 5000", "Transfer-Encoding: chunked", "X-None: 1"])
def test_head_has_the_fields_and_no_body(router: Router, instance: Instance, framing: str) -> None:
    def head(call: Call) -> None:
        call.send(b"HTTP/1.1 200 OK\r\n" + framing.encode() + b"\r\n\r\n")

    instance.on("/head", head)
    name, _, value = framing.partition(": ")
    with router.wire() as wire:
        for _ in range(2):
            assert wire.ask(get("/head", method="HEAD")).one(name.encode()) == value.encode()
        assert wire.ask(get()).body == b"1.0 a\n"


@pytest.mark.parametrize("status", ["204 No Content", "304 Not Modified"])
@pytest.mark.parametrize("field", [b"", b"Content-Length: 77\r\n", b'ETag: "e"\r\n'])
def test_statuses_without_a_body_have_none(router: Router, instance: Instance, status: str, field: bytes) -> None:
    if status.startswith("204") and field.startswith(b"Content-Length"):
        field = b""  # RFC 9110 forbids it, and what follows would be anybody's guess
    instance.on("/none", lambda call: call.send(b"HTTP/1.1 " + status.encode() + b"\r\n" + field + b"\r\n"))
    with router.wire() as wire:
        assert wire.ask(get("/none")).status == int(status[:3])
        assert wire.ask(get()).body == b"1.0 a\n"


def test_an_empty_body_of_known_length_is_over_at_once(router: Router, instance: Instance) -> None:
    instance.on("/empty", lambda call: call.answer())
    with router.wire() as wire:
        assert [wire.ask(get("/empty")).body for _ in range(3)] == [b""] * 3


# Interim answers


def test_100_continue_comes_from_the_instance_and_then_the_body_goes(router: Router, instance: Instance) -> None:
    def ask_for_it(call: Call) -> None:
        assert call.one(b"Expect") == b"100-continue"
        call.send(b"HTTP/1.1 100 Continue\r\n\r\n")
        call.answer(call.read_body())

    instance.on("/continue", ask_for_it)
    with router.wire() as wire:
        for _ in range(2):
            wire.send(get("/continue", "Content-Length: 5", "Expect: 100-continue", method="PUT"))
            assert wire.any_answer().status == 100
            wire.send(b"later")
            assert wire.any_answer().body == b"later"


@pytest.mark.parametrize("status", ["417 Expectation Failed", "413 Content Too Large"])
def test_an_instance_may_refuse_a_body_before_it_is_sent(router: Router, instance: Instance, status: str) -> None:
    instance.on("/refuse", lambda call: (call.answer(b"no", status=status), call.close())[0])
    with router.wire() as wire:
        answer = wire.ask(get("/refuse", "Content-Length: 5000000", "Expect: 100-continue", method="PUT"))
        assert (answer.status, answer.body) == (int(status[:3]), b"no")
        # The body may come or not, so nothing that follows could be told from it.
        assert answer.one(b"Connection") == b"close"
        assert wire.is_closed()


def test_a_refusal_is_heard_by_a_client_that_is_still_sending(router: Router, instance: Instance) -> None:
    instance.on("/too-large", lambda call: (call.answer(b"no", status="413 Content Too Large"), call.close())[0])
    with router.wire() as wire:
        wire.send(get("/too-large", "Content-Length: 50000000", method="POST") + b"x" * 1_000_000)
        assert (wire.answer().status, wire.is_closed()) == (413, True)


def test_early_hints_are_passed_on(router: Router, instance: Instance) -> None:
    def hint(call: Call) -> None:
        call.send(b"HTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\nLink: </b.css>; rel=preload\r\n\r\n")
        call.send(b"HTTP/1.1 103 Early Hints\r\nLink: </c.css>\r\n\r\n")
        call.answer(b"page")

    instance.on("/hints", hint)
    with router.wire() as wire:
        wire.send(get("/hints"))
        first, second, page = (wire.any_answer() for _ in range(3))
    assert (first.status, first.all(b"Link")) == (103, [b"</a.css>; rel=preload", b"</b.css>; rel=preload"])
    assert (second.status, second.all(b"Link")) == (103, [b"</c.css>"])
    assert (page.status, page.body) == (200, b"page")


def test_http_1_0_is_spared_interim_answers(router: Router, instance: Instance) -> None:
    instance.on("/hint", lambda call: (call.send(b"HTTP/1.1 103 Early Hints\r\n\r\n"), call.answer(b"page"))[0])
    with router.wire() as wire:
        assert wire.send(get("/hint", minor=0)).any_answer().body == b"page"


def test_extension_methods_reach_the_instance(router: Router, instance: Instance) -> None:
    with router.wire() as wire:
        wire.send(get("/odd", method="FROB") + post(b"body", target="/odd", method="VERSION-CONTROL") + get("/odd"))
        assert [wire.answer().one(b"X-Length") for _ in range(3)] == [b"0", b"4", b"0"]
    assert [call.method for call in instance.calls[-3:]] == [b"FROB", b"VERSION-CONTROL", b"GET"]


# Segments


def test_a_request_may_come_one_byte_at_a_time(router: Router, instance: Instance) -> None:
    raw = get("/bytes", "Transfer-Encoding: chunked", "X-Long: " + "v" * 50, method="POST") + chunked(b"abc", b"de")
    with router.wire() as wire:
        for at in range(len(raw)):
            wire.send(raw[at : at + 1])
        assert wire.answer().one(b"X-Length") == b"5"
    assert instance.calls[-1].one(b"X-Long") == b"v" * 50


def test_a_request_may_be_split_anywhere(router: Router, instance: Instance) -> None:
    raw = get("/split?q=1", "X-A: b", "Content-Length: 4", method="POST") + b"body"
    with router.wire() as wire:
        for at in range(1, len(raw)):
            wire.send(raw[:at])
            wire.send(raw[at:])
            assert wire.answer().one(b"X-Length") == b"4", at
    assert {call.body for call in instance.calls if call.target == b"/split?q=1"} == {b"body"}


def test_the_end_of_one_request_and_the_start_of_the_next_may_share_a_segment(router: Router) -> None:
    first, second = post(b"first"), post(b"second!")
    with router.wire() as wire:
        for at in range(1, len(second)):
            wire.send(first + second[:at])
            assert wire.answer().one(b"X-Length") == b"5", at
            wire.send(second[at:])
            assert wire.answer().one(b"X-Length") == b"7", at


def test_an_answer_may_be_split_anywhere(router: Router, instance: Instance) -> None:
    raw = b"HTTP/1.1 200 OK\r\nX-A: b\r\nTransfer-Encoding: chunked\r\n\r\n" + chunked(
        b"abc", b"de", trailers=b"T: 1\r\n"
    )

    def split(call: Call) -> None:
        at = int(call.target.partition(b"?")[2])
        call.send(raw[:at])
        call.send(raw[at:])

    instance.on("/answer-split", split)
    with router.wire() as wire:
        for at in range(1, len(raw)):
            answer = wire.ask(get(f"/answer-split?{at}"))
            assert (answer.body, answer.trailers) == (b"abcde", [(b"T", b"1")]), at


# Heads, as they came


def test_fields_reach_the_instance_in_their_order_case_and_number(router: Router, instance: Instance) -> None:
    lines = [
        "X-Zed: 1",
        "accept: a",
        "ACCEPT: b",
        "x-MiXed: \xe9\xff",
        "X-Zed: 2",
        "Cookie: a=1",
        "Cookie: b=2",
        "X-Empty:",
    ]
    router.ask(get("/as-sent", *lines))
    fields = instance.calls[-1].fields
    assert [b"%b: %b" % field for field in fields[:-4]] == [
        line.encode("latin-1") + (b" " if line.endswith(":") else b"") for line in ["Host: shop.example", *lines]
    ]
    assert [name for name, _ in fields[-4:]] == [
        b"X-Forwarded-For",
        b"X-Forwarded-Proto",
        b"X-Forwarded-Host",
        b"X-Request-ID",
    ]


@pytest.mark.parametrize(
    "target", ["/a%2Fb/../c//d;p=1?x=%zz&y=[1]|'\"<>{}^`\\", "/?", "/??a=b?c", "/%00%ff", "//double", "/" + "l" * 8000]
)
def test_the_bytes_of_the_path_and_query_stay(router: Router, instance: Instance, target: str) -> None:
    assert router.ask(get(target)).status == 200
    assert instance.calls[-1].target == target.encode()


def test_the_absolute_form_reaches_the_instance_as_a_path(router: Router, instance: Instance) -> None:
    for raw, expected in [
        ("http://shop.example/a?b", b"/a?b"),
        ("http://SHOP.example", b"/"),
        ("http://shop.example?q", b"/?q"),
    ]:
        assert router.ask(get(raw)).status == 200
        assert instance.calls[-1].target == expected
    assert instance.calls[-1].one(b"Host") == b"shop.example"


def test_options_of_the_whole_server_is_passed_on(router: Router, instance: Instance) -> None:
    assert router.ask(get("*", method="OPTIONS")).status == 200
    assert instance.calls[-1].target == b"*"


def test_fields_of_one_connection_go_no_further(router: Router, instance: Instance) -> None:
    hop = [
        "Connection: x-mine, Keep-Alive",
        "X-Mine: 1",
        "Keep-Alive: 5",
        "TE: trailers",
        "Proxy-Authorization: secret",
    ]
    router.ask(get("/hop", *hop, "Proxy-Connection: keep-alive", "Upgrade: h2c", "HTTP2-Settings: AAA", "X-End: 2"))
    names = {name.lower() for name, _ in instance.calls[-1].fields}
    assert names == {b"host", b"x-end", b"x-forwarded-for", b"x-forwarded-proto", b"x-forwarded-host", b"x-request-id"}


def test_fields_of_the_instance_s_connection_go_no_further(router: Router, instance: Instance) -> None:
    fields = "Connection: x-mine, keep-alive", "X-Mine: 1", "Keep-Alive: timeout=5", "Proxy-Authenticate: x", "Date: 2"
    instance.on("/hop-down", lambda call: call.answer(b"", *fields))
    answer = router.ask(get("/hop-down"))
    assert answer.fields == [(b"Content-Length", b"0"), (b"Date", b"2")]


def test_answers_keep_their_fields_in_order_case_and_number(router: Router, instance: Instance) -> None:
    fields = ["set-cookie: a=1; Path=/", "X-Zed: \xe9", "Set-Cookie: b=2", "x-zed: 2", "SERVER: mine", "Date: today"]
    instance.on("/as-answered", lambda call: call.answer(b"ok", *fields, status="299 Not So \xdcblich"))
    answer = router.ask(get("/as-answered"))
    assert (answer.status, answer.phrase) == (299, "Not So \xdcblich".encode("latin-1"))
    assert [b"%b: %b" % field for field in answer.fields] == [
        line.encode("latin-1") for line in ["Content-Length: 2", *fields]
    ]


def test_who_asks_is_said_and_not_believed(router: Router, instance: Instance) -> None:
    lies = ["X-Forwarded-For: 1.2.3.4", "X-Forwarded-Proto: https", "X-Forwarded-Host: evil", "Forwarded: for=1.2.3.4"]
    router.ask(get("/who", *lies, "X-Real-IP: 1.2.3.4", "X-Request-ID: mine", "X_Forwarded_For: 1.2.3.4"))
    call = instance.calls[-1]
    assert call.one(b"X-Forwarded-For") == b"127.0.0.1"
    assert call.one(b"X-Forwarded-Proto") == b"http"
    assert call.one(b"X-Forwarded-Host") == b"shop.example"
    assert call.one(b"Host") == b"shop.example"
    assert re.fullmatch(rb"[0-9a-f-]{10,}", call.one(b"X-Request-ID") or b"")
    assert not {b"forwarded", b"x-real-ip", b"x_forwarded_for"} & {name.lower() for name, _ in call.fields}


# What is no request


MALFORMED = [
    (b"GARBAGE\r\n\r\n", 400),
    (b"GET /\r\n\r\n", 505),
    (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400),
    (b"GET / HTTP/1.1\r\n\r\n", 400),
    (b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400),
    (b"GET / HTTP/1.1\r\nHost: a/b\r\n\r\n", 400),
    (b"GET / HTTP/1.1\r\nHost: a b\r\n\r\n", 400),
    (b"GET / HTTP/1.1\r\nHost: a\r\nX : b\r\n\r\n", 400),
    (b"GET / HTTP/1.1\r\nHost: a\r\nNo colon\r\n\r\n", 400),
    (b"GET / HTTP/1.1\r\nHost: a\r\n : b\r\n\r\n", 400),
    (b"GET / HTTP/1.1\r\nHost: a\r\nX: a\r\n folded\r\n\r\n", 400),
    (b"GET / HTTP/1.1\r\nHost: a\r\nX: a\x00b\r\n\r\n", 400),
    (b"GET / HTTP/1.1\r\nHost: a\r\nX: a\rY: b\r\n\r\n", 400),
    (b"GET / HTTP/1.1\nHost: a\n\n", 400),
    (b"GET /a b HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    (b"GET /\r/ HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    (b"GET a HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    (b"GET ftp://a/ HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    (b"GET http://b/ HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    (b"GET http://u:p@a/ HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    (b"GET / HTTP/1.2\r\nHost: a\r\n\r\n", 400),
    (b"GET / HTTP/2.0\r\nHost: a\r\n\r\n", 505),
    (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400),
    (b"CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n", 405),
    (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
    (b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n0\r\n\r\n", 400),
    (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabc", 400),
    (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: -3\r\n\r\nabc", 400),
    (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3, 3\r\n\r\nabc", 400),
    (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999999999999999999\r\n\r\nabc", 400),
    (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length:\r\n\r\n", 400),
    (b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", 501),
    (b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n", 501),
    (b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
    (b"POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
    (b"GET / HTTP/1.1\r\nHost: a\r\nExpect: a pony\r\n\r\n", 417),
    (b"GET / HTTP/1.1\r\nHost: a\r\nConnection: host\r\n\r\n", 400),
    (b"GET / HTTP/1.1\r\nHost: a\r\nConnection: X-Forwarded-For\r\n\r\n", 400),
    (b"GET /" + b"l" * 9000 + b" HTTP/1.1\r\nHost: a\r\n\r\n", 414),
    (b"GET /" + b"l" * 90_000, 414),
    (b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"v" * 40_000 + b"\r\n\r\n", 431),
    (b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"v" * 200_000, 431),
    (b"GET / HTTP/1.1\r\nHost: a\r\n" + b"X: v\r\n" * 101 + b"\r\n", 431),
    (b"GET / HTTP/1.1\r\nHost: a\r\n" + b"X: v\r\n" * 20_000, 431),
]


@pytest.mark.parametrize(("raw", "status"), MALFORMED, ids=lambda value: repr(value)[:60])
def test_a_malformed_request_gets_its_4xx_and_reaches_nobody(
    router: Router, instance: Instance, raw: bytes, status: int
) -> None:
    before = len(instance.calls)
    with router.wire() as wire:
        wire.send(raw)
        answer = wire.answer()
        assert answer.status == status, answer
        assert answer.one(b"Connection") == b"close"
        assert (answer.one(b"X-Request-ID") or b"?") in answer.body
        assert wire.is_closed()
    assert len(instance.calls) == before


def test_what_follows_a_good_request_is_refused_after_its_answer(router: Router, instance: Instance) -> None:
    before = len(instance.calls)
    with router.wire() as wire:
        wire.send(get() + b"NONSENSE\r\n\r\n" + get("/never"))
        assert wire.answer().status == 200
        assert wire.answer().status == 400
        assert wire.is_closed()
    assert len(instance.calls) == before + 1


def test_chunks_that_go_wrong_half_way_end_in_400_and_are_never_whole(router: Router, instance: Instance) -> None:
    ended = []
    instance.on("/broken", lambda call: ended.append(call.is_left()))
    with router.wire() as wire:
        wire.send(get("/broken", "Transfer-Encoding: chunked", method="POST") + b"3\r\nabc\r\n")
        until(lambda: instance.calls and instance.calls[-1].target == b"/broken")
        wire.send(b"not a size\r\n")
        assert wire.answer().status == 400
        assert wire.is_closed()


def test_a_body_that_is_longer_than_allowed_is_refused(start_router: StartRouter, instance: Instance) -> None:
    router = start_router(rollout([instance]), "--body-bytes", "1000")
    before = len(instance.calls)
    with router.wire() as wire:
        assert wire.ask(post(b"x" * 1000)).status == 200
        assert wire.ask(post(b"x" * 1001)).status == 413
        assert wire.is_closed()
    assert len(instance.calls) == before + 1
    with router.wire() as wire:
        assert (
            wire.ask(get("/", "Transfer-Encoding: chunked", method="POST") + chunked(b"x" * 600, b"x" * 600)).status
            == 413
        )
