"""Malformed and ambiguous requests: each is refused, whatever the split, and none is passed on (RFC 9112)."""

from __future__ import annotations

import pytest

from tests.test_reader import HOST, chunked, get, reader

BAD_HEADS = {
    # request line
    "no method": b" / HTTP/1.1\r\n" + HOST,
    "method in lower case": b"get / HTTP/1.1\r\n" + HOST,
    "method with a blank": b"GE T / HTTP/1.1\r\n" + HOST,
    "method that is no token": b"FR(OB / HTTP/1.1\r\n" + HOST,
    "known method in mixed case": b"Get / HTTP/1.1\r\n" + HOST,
    "method of another protocol in lower case": b"play / HTTP/1.1\r\n" + HOST,
    "method without end": b"X" * 33 + b" / HTTP/1.1\r\n" + HOST,
    "extension method with a tab": b"FROB\t/ HTTP/1.1\r\n" + HOST,
    "extension method alone": b"FROB\r\n" + HOST,
    "extension method without a target": b"FROB HTTP/1.1\r\n" + HOST,
    "extension method and two blanks": b"FROB  / HTTP/1.1\r\n" + HOST,
    "TRACE": b"TRACE / HTTP/1.1\r\n" + HOST,
    "LF before the request": b"\nGET / HTTP/1.1\r\n" + HOST,
    "CR before the request": b"\rGET / HTTP/1.1\r\n" + HOST,
    "LF and CR before the request": b"\n\rGET / HTTP/1.1\r\n" + HOST,
    "many empty lines before the request": b"\r\n" * 9 + b"GET / HTTP/1.1\r\n" + HOST,
    "fragment": b"GET /a#b HTTP/1.1\r\n" + HOST,
    "https on a connection that is not secure": b"GET https://a.test/ HTTP/1.1\r\n" + HOST,
    "odd Max-Forwards": b"OPTIONS / HTTP/1.1\r\nMax-Forwards: 1a\r\n" + HOST,
    "two Max-Forwards": b"OPTIONS / HTTP/1.1\r\nMax-Forwards: 5\r\nMax-Forwards: 5\r\n" + HOST,
    "white space before the method": b" GET / HTTP/1.1\r\n" + HOST,
    "tab behind the method": b"GET\t/ HTTP/1.1\r\n" + HOST,
    "tab behind the target": b"GET /\tHTTP/1.1\r\n" + HOST,
    "vertical tab as a blank": b"GET\x0b/ HTTP/1.1\r\n" + HOST,
    "no target": b"GET HTTP/1.1\r\n" + HOST,
    "no version": b"GET /\r\n" + HOST,
    "relative target": b"GET a/b HTTP/1.1\r\n" + HOST,
    "query alone": b"GET ?a HTTP/1.1\r\n" + HOST,
    "blank in the target": b"GET /a b HTTP/1.1\r\n" + HOST,
    "two blanks before the target": b"GET  / HTTP/1.1\r\n" + HOST,
    "two blanks behind the target": b"GET /  HTTP/1.1\r\n" + HOST,
    "NUL in the target": b"GET /a\x00b HTTP/1.1\r\n" + HOST,
    "control character in the target": b"GET /a\x01b HTTP/1.1\r\n" + HOST,
    "DEL in the target": b"GET /a\x7fb HTTP/1.1\r\n" + HOST,
    "eighth bit in the target": b"GET /\xe9 HTTP/1.1\r\n" + HOST,
    "CR in the target": b"GET /a\rb HTTP/1.1\r\n" + HOST,
    "version 1.2": b"GET / HTTP/1.2\r\n" + HOST,
    "version 1.10": b"GET / HTTP/1.10\r\n" + HOST,
    "version 01.1": b"GET / HTTP/01.1\r\n" + HOST,
    "version 1": b"GET / HTTP/1\r\n" + HOST,
    "version 1,1": b"GET / HTTP/1,1\r\n" + HOST,
    "version in lower case": b"GET / http/1.1\r\n" + HOST,
    "blank in the version": b"GET / HTTP /1.1\r\n" + HOST,
    "blank behind the version": b"GET / HTTP/1.1 \r\n" + HOST,
    "LF behind the request line": b"GET / HTTP/1.1\n" + HOST,
    "CR behind the request line": b"GET / HTTP/1.1\r" + HOST,
    "an answer": b"HTTP/1.1 200 OK\r\n" + HOST,
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    # fields
    "white space before the first field": b"GET / HTTP/1.1\r\n " + HOST,
    "blank before a colon": b"GET / HTTP/1.1\r\nHost : a\r\n",
    "tab before a colon": b"GET / HTTP/1.1\r\nHost\t: a\r\n",
    "no colon": b"GET / HTTP/1.1\r\n" + HOST + b"X\r\n",
    "no name": b"GET / HTTP/1.1\r\n" + HOST + b": x\r\n",
    "blank in a name": b"GET / HTTP/1.1\r\n" + HOST + b"X Y: z\r\n",
    "NUL in a name": b"GET / HTTP/1.1\r\n" + HOST + b"X\x00: y\r\n",
    "separator in a name": b"GET / HTTP/1.1\r\n" + HOST + b"X@Y: z\r\n",
    "eighth bit in a name": b"GET / HTTP/1.1\r\n" + HOST + b"X\xe9: y\r\n",
    "folded line": b"GET / HTTP/1.1\r\n" + HOST + b"X: a\r\n b\r\n",
    "folded empty line": b"GET / HTTP/1.1\r\n" + HOST + b"X: a\r\n \r\n",
    "LF behind a field": b"GET / HTTP/1.1\r\nHost: a\nX: y\r\n",
    "CR behind a field": b"GET / HTTP/1.1\r\nHost: a\rX: y\r\n",
    "CR in a value": b"GET / HTTP/1.1\r\n" + HOST + b"X: a\rb\r\n",
    "NUL in a value": b"GET / HTTP/1.1\r\n" + HOST + b"X: a\x00b\r\n",
    "control character in a value": b"GET / HTTP/1.1\r\n" + HOST + b"X: a\x01b\r\n",
    "DEL in a value": b"GET / HTTP/1.1\r\n" + HOST + b"X: a\x7fb\r\n",
    # host
    "no host": b"GET / HTTP/1.1\r\nX: y\r\n",
    "two hosts": b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n",
    "the same host twice": b"GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n",
    "two hosts in HTTP/1.0": b"GET / HTTP/1.0\r\nHost: a\r\nHost: b\r\n",
    "list of hosts": b"GET / HTTP/1.1\r\nHost: a, b\r\n",
    "user and host": b"GET / HTTP/1.1\r\nHost: u@a\r\n",
    "path in the host": b"GET / HTTP/1.1\r\nHost: a/b\r\n",
    "blank in the host": b"GET / HTTP/1.1\r\nHost: a b\r\n",
    "eighth bit in the host": b"GET / HTTP/1.1\r\nHost: \xe9\r\n",
    "port of letters": b"GET / HTTP/1.1\r\nHost: a:http\r\n",
    "port too long": b"GET / HTTP/1.1\r\nHost: a:123456\r\n",
    "bracket left open": b"GET / HTTP/1.1\r\nHost: [::1\r\n",
}
P = b"POST / HTTP/1.1\r\n" + HOST
BAD_FRAMING = {
    "two lengths": P + b"Content-Length: 3\r\nContent-Length: 4\r\n",
    "the same length twice": P + b"Content-Length: 3\r\nContent-Length: 3\r\n",
    "list of lengths": P + b"Content-Length: 3, 3\r\n",
    "signed length": P + b"Content-Length: +3\r\n",
    "negative length": P + b"Content-Length: -3\r\n",
    "length in hexadecimal": P + b"Content-Length: 0x3\r\n",
    "length with a fraction": P + b"Content-Length: 3.0\r\n",
    "length with an underscore": P + b"Content-Length: 1_0\r\n",
    "length of 5000 digits": P + b"Content-Length: " + b"0" * 4999 + b"3\r\n",
    "blank in the length": P + b"Content-Length: 1 0\r\n",
    "empty length": P + b"Content-Length:\r\n",
    "length beyond 64 bits": P + b"Content-Length: 18446744073709551616\r\n",
    "length of other digits": P + "Content-Length: \u0663\r\n".encode(),
    "length and coding": P + b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n",
    "coding and length": P + b"Transfer-Encoding: chunked\r\nContent-Length: 3\r\n",
    "chunked twice": P + b"Transfer-Encoding: chunked, chunked\r\n",
    "two codings of chunked": P + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
    "chunked before another": P + b"Transfer-Encoding: chunked, gzip\r\n",
    "chunked and identity": P + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n",
    "identity and chunked": P + b"Transfer-Encoding: identity\r\nTransfer-Encoding: chunked\r\n",
    "gzip and chunked": P + b"Transfer-Encoding: gzip, chunked\r\n",
    "gzip": P + b"Transfer-Encoding: gzip\r\n",
    "identity": P + b"Transfer-Encoding: identity\r\n",
    "something like chunked": P + b"Transfer-Encoding: xchunked\r\n",
    "chunked with a parameter": P + b"Transfer-Encoding: chunked;q=1\r\n",
    "chunked in quotes": P + b'Transfer-Encoding: "chunked"\r\n',
    "vertical tab before chunked": P + b"Transfer-Encoding: \x0bchunked\r\n",
    "empty coding": P + b"Transfer-Encoding:\r\n",
    "comma before chunked": P + b"Transfer-Encoding: ,chunked\r\n",
    "comma behind chunked": P + b"Transfer-Encoding: chunked,\r\n",
    "tab behind chunked": P + b"Transfer-Encoding: chunked\t\r\n",
    "eighth bit behind chunked": P + b"Transfer-Encoding: chunked\xa0\r\n",
    "folded coding": P + b"Transfer-Encoding:\r\n chunked\r\n",
    "blank before the colon of the coding": P + b"Transfer-Encoding : chunked\r\n",
    "chunked in HTTP/1.0": b"POST / HTTP/1.0\r\n" + HOST + b"Transfer-Encoding: chunked\r\n",
}
BAD_CHUNKS = {
    "no size": b"\r\nabc\r\n0\r\n\r\n",
    "negative size": b"-3\r\nabc\r\n0\r\n\r\n",
    "signed size": b"+3\r\nabc\r\n0\r\n\r\n",
    "size with 0x": b"0x3\r\nabc\r\n0\r\n\r\n",
    "size with an underscore": b"1_0\r\n",
    "blank before the size": b" 3\r\nabc\r\n0\r\n\r\n",
    "blank behind the size": b"3 \r\nabc\r\n0\r\n\r\n",
    "size of letters": b"xyz\r\nabc\r\n0\r\n\r\n",
    "size beyond 64 bits": b"10000000000000003\r\nabc\r\n0\r\n\r\n",
    "LF behind the size": b"3\nabc\r\n0\r\n\r\n",
    "CR behind the size": b"3\rabc\r\n0\r\n\r\n",
    "LF in an extension": b"3;a\nabc\r\n0\r\n\r\n",
    "CR in an extension": b"3;a\rb\r\nabc\r\n0\r\n\r\n",
    "NUL in an extension": b"3;a\x00\r\nabc\r\n0\r\n\r\n",
    "LF behind the data": b"3\r\nabc\n0\r\n\r\n",
    "data too long": b"3\r\nabcd\r\n0\r\n\r\n",
    "data too short": b"4\r\nabc\r\n0\r\n\r\n",
    "nothing behind the data": b"3\r\nabc0\r\n\r\n",
    "LF at the end": b"0\r\n\n",
    "trailer without a colon": b"0\r\nX\r\n\r\n",
    "folded trailer": b"0\r\nX: a\r\n b\r\n\r\n",
    "LF behind a trailer": b"0\r\nX: a\n\r\n",
    "CR in a trailer": b"0\r\nX: a\rb\r\n\r\n",
    "length in the trailers": b"0\r\nContent-Length: 3\r\n\r\n",
    "coding in the trailers": b"0\r\nTransfer-Encoding: chunked\r\n\r\n",
}


def in_every_way(data):
    """What readers make of it: in one piece, byte by byte, and in two pieces at every point."""
    yield reader(data)
    yield reader(*[bytes((byte,)) for byte in data])
    for at in range(1, len(data)):
        yield reader(data[:at], data[at:])


@pytest.mark.parametrize("head", [*BAD_HEADS.values(), *BAD_FRAMING.values()], ids=[*BAD_HEADS, *BAD_FRAMING])
def test_a_malformed_head_is_refused_and_nothing_is_passed_on(head):
    for ours in in_every_way(head + b"\r\n" + b"0\r\n\r\nGET /smuggled HTTP/1.1\r\n" + HOST + b"\r\n"):
        assert ours.refusal is not None
        assert 400 <= ours.refusal.status < 600
        assert len(ours.waiting) == 0


@pytest.mark.parametrize("coded", BAD_CHUNKS.values(), ids=BAD_CHUNKS)
def test_a_malformed_chunk_is_refused_and_nothing_behind_it_is_passed_on(coded):
    for ours in in_every_way(chunked(coded) + get(target=b"/smuggled")):
        assert ours.refusal is not None
        assert ours.refusal.status == 400
        (request,) = ours.waiting
        assert request.target == b"/"
        assert not request.is_complete


@pytest.mark.parametrize("method", [b"SOURCE", b"DESCRIBE", b"ANNOUNCE", b"SETUP", b"PLAY", b"PAUSE", b"TEARDOWN"])
def test_methods_of_other_protocols_are_refused(method):
    for ours in in_every_way(get(method=method)):
        assert ours.refusal is not None
        assert len(ours.waiting) == 0


@pytest.mark.parametrize("version", [b"0.9", b"2.0"])
def test_other_versions_are_refused_by_name(version):
    assert reader(get(version=version)).refusal.status == 505


def test_the_preface_of_http_2_is_refused():
    ours = reader(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
    assert ours.refusal is not None
    assert len(ours.waiting) == 0


def test_after_a_refusal_nothing_is_read():
    ours = reader(b"nonsense\r\n\r\n", get())
    assert len(ours.waiting) == 0


def test_a_refusal_shows_nothing_of_what_was_sent():
    for head in (*BAD_HEADS.values(), *BAD_FRAMING.values()):
        assert "smuggled" not in reader(head + b"\r\n").refusal.text
    assert "<script>" not in reader(b"<script> / HTTP/1.1\r\n\r\n").refusal.text
