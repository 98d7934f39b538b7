"""What must hold for any bytes. Each target takes some, and raises an `AssertionError` where it does not."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from rolling_router.proxy.headers import Kind, cookie_values, sharing, tokens, without_cookies
from rolling_router.proxy.knowing import KnowingReader
from rolling_router.proxy.known import Known
from rolling_router.proxy.limits import Limits
from rolling_router.proxy.reader import RequestReader
from rolling_router.proxy.request import Body
from rolling_router.proxy.response import Malformed, ResponseReader
from rolling_router.proxy.trust import Peer, Trust

LIMITS = Limits(line_bytes=200, head_bytes=2000, head_fields=12, body_bytes=500, requests_per_connection=6)
TRUST = Trust.parse(["10.0.0.0/8"])
PEERS = (Peer("192.0.2.7", False, False), Peer("10.0.0.1", False, True))
CHUNKED = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
CHUNKED_ANSWER = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


def requests(data: bytes) -> None:
    """A client's bytes mean the same however they are split, and whether or not their like came before."""
    peer, stream = PEERS[data[0] & 1 if data else 0], data[2:]
    cut = data[1] if len(data) > 1 else 0
    whole = _requests(RequestReader(peer, TRUST, LIMITS, frozenset((b"pin",)), b"edge"), [stream])
    for pieces in _splits(stream, cut):
        assert _requests(RequestReader(peer, TRUST, LIMITS, frozenset((b"pin",)), b"edge"), pieces) == whole, pieces
    known: Known[Any] = Known()
    for _ in range(3):
        again = KnowingReader(peer, TRUST, LIMITS, frozenset((b"pin",)), known, b"edge")
        assert _requests(again, [stream]) == whole


def answers(data: bytes) -> None:
    """So do an instance's, as long as nothing comes behind the answer."""
    is_head, stream, cut = data[:1] > b"\xdf", data[2:], data[1] if len(data) > 1 else 0
    whole = _answer([stream], is_head)
    if whole is None:
        return
    for pieces in _splits(stream, cut):
        again = _answer(pieces, is_head)
        assert again is None or again == whole, pieces


def chunks(data: bytes) -> None:
    """Chunked bodies, either way."""
    requests(b"\x00" + data[:1] + CHUNKED + data[1:])
    answers(b"\x00" + (data[:1] or b"\x00") + CHUNKED_ANSWER + data[1:])


def fields(data: bytes) -> None:
    """Values of fields: cookies, lists, caching, who the client is."""
    lines = [line for line in data.split(b"\n") if b"\r" not in line and b"\x00" not in line]
    for line in lines:
        rest = without_cookies(line, (b"pin", b"x"))
        assert cookie_values([rest], b"pin") == cookie_values([rest], b"x") == []
        assert without_cookies(rest, (b"pin", b"x")) == rest
        assert all(token == token.strip(b" \t").lower() and token for token in tokens(line))
        sharing([(Kind.CACHE_CONTROL, line), (Kind.EXPIRES, line)])
        address = TRUST.client_behind("10.0.0.1", line)
        assert address
        assert address.isascii()
        assert not set(address) & set("\r\n, ")
    cookie_values(lines, b"pin")


TARGETS: dict[str, Callable[[bytes], None]] = {
    "requests": requests,
    "answers": answers,
    "chunks": chunks,
    "fields": fields,
}


def seeds(target: str) -> list[bytes]:
    """Where to begin: the cases of tests/corpus, in the form that the target takes."""
    from tests.corpus.requests import CASES

    streams = [stream for stream, _ in CASES.values()]
    if target == "requests":
        return [b"\x00\x40" + stream for stream in streams]
    if target == "chunks":
        found = [stream.partition(b"\r\n\r\n")[2] for stream in streams if b"chunked" in stream]
        return [b"\x03" + body for body in found]
    if target == "answers":
        body = b"5;x=y\r\nhello\r\n0\r\nX: y\r\n\r\n"
        heads = (b"Content-Length: 5\r\n\r\nhello", b"Transfer-Encoding: chunked\r\n\r\n" + body)
        statuses = (b"200 OK", b"204 No Content", b"304 Not Modified", b"101 Switching", b"103 Hints", b"502")
        return [b"\x00\x20HTTP/1.%d %b\r\n%b" % (m, s, h) for m in (0, 1) for s in statuses for h in heads]
    return [b"a=1; pin=x; b=2\npin; x=y;;", b"max-age=1, private", b"1.1.1.1, [::1]:80, 10.0.0.2", b"a, ,B"]


def _splits(stream: bytes, cut: int) -> Iterable[Sequence[bytes]]:
    at = cut * (len(stream) + 1) >> 8
    yield [stream[:at], stream[at:]]
    if len(stream) < 400:
        yield [stream[at : at + 1] for at in range(len(stream))]


def _requests(reader: RequestReader, pieces: Sequence[bytes]) -> Any:
    for piece in pieces:
        reader.feed(piece)
    while reader.surplus is not None:
        reader.go_on()
    told = []
    for request in reader.waiting:
        request.id = b"same"
        assert request.is_complete or request.body is not Body.NONE
        # How much there is of a body that is refused in its middle depends on the split, too.
        body = b"".join(request.pieces) if request.is_complete or reader.refusal is None else None
        trailers = list(request.trailers) if request.is_complete else None
        told.append((request.head(b"h:1"), body, trailers, request.is_complete, request.keep_alive))
    # Where several things are wrong, how far one has read decides which of them is told.
    return told, reader.refusal is not None


def _answer(pieces: Sequence[bytes], is_head: bool) -> Any:
    """What was read; ``None`` where it is malformed, or more came than was asked for."""
    reader = ResponseReader(LIMITS)
    reader.expect(is_head)
    try:
        for piece in pieces:
            if reader.is_over and piece:
                return None
            reader.feed(piece)
    except Malformed:
        return None
    response = reader.response
    if reader.has_surplus or response is None or response.status == 101:
        return None
    body, trailers = b"".join(reader.pieces), list(reader.trailers) if reader.is_over else None
    return response.status, response.phrase, response.fields, body, trailers, response.keep_alive, reader.is_over
