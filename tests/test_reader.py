"""Bytes of a client -> requests: well-formed ones in every split, and the bounds of what is taken."""

from __future__ import annotations

import itertools
import string

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rolling_router.proxy.limits import Limits
from rolling_router.proxy.reader import RequestReader
from rolling_router.proxy.request import Body
from rolling_router.proxy.trust import Peer, Trust

STRANGER = Peer("192.0.2.7", False, False)
PROXY = Peer("10.0.0.1", False, True)
HOST = b"Host: a.test\r\n"
SMALL = Limits(line_bytes=100, head_bytes=1000, head_fields=10, body_bytes=50)


def reader(*pieces, peer=STRANGER, limits=Limits(), private=(), trusted=("10.0.0.0/8",)):  # noqa: B008 (frozen)
    ours = RequestReader(peer, Trust.parse(trusted), limits, frozenset(private))
    for piece in pieces:
        ours.feed(piece)
    return ours


def one(data, **changes):
    """The only request in these bytes."""
    ours = reader(data, **changes)
    assert ours.refusal is None, ours.refusal.text
    (request,) = ours.waiting
    return request


def refused(data, **changes):
    """The status of the refusal that these bytes end in, whatever came before it."""
    ours = reader(data, **changes)
    assert ours.refusal is not None
    assert all(request.is_complete or request.body is not Body.NONE for request in ours.waiting)
    return ours.refusal.status


def get(*lines, target=b"/", method=b"GET", version=b"1.1"):
    return b"\r\n".join((b"%b %b HTTP/%b" % (method, target, version), HOST[:-2], *lines)) + b"\r\n\r\n"


def post(body=b"", *lines):
    return get(b"Content-Length: %d" % len(body), *lines, method=b"POST") + body


def chunked(coded, *lines):
    return get(b"Transfer-Encoding: chunked", *lines, method=b"POST") + coded


def seen(ours):
    """All that a reader has made of what it was fed, in a form that does not tell how it was split."""
    requests = [
        (
            request.method,
            request.target,
            request.minor,
            request.fields,
            request.forwarded,
            request.host,
            request.keep_alive,
            request.upgrade,
            request.body,
            b"".join(request.pieces),
            list(request.trailers) if request.is_complete else None,  # they are not sent on before that
            request.is_complete,
        )
        for request in ours.waiting
    ]
    return requests, ours.refusal and (ours.refusal.status, ours.refusal.text), ours.surplus


STREAMS = {
    "get": get(b"X: y"),
    "pipelined": get(target=b"/1") + post(b"abc") + get(target=b"/2") + chunked(b"2\r\nhi\r\n0\r\n\r\n") + get(),
    "blank lines between": b"\r\n" + get() + b"\r\n\r\n" + get(),
    "body": post(b"hello, world"),
    "unfinished body": post(b"hello")[:-2],
    "chunked": chunked(b"3\r\nabc\r\n1;x=y\r\nd\r\n0\r\nX-Sum: 4\r\nX-Two: 2\r\n\r\n") + get(),
    "big chunk": chunked(b"200\r\n" + b"x" * 512 + b"\r\n0\r\n\r\n"),
    "http/1.0": get(version=b"1.0") + get(),
    "http/1.0 kept": get(b"Connection: Keep-Alive", version=b"1.0") + get(),
    "close": get(b"Connection: close") + get(),
    "websocket": get(b"Connection: Upgrade", b"Upgrade: websocket") + b"\x00\xffother protocol",
    "h2c": get(b"Connection: Upgrade, HTTP2-Settings", b"Upgrade: h2c", b"HTTP2-Settings: x") + get(target=b"/2"),
    "h2c and a body": post(b"GET /", b"Connection: Upgrade", b"Upgrade: h2c") + get(target=b"/2"),
    "h2c and chunks": chunked(b"3\r\nabc\r\n0\r\nT: u\r\n\r\n", b"Connection: Upgrade", b"Upgrade: h2c") + get(),
    "websocket and a body": post(b"GET /", b"Connection: Upgrade", b"Upgrade: websocket") + get(target=b"/2"),
    "close, h2c and a body": post(b"abc", b"Connection: close, Upgrade", b"Upgrade: h2c") + get(),
    "extension methods": get(method=b"FROB") + get(method=b"x") + get(method=b"GETS") + get(method=b"PRIX") + get(),
    "extension method behind a body": post(b"abc") + get(method=b"FROB", target=b"/1") + get(target=b"/2"),
    "extension method behind chunks": chunked(b"4\r\n\r\n\r\n\r\n0\r\n\r\n") + get(method=b"FROB") + get(),
    "extension method behind trailers": chunked(b"1\r\n\r\r\n0\r\nX: y\r\n\r\n") + get(method=b"FROB") + get(),
    "extension methods with bodies": (post(b"\r\n\r\n") + chunked(b"1\r\n\r\r\n0\r\n\r\n")).replace(b"POST", b"X") * 2,
    "extension method that upgrades": get(b"Connection: Upgrade", b"Upgrade: a", method=b"FROB") + get(method=b"FROB"),
    "extension method, declined h2c": get(b"Connection: Upgrade", b"Upgrade: h2c", method=b"FROB") + get(method=b"A"),
    "extension method and a blank line": b"\r\n" + get(method=b"FROB") + b"\r\n" + get(method=b"GE"),
    "body of blank lines": post(b"\r\n\r\n\r\n\n\r\r") + b"\r\n" + get(),
    "malformed behind an extension method": get(method=b"FROB") + b"FROB / HTTP/1.1\r\nHost : a\r\n\r\n",
    "malformed": get() + b"GET / HTTP/1.1\r\nHost : a\r\n\r\n",
    "malformed chunk": chunked(b"3\r\nabc\r\nxyz\r\n"),
    "no host": b"GET / HTTP/1.1\r\nX: y\r\n\r\n",
    "half a head": get()[:-4],
}


@pytest.mark.parametrize("stream", STREAMS.values(), ids=STREAMS)
def test_requests_are_the_same_however_the_bytes_are_split(stream):
    whole = seen(reader(stream))
    assert seen(reader(*[bytes((byte,)) for byte in stream])) == whole
    for at in range(len(stream) + 1):
        assert seen(reader(stream[:at], stream[at:])) == whole, at


def test_the_streams_are_what_they_are_meant_to_be():
    counts = {name: (len(reader(stream).waiting), reader(stream).refusal is None) for name, stream in STREAMS.items()}
    assert counts["pipelined"] == (5, True)
    assert counts["chunked"] == counts["blank lines between"] == counts["http/1.0 kept"] == (2, True)
    assert counts["http/1.0"] == counts["close"] == counts["close, h2c and a body"] == (1, True)
    assert counts["extension methods"] == (5, True)
    assert counts["extension methods with bodies"] == (4, True)
    assert counts["extension method that upgrades"] == (1, True)
    for name in ("behind a body", "behind chunks", "behind trailers"):
        assert counts[f"extension method {name}"] == (3, True), name
    assert counts["extension method, declined h2c"] == counts["extension method and a blank line"] == (2, True)
    assert counts["body of blank lines"] == (2, True)
    assert counts["malformed behind an extension method"] == counts["malformed"] == (1, False)
    for name in ("h2c", "h2c and a body", "h2c and chunks", "websocket and a body"):
        assert counts[name] == (2, True), name


def test_extension_methods_pass_in_their_own_case():
    for method in (b"FROB", b"frob", b"X", b"VERSION-CONTROL", b"!#$%&'*+-.^_`|~", b"GETX", b"HEA"):
        request = one(get(method=method))
        assert (request.method, request.body, request.is_complete) == (method, Body.NONE, True)
        request = one(post(b"abc").replace(b"POST", method))
        assert (request.method, request.body, b"".join(request.pieces)) == (method, Body.KNOWN, b"abc")
        assert request.head(b"x").startswith(method + b" / HTTP/1.1\r\n")
        assert not request.is_repeatable
    assert [one.method for one in reader(get(method=b"FROB") + get() + get(method=b"BAR")).waiting] == [
        b"FROB",
        b"GET",
        b"BAR",
    ]


def test_options_is_counted_down_and_ends_at_nought():
    def left(*lines, **changes):
        return [value for name, value in one(get(*lines, **changes)).fields if name == b"Max-Forwards"]

    assert left(b"Max-Forwards: 10", method=b"OPTIONS") == [b"9"]
    assert left(b"Max-Forwards: 1", method=b"OPTIONS", target=b"*") == [b"0"]
    assert left(b"Max-Forwards: 10", b"Max-Forwards: odd") == [b"10", b"odd"]
    assert refused(get(b"Max-Forwards: 0", method=b"OPTIONS")) == 200


def test_a_name_for_via_is_added_and_ends_a_loop():
    def via(*lines, peer=STRANGER, **changes):
        ours = RequestReader(peer, Trust.parse(["10.0.0.0/8"]), Limits(), frozenset(), via=b"edge")
        ours.feed(get(*lines, **changes))
        if ours.refusal is not None:
            return ours.refusal.status
        return [line for line in ours.waiting[0].head(b"x").split(b"\r\n") if line.startswith(b"Via")]

    assert via() == via(peer=PROXY) == [b"Via: 1.1 edge"]
    assert via(version=b"1.0") == via(version=b"1.0", peer=PROXY) == [b"Via: 1.0 edge"]
    assert via(b"Via: 1.0 fred, 1.1 p.example.net (x)") == [b"Via: 1.0 fred, 1.1 p.example.net (x)", b"Via: 1.1 edge"]
    assert via(b"Via: 1.1 other, 1.1 edge") == 508
    assert b"Via" not in one(get()).head(b"x")


def test_a_connection_asks_so_often_and_then_no_more():
    ours = reader(get() * 5, limits=Limits(requests_per_connection=3))
    assert [request.keep_alive for request in ours.waiting] == [True, True, False]
    assert ours.refusal is None
    assert len(reader(get() * 50, limits=Limits(requests_per_connection=0)).waiting) == 50


def test_trailers_that_come_too_late_or_belong_to_the_connection_are_left_out():
    late = b"Authorization: x\r\nHost: y\r\nContent-Type: z\r\nX-Forwarded-For: 1\r\nset-cookie: a\r\nX-Mine: 1\r\n"
    request = one(chunked(b"0\r\nX-Sum: 1\r\n" + late + b"\r\n", b"Connection: x-mine"))
    assert request.trailers == [(b"X-Sum", b"1")]


def test_a_body_of_little_but_framing_is_refused():
    for step in (1000, 100_000):
        stream = chunked((b"1;" + b"x" * 100 + b"\r\na\r\n") * 1000)
        ours = reader(*[stream[at : at + step] for at in range(0, len(stream), step)])
        assert (ours.refusal.status, ours.refusal.limit) == (400, "chunk-framing")
    one(chunked(b"1;x=y\r\na\r\n" * 50_000 + b"0\r\n\r\n"))


def test_several_upgrade_fields_are_one_list():
    offer = b"Connection: upgrade"
    assert one(get(offer, b"Upgrade: websocket", b"Upgrade: foo/2")).upgrade == b"websocket, foo/2"
    assert one(get(offer, b"Upgrade: websocket", b"Upgrade: h2c")).upgrade is None


TOKEN = st.text(string.ascii_letters + string.digits + "-_.!#$%&'*+^`|~", min_size=1, max_size=12)
VALUE = st.binary(max_size=30).map(lambda raw: bytes(b for b in raw if b == 9 or 32 <= b != 127).strip(b" \t"))
FIELD = st.tuples(TOKEN.map(lambda name: b"X-" + name.encode("ascii")), VALUE).filter(
    lambda field: not field[0].lower().replace(b"_", b"-").startswith((b"x-forwarded-", b"x-real-ip", b"x-request-id"))
)
MESSAGE = st.tuples(
    st.sampled_from([b"GET", b"POST", b"PUT", b"DELETE", b"PATCH", b"OPTIONS", b"PROPFIND", b"FROB", b"P", b"GETS"]),
    st.lists(FIELD, max_size=5),
    st.one_of(st.none(), st.binary(max_size=40), st.lists(st.binary(min_size=1, max_size=20), max_size=4)),
)


@given(st.lists(MESSAGE, min_size=1, max_size=4), st.lists(st.integers(0, 1200), max_size=6))
@settings(derandomize=True, max_examples=200, deadline=None)
def test_any_requests_come_back_as_they_were(messages, cuts):
    stream, expected = b"", []
    for method, fields, body in messages:
        lines = [b"%b: %b" % field for field in fields]
        framing = []
        if isinstance(body, list):
            framing, coded = [(b"Transfer-Encoding", b"chunked")], b"".join(b"%x\r\n%b\r\n" % (len(x), x) for x in body)
            coded += b"0\r\n\r\n"
            body = b"".join(body)
        elif body is not None:
            framing, coded = [(b"Content-Length", b"%d" % len(body))], body
        else:
            body = coded = b""
        stream += get(*lines, *[b"%b: %b" % field for field in framing], method=method) + coded
        expected.append((method, [(b"Host", b"a.test"), *fields, *framing], body))
    points = sorted({0, len(stream), *(cut for cut in cuts if cut < len(stream))})
    ours = reader(*[stream[a:b] for a, b in itertools.pairwise(points)])
    assert ours.refusal is None
    assert [(one.method, one.fields, b"".join(one.pieces)) for one in ours.waiting] == expected
    assert all(one.is_complete for one in ours.waiting)


@given(st.binary(max_size=300), st.integers(0, 300))
@settings(derandomize=True, max_examples=300, deadline=None)
def test_any_bytes_at_all_are_read_or_refused_and_never_an_error(data, cut):
    for stream in (data, b"GET / HTTP/1.1\r\n" + data, get()[:-2] + data, chunked(data)):
        assert seen(reader(stream[:cut], stream[cut:])) == seen(reader(stream))


# What is kept as it came


def test_fields_keep_their_order_case_and_duplicates():
    request = one(get(b"x-b: 1", b"X-A: 2", b"X-b: 3", b"x-b: 1", b"Cookie: a=1; b=2", b"ACCEPT: */*"))
    assert request.fields == [
        (b"Host", b"a.test"),
        (b"x-b", b"1"),
        (b"X-A", b"2"),
        (b"X-b", b"3"),
        (b"x-b", b"1"),
        (b"Cookie", b"a=1; b=2"),
        (b"ACCEPT", b"*/*"),
    ]


def test_odd_bytes_are_kept():
    request = one(get(b"X: caf\xe9 \xff\x80\ttab", b"Y:", b"Z: \xc3\xbc"))
    assert request.fields[1:] == [(b"X", b"caf\xe9 \xff\x80\ttab"), (b"Y", b""), (b"Z", b"\xc3\xbc")]


@pytest.mark.parametrize(
    "target", [b"/", b"//a//b/../c/./", b"/%2e%2E/%zz?a=%00&&;=b?c", b'/a"<>\\^`{|}b', b"/?", b"/" + b"x" * 8000]
)
def test_the_path_and_the_query_are_kept(target):
    assert one(get(target=target)).target == target


def test_the_head_for_the_instance_is_what_came_and_what_is_ours():
    request = one(get(b"X-A: 1", b"Connection: keep-alive", target=b"/a?b"))
    head = request.head(b"10.0.0.1:80")
    assert head == (
        b"GET /a?b HTTP/1.1\r\nHost: a.test\r\nX-A: 1\r\nX-Forwarded-For: 192.0.2.7\r\nX-Forwarded-Proto: http\r\n"
        b"X-Forwarded-Host: a.test\r\nX-Request-ID: %b\r\n\r\n" % request.id
    )


def test_request_ids_differ():
    assert len({one(get()).id for _ in range(1000)}) == 1000


# Targets and hosts


@pytest.mark.parametrize(
    ("target", "path"),
    [
        (b"http://a.test/x?y", b"/x?y"),
        (b"HTTP://A.TEST/x", b"/x"),
        (b"http://a.test", b"/"),
        (b"http://a.test?y", b"/?y"),
        (b"http://a.test/http://b.test/", b"/http://b.test/"),
    ],
)
def test_an_absolute_target_becomes_its_path(target, path):
    assert one(get(target=target)).target == path


def test_the_asterisk_is_for_options_alone():
    assert one(get(target=b"*", method=b"OPTIONS")).target == b"*"
    assert refused(get(target=b"*")) == 400


@pytest.mark.parametrize(
    "target",
    [b"http://b.test/", b"http://a.test:81/", b"http://a.test@b.test/", b"http://u@a.test/", b"ftp://a.test/"],
)
def test_a_target_that_names_another_host_or_nothing_is_refused(target):
    assert refused(get(target=target)) == 400


@pytest.mark.parametrize("target", [b"a.test:443", b"/x", b"http://a.test/", b"*"])
def test_connect_is_refused_whatever_it_names(target):
    assert refused(get(target=target, method=b"CONNECT")) in (400, 405)


@pytest.mark.parametrize("host", [b"a", b"a.test:8000", b"[::1]", b"[::1]:80", b"127.0.0.1", b"a_b.test", b"a.test \t"])
def test_hosts_of_all_kinds_are_taken(host):
    request = one(b"GET / HTTP/1.1\r\nHost: " + host + b"\r\n\r\n")
    assert request.host == host.rstrip()


def test_an_empty_host_says_no_more_than_none():
    for request in (one(b"GET / HTTP/1.1\r\nHost:\r\n\r\n"), one(b"GET / HTTP/1.0\r\nHost: \r\n\r\n")):
        head = request.head(b"10.0.0.1:80").lower()
        assert head.count(b"\r\nhost:") == 1
        assert b"\r\nhost: 10.0.0.1:80\r\n" in head


# HTTP/1.0 and the connection


@pytest.mark.parametrize(
    ("version", "connection", "stays"),
    [
        (b"1.1", None, True),
        (b"1.1", b"close", False),
        (b"1.1", b"Close", False),
        (b"1.1", b"keep-alive, close", False),
        (b"1.1", b"x-a, close", False),
        (b"1.1", b", ,", True),
        (b"1.0", None, False),
        (b"1.0", b"Keep-Alive", True),
        (b"1.0", b"x-a, keep-alive", True),
        (b"1.0", b"close", False),
    ],
)
def test_whether_the_connection_stays(version, connection, stays):
    lines = [] if connection is None else [b"Connection: " + connection]
    assert one(get(*lines, version=version)).keep_alive is stays


def test_http_1_0_needs_no_host():
    request = one(b"GET / HTTP/1.0\r\n\r\n")
    assert (request.host, request.minor) == (b"", 0)


def test_fields_of_one_connection_are_removed_and_those_that_it_names():
    request = one(
        get(
            b"Connection: X-Mine, keep-alive",
            b"Connection: x-too",
            b"X-Mine: 1",
            b"x-TOO: 2",
            b"X-Theirs: 3",
            b"Keep-Alive: timeout=5",
            b"TE: trailers",
            b"Proxy-Connection: close",
            b"Proxy-Authorization: Basic x",
            b"Proxy: http://evil.test/",
            b"Upgrade: websocket",
        )
    )
    assert request.fields == [(b"Host", b"a.test"), (b"X-Theirs", b"3")]
    assert request.upgrade is None


@pytest.mark.parametrize(
    "name",
    b"Host content-length Transfer-Encoding Cookie X-Forwarded-For X-Request-ID Authorization Expect Cache-Control "
    b"Forwarded x-real-ip Trailer".split(),
)
def test_connection_cannot_take_away_what_an_instance_must_see(name):
    assert refused(get(b"Connection: close, " + name)) == 400


def test_upgrades_that_are_offered_and_those_that_are_not():
    offer = b"Connection: upgrade"
    assert one(get(offer, b"Upgrade: WebSocket")).upgrade == b"WebSocket"
    assert one(get(b"Upgrade: websocket")).upgrade is None
    assert one(get(offer)).upgrade is None
    for protocols in (b"h2c", b"H2C", b"websocket, h2c"):
        assert one(get(offer, b"Upgrade: " + protocols)).upgrade is None
    assert one(get(b"Connection: upgrade, keep-alive", b"Upgrade: websocket", version=b"1.0")).upgrade is None


def test_what_follows_an_upgrade_is_kept_until_it_is_known_what_it_is():
    ours = reader(get(b"Connection: upgrade", b"Upgrade: websocket") + get(target=b"/2"), get(target=b"/3"))
    ours.waiting.popleft()
    assert (len(ours.waiting), ours.surplus) == (0, get(target=b"/2") + get(target=b"/3"))
    ours.go_on()
    assert [request.target for request in ours.waiting] == [b"/2", b"/3"]
    assert ours.surplus is None


def test_expect_is_passed_on_from_http_1_1_and_ignored_from_http_1_0():
    assert (b"Expect", b"100-Continue") in one(get(b"Expect: 100-Continue")).fields
    assert (b"Expect", b"100-continue") in one(get(b"Expect: 100-continue \t")).fields
    assert b"Expect" not in dict(one(get(b"Expect: 100-continue", version=b"1.0")).fields)
    assert refused(get(b"Expect: a-miracle")) == 417


# Cookies


def test_private_cookies_are_kept_from_the_instance_and_given_to_strategies():
    request = one(get(b"Cookie: a=1; pin=x; b=2", b"cookie: pin=y", b"Cookie: pinned=3"), private=[b"pin"])
    assert request.fields[1:] == [(b"Cookie", b"a=1; b=2"), (b"Cookie", b"pinned=3")]
    assert request.cookie(b"pin") == [b"x", b"y"]
    assert request.cookie(b"a") == [b"1"]
    assert request.cookie(b"none") == []
    assert b"cookie" not in [name.lower() for name, _ in request.headers]


# Who the client is


FORGED = (
    b"X-Forwarded-For: 203.0.113.9",
    b"x-forwarded-proto: https",
    b"X-Forwarded-Host: evil.test",
    b"X-Forwarded-Port: 443",
    b"Forwarded: for=203.0.113.9",
    b"X-Real-IP: 203.0.113.9",
    b"X_Forwarded_For: 203.0.113.9",
    b"X-Forwarded_Proto: https",
    b"X-Request-ID: forged",
    b"X_Request_ID: forged",
    b"Content_Length: 3",
)


def test_a_strangers_word_on_who_the_client_is_is_dropped():
    request = one(get(*FORGED))
    head = request.head(b"x:1").replace(request.id, b"")  # which is random, and may hold one of the words
    assert (request.address, request.is_secure) == ("192.0.2.7", False)
    assert not any(word in head for word in (b"203.0.113.9", b"evil", b"forged", b"443", b"https", b"Content_Length"))
    assert head.lower().count(b"x-forwarded-for") == 1


def test_a_trusted_proxys_word_counts_and_ours_is_added():
    request = one(get(*FORGED), peer=PROXY)
    head = request.head(b"x:1")
    assert (request.address, request.is_secure, request.id) == ("203.0.113.9", True, b"forged")
    assert b"X-Forwarded-For: 203.0.113.9, 10.0.0.1\r\n" in head
    assert b"X-Forwarded-Proto: https\r\nX-Forwarded-Host: evil.test\r\n" in head
    assert b"X-Forwarded-Port: 443\r\nForwarded: for=203.0.113.9\r\nX-Real-IP: 203.0.113.9\r\n" in head
    assert b"X_Forwarded_For" not in head


def test_a_trusted_proxy_that_says_nothing_is_the_client():
    request = one(get(), peer=PROXY)
    assert (request.address, request.is_secure) == ("10.0.0.1", False)
    assert b"X-Forwarded-For: 10.0.0.1\r\nX-Forwarded-Proto: http\r\nX-Forwarded-Host: a.test\r\n" in request.head(b"x")


def test_several_fields_of_a_trusted_proxy_are_one_list():
    request = one(get(b"X-Forwarded-For: 1.1.1.1", b"X-Forwarded-For: 203.0.113.9, 10.0.0.2"), peer=PROXY)
    assert request.address == "203.0.113.9"
    assert b"X-Forwarded-For: 1.1.1.1, 203.0.113.9, 10.0.0.2, 10.0.0.1\r\n" in request.head(b"x")


@pytest.mark.parametrize("bad", [b"a b", b"x" * 129, b"", b'"', b"\xe9"])
def test_an_odd_request_id_is_replaced(bad):
    request = one(get(b"X-Request-ID: " + bad), peer=PROXY)
    assert request.id
    assert request.id != bad


def test_a_client_by_tls_or_by_a_unix_socket():
    secure = one(get(), peer=Peer("192.0.2.7", True, False))
    assert b"X-Forwarded-Proto: https\r\n" in secure.head(b"x")
    assert b"X-Forwarded-For: unknown\r\n" in one(get(), peer=Peer("", False, False)).head(b"x")


# Limits


def grown(line, to):
    """A head whose fields are so many bytes, each with its colon, blank and line end."""
    base = get(line)
    return get(line + b"x" * (to - (len(base) - len(b"GET / HTTP/1.1\r\n") - 2)))


def test_a_target_at_the_limit_is_taken_and_beyond_it_refused():
    assert one(get(target=b"/" + b"x" * 99), limits=SMALL)
    assert refused(get(target=b"/" + b"x" * 100), limits=SMALL) == 414
    assert reader(b"GET /" + b"x" * 100, limits=SMALL).refusal.status == 414, "it need not come to its end"


@pytest.mark.parametrize("step", [1, 7, 500, 10_000])
def test_a_head_at_the_limit_is_taken_and_beyond_it_refused_however_it_is_split(step):
    for size, status in ((1000, None), (1001, 431)):
        for before in (b"", get(), post(b"x" * 50)):
            data = before + grown(b"X: ", size)
            ours = reader(*[data[at : at + step] for at in range(0, len(data), step)], limits=SMALL)
            assert (ours.refusal and ours.refusal.status) == status, (size, before)


def test_fields_that_are_taken_out_count_too():
    assert refused(get(*[b"X-Forwarded-For: " + b"1" * 200] * 6), limits=SMALL) == 431


def test_a_head_without_end_is_refused_before_it_fills_the_memory():
    ours = reader(get()[:-2], limits=SMALL)
    pieces = 0
    while ours.refusal is None:
        ours.feed(b"X: y" * 25)
        pieces += 1
    assert ours.refusal.status == 431
    assert pieces * 100 <= 2 * SMALL.head_bytes + SMALL.line_bytes


def test_as_many_fields_as_allowed_are_taken_and_one_more_refused():
    assert one(get(*[b"X: y"] * 9), limits=SMALL)
    assert refused(get(*[b"X: y"] * 10), limits=SMALL) == 431


def test_a_body_of_known_length_at_the_limit_is_taken_and_beyond_it_refused():
    assert one(post(b"x" * 50), limits=SMALL).is_complete
    ours = reader(post(b"x" * 51), limits=SMALL)
    assert (ours.refusal.status, len(ours.waiting)) == (413, 0)


def test_a_chunked_body_at_the_limit_is_taken_and_beyond_it_refused():
    assert one(chunked(b"32\r\n" + b"x" * 50 + b"\r\n0\r\n\r\n"), limits=SMALL).is_complete
    assert refused(chunked(b"32\r\n" + b"x" * 50 + b"\r\n1\r\nx\r\n0\r\n\r\n"), limits=SMALL) == 413


def test_bodies_have_no_limit_by_default():
    assert one(post(b"x" * 1_000_000)).is_complete


@pytest.mark.parametrize("endless", [b"T: x" * 50, b"T: x\r\n" * 10], ids=["one trailer field", "many trailer fields"])
def test_trailers_without_end_are_refused(endless):
    ours = reader(chunked(b"1\r\nx\r\n0\r\n"), limits=SMALL)
    for _ in range(100):
        ours.feed(endless)
    assert ours.refusal.status == 431


def test_a_chunk_extension_without_end_is_refused():
    ours = reader(chunked(b"1;x="), limits=SMALL)
    for _ in range(100):
        ours.feed(b"y" * 100)
    assert ours.refusal.status == 431


def test_long_bodies_are_no_long_heads():
    for stream in (post(b"x" * 49), chunked(b"1\r\nx\r\n" * 49 + b"0\r\n\r\n")):
        ours = reader(*[stream[at : at + 3] for at in range(0, len(stream), 3)], limits=SMALL)
        assert ours.refusal is None
    ours = reader(limits=Limits(head_bytes=1000))
    for _ in range(100):
        for at in range(0, 10_000, 500):
            ours.feed(post(b"x" * 10_000)[at : at + 500])
        ours.feed(post(b"x" * 10_000)[10_000:])
    assert ours.refusal is None
    assert len(ours.waiting) == 100


def test_trailers_that_would_change_the_framing_are_not_passed_on():
    trailers = b"Host: b.test\r\nX: y\r\nConnection: close\r\nX-Forwarded-For: 1.1.1.1\r\n"
    request = one(chunked(b"1\r\nx\r\n0\r\n" + trailers + b"\r\n"))
    assert list(request.trailers) == [(b"X", b"y")]


def test_inside_a_head_or_not():
    ours = reader()
    for piece, inside in (
        (b"\r\n", False),
        (b"G", True),
        (b"ET / HTTP/1.1\r\nHost: a\r\n", True),
        (b"\r\n", False),
        (post(b"abc")[:-1], False),
        (b"c", False),
        (get()[:9], True),
    ):
        ours.feed(piece)
        assert ours.is_inside_head is inside, piece
