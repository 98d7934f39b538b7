"""Bytes of an instance -> answers: every framing, in every split, and what is no answer."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rolling_router.proxy.limits import Limits
from rolling_router.proxy.request import Body
from rolling_router.proxy.response import Malformed, ResponseReader

SMALL = Limits(head_bytes=1000, head_fields=10)


def reader(*pieces, is_head=False, limits=Limits()):  # noqa: B008 (frozen)
    ours = ResponseReader(limits)
    ours.expect(is_head)
    for piece in pieces:
        ours.feed(piece)
    return ours


def answer(*lines, status=b"200 OK", version=b"1.1", body=b""):
    return b"\r\n".join((b"HTTP/%b %b" % (version, status), *lines)) + b"\r\n\r\n" + body


def known(body=b"hello", *lines):
    return answer(b"Content-Length: %d" % len(body), *lines, body=body)


def chunked(coded, *lines):
    return answer(b"Transfer-Encoding: chunked", *lines, body=coded)


def seen(ours):
    response = ours.response
    head = response and (
        response.status,
        response.phrase,
        response.fields,
        response.body,
        response.keep_alive,
        response.upgrade,
    )
    interim = [(one.status, one.phrase, one.fields) for one in ours.informational]
    return head, interim, b"".join(ours.pieces), list(ours.trailers), ours.is_over


def malformed(*pieces, **changes):
    with pytest.raises(Malformed) as wrong:
        reader(*pieces, **changes)
    return str(wrong.value)


STREAMS = {
    "known": (known(), Body.KNOWN, b"hello", True),
    "known, unfinished": (known()[:-1], Body.KNOWN, b"hell", False),
    "nothing": (known(b""), Body.KNOWN, b"", True),
    "chunked": (chunked(b"3\r\nabc\r\n2;x=y\r\nde\r\n0\r\n\r\n"), Body.CHUNKED, b"abcde", True),
    "chunked with trailers": (chunked(b"1\r\nx\r\n0\r\nX: y\r\nZ: z\r\n\r\n"), Body.CHUNKED, b"x", True),
    "chunked, unfinished": (chunked(b"3\r\nabc\r\n0\r\n"), Body.CHUNKED, b"abc", False),
    "until the close": (answer(body=b"abc"), Body.TO_CLOSE, b"abc", False),
    "http/1.0": (answer(version=b"1.0", body=b"abc"), Body.TO_CLOSE, b"abc", False),
    "interim first": (answer(status=b"103 Hints") + answer(status=b"100 Go on") + known(), Body.KNOWN, b"hello", True),
    "204": (answer(status=b"204 No Content"), Body.NONE, b"", True),
    "304": (answer(b"Content-Length: 5", status=b"304 Not Modified"), Body.NONE, b"", True),
    "no phrase": (b"HTTP/1.1 200\r\nContent-Length: 1\r\n\r\nx", Body.KNOWN, b"x", True),
    "declined": (known(b"hi", b"Connection: Upgrade", b"Upgrade: h2c"), Body.KNOWN, b"hi", True),
}


@pytest.mark.parametrize(("stream", "body", "content", "is_over"), STREAMS.values(), ids=STREAMS)
def test_answers_are_the_same_however_the_bytes_are_split(stream, body, content, is_over):
    whole = reader(stream)
    assert whole.response.body is body
    assert (b"".join(whole.pieces), whole.is_over, whole.has_surplus) == (content, is_over, False)
    assert seen(reader(*[bytes((byte,)) for byte in stream])) == seen(whole)
    for at in range(len(stream) + 1):
        assert seen(reader(stream[:at], stream[at:])) == seen(whole), at


HEADS = {
    "known": answer(b"Content-Length: 0"),
    "length without a body": answer(b"Content-Length: 5"),
    "chunked without a body": answer(b"Transfer-Encoding: chunked"),
    "neither": answer(),
    "interim first": answer(status=b"103 Early Hints") + answer(b"Content-Length: 5"),
    "304": answer(b"Content-Length: 5", status=b"304 Not Modified"),
}


@pytest.mark.parametrize("stream", HEADS.values(), ids=HEADS)
def test_the_answer_to_a_head_ends_with_its_head(stream):
    fields = [tuple(line.split(b": ")) for line in stream.split(b"\r\n") if b": " in line]
    for at in range(len(stream) + 1):
        ours = reader(stream[:at], stream[at:], is_head=True)
        assert (ours.response.body, ours.is_over, ours.has_surplus, ours.pieces) == (Body.NONE, True, False, [])
        assert ours.response.fields == fields


def test_one_reader_reads_answer_after_answer():
    ours = reader()
    complete = [one for one in STREAMS.values() if one[3]]
    for stream, body, content, _ in [*complete, *reversed(complete)]:
        for is_head in (True, False):
            ours.expect(is_head)
            ours.informational = ()
            ours.feed(answer(b"Content-Length: 5") if is_head else stream)
            assert (ours.is_over, ours.has_surplus) == (True, False)
            assert ours.response.body is (Body.NONE if is_head else body)
            assert b"".join(ours.pieces) == (b"" if is_head else content)


FIELD = st.tuples(
    st.text("abcXYZ019-!#$%", min_size=1, max_size=9).map(lambda name: b"X-" + name.encode("ascii")),
    st.binary(max_size=20).map(lambda raw: bytes(b for b in raw if b == 9 or 32 <= b != 127).strip(b" \t")),
)


@given(
    st.lists(FIELD, max_size=5),
    st.one_of(st.binary(max_size=60), st.lists(st.binary(min_size=1, max_size=20), max_size=4)),
    st.lists(st.integers(0, 400), max_size=5),
)
@settings(derandomize=True, max_examples=200, deadline=None)
def test_any_answer_comes_back_as_it_was(fields, body, cuts):
    lines = [b"%b: %b" % field for field in fields]
    if isinstance(body, list):
        stream = chunked(b"".join(b"%x\r\n%b\r\n" % (len(one), one) for one in body) + b"0\r\n\r\n", *lines)
        body = b"".join(body)
    else:
        stream = known(body, *lines)
    points = sorted({0, len(stream), *(cut for cut in cuts if cut < len(stream))})
    ours = reader(*[stream[a:b] for a, b in itertools.pairwise(points)])
    assert ours.is_over
    assert not ours.has_surplus
    assert ours.response.fields[1:] == fields
    assert b"".join(ours.pieces) == body


@given(st.binary(max_size=200), st.integers(0, 200), st.booleans())
@settings(derandomize=True, max_examples=300, deadline=None)
def test_any_bytes_at_all_are_an_answer_or_malformed_and_never_another_error(data, cut, is_head):
    for stream in (data, b"HTTP/1.1 200 OK\r\n" + data, chunked(data), known(b"", b"X: y") + data):
        try:
            reader(stream[:cut], stream[cut:], is_head=is_head)
        except Malformed:
            pass


# What becomes of the fields


def test_fields_keep_their_order_case_duplicates_and_odd_bytes():
    lines = [b"set-cookie: a=1", b"X: \xe9\xff", b"Set-Cookie: b=2", b'ETag: "x"', b"Set-Cookie: a=1"]
    fields = reader(known(b"", *lines)).response.fields
    assert [b"%b: %b" % field for field in fields[1:]] == lines


def test_fields_of_one_connection_are_removed_and_those_that_it_names():
    ours = reader(
        known(
            b"",
            b"Connection: X-Mine, keep-alive",
            b"X-Mine: 1",
            b"Keep-Alive: timeout=5",
            b"Proxy-Authenticate: Basic",
            b"Proxy-Connection: keep-alive",
            b"Upgrade: h2c",
            b"X-Theirs: 2",
        )
    )
    assert ours.response.fields == [(b"Content-Length", b"0"), (b"X-Theirs", b"2")]


@pytest.mark.parametrize("name", [b"Content-Length", b"transfer-encoding", b"Set-Cookie"])
def test_connection_cannot_take_away_what_the_client_must_see(name):
    for stream in (
        known(b"hi", b"Connection: close, " + name, b"Set-Cookie: a=1"),
        chunked(b"0\r\n\r\n", b"Connection: close, " + name, b"Set-Cookie: a=1"),
    ):
        assert len(reader(stream).response.fields) == 2


@pytest.mark.parametrize(
    ("version", "connection", "stays"),
    [
        (b"1.1", None, True),
        (b"1.1", b"close", False),
        (b"1.1", b"Keep-Alive", True),
        (b"1.1", b"keep-alive, Close", False),
        (b"1.0", None, False),
        (b"1.0", b"Keep-Alive", True),
        (b"1.0", b"close, keep-alive", False),
    ],
)
def test_whether_the_instance_keeps_the_connection(version, connection, stays):
    lines = [b"Content-Length: 0"] + ([] if connection is None else [b"Connection: " + connection])
    assert reader(answer(*lines, version=version)).response.keep_alive is stays


@pytest.mark.parametrize("status", [b"204 No Content", b"100 Continue"])
def test_an_answer_that_never_has_a_body_tells_of_none(status):
    stream = answer(b"Content-Length: 5", b"X: y", status=status)
    ours = reader(stream)
    (head,) = (*ours.informational, *filter(None, [ours.response]))
    assert head.fields == [(b"X", b"y")]
    stream = answer(b"Transfer-Encoding: chunked", b"X: y", status=status)
    ours = reader(stream)
    (head,) = (*ours.informational, *filter(None, [ours.response]))
    assert head.fields == [(b"X", b"y")]


def test_the_length_of_what_a_304_stands_for_is_kept():
    ours = reader(answer(b"Content-Length: 5", status=b"304 Not Modified"))
    assert ours.response.fields == [(b"Content-Length", b"5")]


@pytest.mark.parametrize("field", [b"Content-Length: 5", b"Transfer-Encoding: chunked"])
def test_an_answer_that_speaks_of_a_body_it_never_has_is_the_last_of_its_connection(field):
    ours = reader(answer(field, status=b"204 No Content"))
    assert (ours.is_over, ours.response.keep_alive, ours.response.fields) == (True, False, [])
    assert reader(answer(b"Content-Length: 0", status=b"204 No Content")).response.keep_alive
    assert reader(answer(b"Transfer-Encoding: chunked", status=b"304 X")).response.fields == []


def test_trailers_that_come_too_late_or_belong_to_the_connection_are_left_out():
    late = b"Set-Cookie: a=b\r\nContent-Type: x\r\nX-Mine: 1\r\nDate: x\r\nConnection: close\r\n"
    ours = reader(chunked(b"0\r\nX-Sum: 1\r\n" + late + b"\r\n", b"Connection: x-mine"))
    assert ours.trailers == [(b"X-Sum", b"1")]


def test_what_is_for_everybody_cannot_be_named_as_of_one_connection():
    ours = reader(known(b"", b"Connection: cache-control, location", b"Cache-Control: no-store", b"Location: /a"))
    assert ours.response.fields[1:] == [(b"Cache-Control", b"no-store"), (b"Location", b"/a")]


def test_a_phrase_may_have_any_text():
    for phrase in (b"Not Found", b"", b"a\tb", b"\xc3\xbc", b"  "):
        assert reader(answer(b"Content-Length: 0", status=b"404 " + phrase)).response.status == 404


# More than was asked for


@pytest.mark.parametrize("surplus", [b"x", b"\x00", known(), b"HTTP/1.1 200 OK\r\n"])
@pytest.mark.parametrize("stream", [known(), chunked(b"0\r\n\r\n"), answer(status=b"204 No Content"), known(b"")])
def test_more_than_was_asked_for_is_noticed_and_not_taken_for_the_body(stream, surplus):
    alone = reader(stream)
    ours = reader(stream + surplus)
    assert ours.has_surplus
    assert seen(ours) == seen(alone)
    if len(stream) > len(known(b"")):
        ours = reader(stream[:-1], stream[-1:] + surplus)
        assert (ours.has_surplus, seen(ours)) == (True, seen(alone))


def test_a_body_behind_the_answer_to_a_head_is_surplus():
    for stream in (known(), chunked(b"3\r\nabc\r\n0\r\n\r\n"), answer(body=b"abc")):
        ours = reader(stream, is_head=True)
        assert (ours.is_over, ours.has_surplus, ours.pieces) == (True, True, [])


def test_bytes_behind_a_change_of_protocol_belong_to_that():
    ours = reader(answer(b"Connection: Upgrade", b"Upgrade: websocket", status=b"101 Switching", body=b"HTTP/1.1 \x00"))
    assert (ours.response.status, ours.response.upgrade, ours.rest) == (101, b"websocket", b"HTTP/1.1 \x00")


# What is no answer

BAD_HEADS = {
    "another protocol": b"220 mail.test ESMTP\r\n\r\n",
    "a request": b"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
    "http/0.9": b"<html>hello</html>",
    "version 2": b"HTTP/2 200 OK\r\n\r\n",
    "version 2.0": b"HTTP/2.0 200 OK\r\n\r\n",
    "version 1.2": b"HTTP/1.2 200 OK\r\n\r\n",
    "rtsp": b"RTSP/1.0 200 OK\r\n\r\n",
    "ice": b"ICE/1.0 200 OK\r\n\r\n",
    "an empty line first": b"\r\n" + answer(b"Content-Length: 0"),
    "chunked in HTTP/1.0": answer(b"Transfer-Encoding: chunked", version=b"1.0"),
    "signed length": answer(b"Content-Length: +3"),
    "empty length": answer(b"Content-Length:"),
    "length of 5000 digits": answer(b"Content-Length: " + b"0" * 4999 + b"3"),
    "NUL in the phrase": answer(status=b"200 a\x00b"),
    "escape in the phrase": answer(status=b"200 a\x1bb"),
    "two blanks before the status": b"HTTP/1.1  200 OK\r\n\r\n",
    "no colon": answer(b"X"),
    "control character in a value": answer(b"X: a\x01b"),
    "identity": answer(b"Transfer-Encoding: identity"),
    "status 99": answer(status=b"099 X"),
    "status 0": answer(status=b"000 X"),
    "status of two digits": answer(status=b"20 X"),
    "status of four digits": answer(status=b"2000 X"),
    "no status": answer(status=b"OK"),
    "CR in the phrase": answer(status=b"200 a\rb"),
    "LF behind the status line": b"HTTP/1.1 200 OK\nContent-Length: 0\n\n",
    "LF behind a field": b"HTTP/1.1 200 OK\r\nX: a\nContent-Length: 0\r\n\r\n",
    "folded line": answer(b"X: a", b" b"),
    "blank before a colon": answer(b"X : a"),
    "NUL in a value": answer(b"X: a\x00b"),
    "CR in a value": answer(b"X: a\rb"),
    "two lengths": answer(b"Content-Length: 3", b"Content-Length: 4"),
    "the same length twice": answer(b"Content-Length: 3", b"Content-Length: 3"),
    "list of lengths": answer(b"Content-Length: 3, 3"),
    "negative length": answer(b"Content-Length: -3"),
    "length of letters": answer(b"Content-Length: abc"),
    "length beyond 64 bits": answer(b"Content-Length: 18446744073709551616"),
    "length and coding": answer(b"Content-Length: 3", b"Transfer-Encoding: chunked"),
    "coding and length": answer(b"Transfer-Encoding: chunked", b"Content-Length: 3"),
    "gzip": answer(b"Transfer-Encoding: gzip"),
    "gzip and chunked": answer(b"Transfer-Encoding: gzip, chunked"),
    "chunked twice": answer(b"Transfer-Encoding: chunked", b"Transfer-Encoding: chunked"),
    "101 without a protocol": answer(b"Connection: Upgrade", status=b"101 X"),
    "101 without its Connection": answer(b"Upgrade: websocket", status=b"101 X"),
}
BAD_CHUNKS = {
    "size of letters": b"xyz\r\n",
    "negative size": b"-1\r\n",
    "size beyond 64 bits": b"10000000000000001\r\n",
    "blank behind the size": b"1 \r\nx\r\n0\r\n\r\n",
    "LF behind the size": b"1\nx\r\n0\r\n\r\n",
    "data too long": b"1\r\nxy\r\n0\r\n\r\n",
    "LF behind the data": b"1\r\nx\n0\r\n\r\n",
    "folded trailer": b"0\r\nX: a\r\n b\r\n\r\n",
    "length in the trailers": b"0\r\nContent-Length: 3\r\n\r\n",
}


@pytest.mark.parametrize("stream", BAD_HEADS.values(), ids=BAD_HEADS)
@pytest.mark.parametrize("is_head", [False, True])
def test_a_malformed_head_is_no_answer(stream, is_head):
    malformed(stream, is_head=is_head)
    malformed(*[bytes((byte,)) for byte in stream], is_head=is_head)


@pytest.mark.parametrize("coded", BAD_CHUNKS.values(), ids=BAD_CHUNKS)
def test_a_malformed_chunk_is_an_error_behind_the_head(coded):
    ours = reader(chunked(b""))
    with pytest.raises(Malformed):
        ours.feed(coded)
    assert ours.response is not None
    assert not ours.is_over


@pytest.mark.parametrize("step", [1, 7, 500, 10_000])
def test_a_head_at_the_limit_is_taken_and_beyond_it_refused_however_it_is_split(step):
    for size, is_taken in ((1000, True), (1001, False)):
        for before in (b"", answer(b"X: " + b"y" * 500, status=b"103 Early Hints")):
            fill = size - len(b"Content-Length: 50\r\nX: \r\n")
            stream = before + known(b"b" * 50, b"X: " + b"x" * fill)
            pieces = [stream[at : at + step] for at in range(0, len(stream), step)]
            if is_taken:
                assert reader(*pieces, limits=SMALL).is_over
            else:
                assert "head is too long" in malformed(*pieces, limits=SMALL)


def test_a_head_without_end_is_refused_before_it_fills_the_memory():
    assert "head is too long" in malformed(answer()[:-2], *[b"X: y" * 25] * 30, limits=SMALL)


def test_interim_answers_without_end_are_refused():
    assert "interim" in malformed(*[answer(status=b"103 Early Hints")] * 1000, limits=SMALL)


@pytest.mark.parametrize("endless", [b"T: x" * 50, b"T: x\r\n" * 10], ids=["one trailer field", "many trailer fields"])
def test_trailers_without_end_are_refused(endless):
    assert "trailer" in malformed(chunked(b"1\r\nx\r\n0\r\n"), *[endless] * 100, limits=SMALL)


def test_long_bodies_are_no_long_heads():
    ours = reader(limits=SMALL)
    for stream in (chunked(b"1\r\nx\r\n" * 3000 + b"0\r\n\r\n"), known(b"x" * 10_000), answer(body=b"x" * 10_000)):
        ours.expect(False)
        for at in range(0, len(stream), 3):
            ours.feed(stream[at : at + 3])
        assert len(b"".join(ours.pieces)) >= 3000


def test_an_answer_of_any_status_from_100_to_999_is_an_answer():
    for status in range(102, 1000):
        ours = reader(answer(b"Content-Length: 0", status=b"%d X" % status))
        (head,) = (*ours.informational, *filter(None, [ours.response]))
        assert head.status == status
