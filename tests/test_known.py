"""What is known from before: heads that come again mean what they meant, and whatever differs is read anew."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rolling_router.proxy.knowing import KnowingReader
from rolling_router.proxy.known import LONGEST_BYTES, Known
from rolling_router.proxy.limits import Limits
from rolling_router.proxy.reader import RequestReader
from rolling_router.proxy.response import Malformed, ResponseReader
from rolling_router.proxy.trust import Peer, Trust
from tests import test_reader, test_reader_refusals, test_response
from tests.fakes import answer, body_of, first_line
from tests.test_reader import FIELD, HOST, MESSAGE, PROXY, SMALL, STRANGER, chunked, get, post

TIMES = 4


def reader(known, *pieces, peer=STRANGER, limits=Limits(), private=(b"pin",)):  # noqa: B008 (frozen)
    given = peer, Trust.parse(["10.0.0.0/8"]), limits, frozenset(private)
    ours = RequestReader(*given) if known is None else KnowingReader(*given, known)
    for piece in pieces:
        ours.feed(piece)
    return ours


def seen(ours):
    heads = []
    for request in ours.waiting:
        request.id = b"same"
        pins = tuple(request.cookie(b"pin"))
        heads.append((request.head(b"10.0.0.9:80"), request.raw_cookies, pins, request.headers))
    return test_reader.seen(ours), heads


REQUESTS = {
    **test_reader.STREAMS,
    **{name: head + b"\r\n" for name, head in test_reader_refusals.BAD_HEADS.items()},
    **{name: head + b"\r\n" for name, head in test_reader_refusals.BAD_FRAMING.items()},
    "plain": get(b"Accept: */*", b"User-Agent: a", b"X: y", target=b"/a/b?c=%20d"),
    "cookies": get(b"Cookie: a=1; pin=x; b=2", b"cookie: pin=y"),
    "only our cookie": get(b"Cookie: pin=x"),
    "kept": get(b"Connection: keep-alive", b"Keep-Alive: 5"),
    "fields named by Connection": get(b"Connection: x-a, keep-alive", b"X-A: 1", b"X-B: 2"),
    "forwarded": get(b"X-Forwarded-For: 1.2.3.4", b"X-Request-ID: abc", b"Forwarded: for=x"),
    "expect": get(b"Expect: 100-continue"),
    "empty host": b"GET / HTTP/1.1\r\nHost:\r\n\r\n",
    "another method": get(method=b"HEAD"),
    "post without a length": get(method=b"POST"),
    "a body of nothing": post(b""),
    "absolute": get(target=b"http://a.test/x"),
    "asterisk": get(target=b"*", method=b"OPTIONS"),
    "half of the next": get() + b"GET /",
    "line ends alone": b"GET / HTTP/1.1\r\nHost: a\n\nX: y\r\n\r\n",
    "a request in the body": chunked(b"0\r\n\r\n") + get(target=b"/2"),
    "long": get(b"X: " + b"x" * LONGEST_BYTES),
}


@pytest.mark.parametrize("stream", REQUESTS.values(), ids=REQUESTS)
@pytest.mark.parametrize("limits", [Limits(), SMALL], ids=["wide", "narrow"])
@pytest.mark.parametrize("peer", [STRANGER, PROXY, Peer("", True, False)], ids=["stranger", "proxy", "tls"])
def test_a_request_that_comes_again_is_read_as_the_first_time(stream, limits, peer):
    known = Known()
    expected = seen(reader(None, stream, peer=peer, limits=limits))
    for _ in range(TIMES):
        assert seen(reader(known, stream, peer=peer, limits=limits)) == expected
    kept = reader(known, *[get(b"X: %d" % at) for at in range(3)], stream, peer=peer, limits=limits)
    assert seen(kept) == seen(reader(None, *[get(b"X: %d" % at) for at in range(3)], stream, peer=peer, limits=limits))
    for at in range(min(len(stream), 200)):
        pieces = stream[:at], stream[at:]
        split = seen(reader(None, *pieces, peer=peer, limits=limits))
        assert seen(reader(known, *pieces, peer=peer, limits=limits)) == split, at


@given(st.lists(MESSAGE, min_size=1, max_size=5), st.lists(st.lists(FIELD, max_size=2), min_size=1, max_size=3))
@settings(derandomize=True, max_examples=150, deadline=None)
def test_requests_that_share_fields_are_each_read_as_without(messages, blocks):
    known = Known()
    pieces = []
    for at, (method, _, body) in enumerate(messages):
        for fields in (*blocks, *blocks, *blocks):
            lines = [b"%b: %b" % field for field in fields]
            if isinstance(body, bytes):
                lines.append(b"Content-Length: %d" % len(body))
            pieces.append(get(*lines, target=b"/%d" % at, method=method) + (body if isinstance(body, bytes) else b""))
    assert seen(reader(known, *pieces)) == seen(reader(None, *pieces))


def test_only_the_second_coming_is_kept():
    known = Known()
    reader(known, get(b"X: 1"), get(b"X: 2"))
    assert len(known) == 0
    reader(known, get(b"X: 1", target=b"/another"))
    assert len(known) == 1


def test_what_follows_from_the_client_is_not_kept():
    known = Known()
    for _ in range(TIMES):
        for peer in (STRANGER, Peer("192.0.2.8", False, False), Peer("192.0.2.8", True, False)):
            (request,) = reader(known, get(), peer=peer).waiting
            assert (request.address, request.is_secure) == (peer.address, peer.is_secure)
            proto = b"https" if peer.is_secure else b"http"
            said = b"X-Forwarded-For: %b\r\nX-Forwarded-Proto: %b\r\n" % (peer.address.encode(), proto)
            assert request.head(b"").partition(b"\r\n\r\n")[0].endswith(b"X-Request-ID: " + request.id)
            assert said in request.head(b"")
    assert len(known) == 1
    assert len({reader(known, get()).waiting[0].id for _ in range(TIMES)}) == TIMES


def test_one_connection_may_ask_for_several_hosts():
    known = Known()
    pieces = [b"GET / HTTP/1.1\r\nHost: %b\r\n\r\n" % host for host in (b"a", b"b", b"a", b"a", b"b", b"b")]
    for _ in range(TIMES):
        ours = reader(known, *pieces)
        assert [b"X-Forwarded-Host: %b\r\n" % one.host in one.head(b"") for one in ours.waiting] == [True] * 6


@pytest.mark.parametrize(
    "head",
    [post(b"abc"), post(b""), chunked(b"0\r\n\r\n"), get(b"Expect: 100-continue"), get(b"Connection: close")],
    ids=["body", "no body", "chunks", "expect", "close"],
)
def test_what_asks_for_something_special_is_never_kept(head):
    known = Known()
    for _ in range(TIMES):
        reader(known, head, head)
    assert len(known) == 0


def test_a_trusted_proxys_requests_are_read_each_time():
    known = Known()
    for at in range(TIMES):
        (request,) = reader(known, get(b"X-Forwarded-For: 192.0.2.%d" % at), peer=PROXY).waiting
        assert request.address == f"192.0.2.{at}"
    reader(known, *[get()] * TIMES, peer=PROXY)
    assert len(known) == 0


def test_fields_that_are_known_do_not_let_a_bad_first_line_pass():
    known = Known()
    fields = HOST + b"\r\n"
    reader(known, *[b"GET / HTTP/1.1\r\n" + fields] * TIMES)
    assert len(known) == 1
    for line in test_reader_refusals.BAD_HEADS.values():
        if line.endswith(HOST) and line.count(b"\n") == 2:
            ours = reader(known, line.removesuffix(HOST) + fields)
            assert ours.refusal is not None, line
            assert not ours.waiting
    long = reader(known, b"GET /%b HTTP/1.1\r\n%b" % (b"x" * 200, fields), limits=SMALL)
    assert long.refusal.status == 414
    assert reader(known, b"CONNECT /x HTTP/1.1\r\n" + fields).refusal.status == 405


def test_a_body_that_looks_like_a_known_request_is_a_body():
    known = Known()
    plain = get(target=b"/inside")
    reader(known, *[plain] * TIMES)
    assert len(known) == 1
    h2c = b"Connection: Upgrade", b"Upgrade: h2c"
    for piece in (post(plain, *h2c), post(plain), chunked(b"%x\r\n%b\r\n0\r\n\r\n" % (len(plain), plain), *h2c)):
        for at in range(len(piece) + 1):
            (request,) = reader(known, piece[:at], piece[at:]).waiting
            assert (b"".join(request.pieces), request.is_complete) == (plain, True), at


def test_what_is_kept_is_bounded():
    known = Known()
    for at in range(30_000):
        head = b"%d" % at
        assert not known.is_worth(head)
        assert known.is_worth(head)
        known.keep(head, at)
    assert len(known) == 512
    assert (known.get(b"29999"), known.get(b"0")) == (29999, None)


# Answers


def answers(known, *streams, is_head=False, limits=Limits()):  # noqa: B008 (frozen)
    """What one connection's answers come to; the last may be malformed."""
    ours = ResponseReader(limits, known)
    found = []
    for stream in streams:
        ours.expect(is_head)
        try:
            ours.feed(stream)
        except Malformed as wrong:
            found.append(str(wrong))
            break
        response = ours.response
        whole = response and (response.head(), response.length, list(response.caching))
        found.append((test_response.seen(ours), ours.has_surplus, ours.rest, whole))
        ours.informational = ()
        if not ours.is_over or ours.has_surplus or not response.keep_alive:
            break
    return found


ANSWERS = {
    **{name: one[0] for name, one in test_response.STREAMS.items()},
    **test_response.BAD_HEADS,
    "head": test_response.answer(b"Content-Length: 5"),
    "surplus": test_response.known() + b"x",
    "surplus behind nothing": test_response.answer(status=b"204 No Content") + b"x",
    "line ends alone": b"HTTP/1.1 200 OK\nContent-Length: 8\n\nab\r\n\r\ncd",
    "caches": test_response.known(b"hello", b"Cache-Control: max-age=1", b"Expires: 0"),
    "named": test_response.known(b"hello", b"Connection: x-a", b"X-A: 1"),
    "switched": test_response.answer(b"Connection: upgrade", b"Upgrade: websocket", status=b"101 Go") + b"\x00",
    "long": test_response.known(b"hello", b"X: " + b"x" * LONGEST_BYTES),
}


@pytest.mark.parametrize("stream", ANSWERS.values(), ids=ANSWERS)
@pytest.mark.parametrize("is_head", [False, True], ids=["get", "head"])
def test_an_answer_that_comes_again_is_read_as_the_first_time(stream, is_head):
    known = Known()
    plain, other = test_response.known(b"hello", b"X: y"), test_response.known(b"other", b"X: y")
    for _ in range(TIMES):
        assert answers(known, stream, is_head=is_head) == answers(None, stream, is_head=is_head)
        if not is_head:
            assert answers(known, plain, other, stream) == answers(None, plain, other, stream)
    for at in range(min(len(stream), 200)):
        ours = ResponseReader(Limits(), known)
        other = ResponseReader(Limits())
        ours.expect(is_head), other.expect(is_head)
        for piece in (stream[:at], stream[at:]):
            wrongs = []
            for one in (ours, other):
                try:
                    one.feed(piece)
                    wrongs.append(None)
                except Malformed as wrong:
                    wrongs.append(str(wrong))
            assert wrongs[0] == wrongs[1], at
            if wrongs[0] is not None:
                break
        assert (test_response.seen(ours), ours.has_surplus) == (test_response.seen(other), other.has_surplus), at


def test_a_head_of_one_request_says_nothing_of_a_get():
    known = Known()
    head = test_response.answer(b"Content-Length: 5")
    for _ in range(TIMES):
        assert answers(known, head, head, is_head=True) == answers(None, head, head, is_head=True)
        assert answers(known, head + b"hello") == answers(None, head + b"hello")


def test_bodies_differ_behind_the_same_head():
    known = Known()
    for at in range(10):
        body = b"%05d" % at
        ours = ResponseReader(Limits(), known)
        ours.expect(False)
        ours.feed(test_response.known(body))
        assert (ours.pieces, ours.is_over) == ([body], True)
    assert len(known) == 1


def test_clients_get_each_his_own(house):
    clients = [house.client() for _ in range(3)]
    instance = None
    ids = set()
    for at in range(5):
        for number, client in enumerate(clients):
            target = b"/%d/%d" % (at, number)
            client.send(test_reader.get(b"Cookie: of=everybody", target=target))
            instance = instance or house.accept()
            request = instance.take()
            assert first_line(request) == b"GET %b HTTP/1.1" % target
            ids.add(fields_of_id(request))
            instance.send(answer(target, b"Server: same"))
            assert body_of(client.take()) == target
    assert len(ids) == 15


def fields_of_id(request):
    return next(line for line in request.split(b"\r\n") if line.startswith(b"X-Request-ID"))


def test_requests_that_are_known_count_as_others_do():
    known = Known()
    for _ in range(TIMES):
        ours = reader(known, *[get()] * 5, limits=Limits(requests_per_connection=3))
        assert [request.keep_alive for request in ours.waiting] == [True, True, False]
        assert [request.is_last for request in ours.waiting] == [False, False, True]


def test_max_forwards_is_read_anew_each_time():
    known = Known()
    for _ in range(TIMES):
        first, second = reader(known, get(b"Max-Forwards: 5"), get(b"Max-Forwards: 5", method=b"OPTIONS")).waiting
        assert [dict(one.fields)[b"Max-Forwards"] for one in (first, second)] == [b"5", b"4"]
