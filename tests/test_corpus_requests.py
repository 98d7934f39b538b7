"""What attackers send, as it is and changed by lot: refused, or read as another parser reads it."""

from __future__ import annotations

import h11
import pytest

from rolling_router.proxy.reader import RequestReader
from rolling_router.proxy.request import Body, Request, chunk, last_chunk
from tests.corpus.mutate import mutated
from tests.corpus.requests import CASES
from tests.test_reader import reader, seen

SEED, MUTATIONS = 20261123, 6000
STREAMS = [stream for stream, _ in CASES.values()]
# Most changes of a malformed stream leave it malformed, so begin with a good one more often.
SEEDS = [*STREAMS, *[stream for stream, statuses in CASES.values() if set(statuses) == {200}] * 15]

Plain = tuple[bytes, bytes, bytes]


def complete(ours: RequestReader) -> list[Request]:
    return [request for request in ours.waiting if request.is_complete]


def read_all(stream: bytes) -> RequestReader:
    """All requests in it, as if every offer of another protocol were declined."""
    ours = reader(stream)
    while ours.surplus is not None:
        ours.go_on()
    return ours


def plain(request: Request) -> Plain:
    return request.method, request.target, b"".join(request.pieces)


def by_h11(stream: bytes) -> list[Plain]:
    """The requests that h11 finds, up to the first thing that it does not take."""
    found: list[Plain] = []
    while stream := stream.lstrip(b"\r\n"):
        theirs = h11.Connection(h11.SERVER, max_incomplete_event_size=1 << 20)
        theirs.receive_data(stream)
        try:
            head, body = theirs.next_event(), b""
            if not isinstance(head, h11.Request):
                break
            while isinstance(event := theirs.next_event(), h11.Data):
                body += bytes(event.data)
        except h11.RemoteProtocolError:
            break
        if not isinstance(event, h11.EndOfMessage):
            break
        found.append((head.method, head.target, body))
        if theirs.their_state is h11.MUST_CLOSE:
            break
        stream = theirs.trailing_data[0]
    return found


def sent_on(request: Request) -> bytes:
    """What an instance gets of it, as `proxy.upstream` sends it."""
    head = request.head(b"10.0.0.1:80")
    if request.body is Body.CHUNKED:
        pieces = chunk(request.pieces) if request.pieces else []
        return head + b"".join(pieces) + last_chunk(request.trailers)
    return head + b"".join(request.pieces)


def target_of(request: Request, found: Plain) -> Plain:
    """h11 leaves the absolute form as it is."""
    method, target, body = found
    return method, request.target if target.lower().startswith(b"http://") else target, body


@pytest.mark.parametrize(("stream", "statuses"), CASES.values(), ids=CASES)
def test_a_case_ends_as_it_must_however_it_is_split(stream, statuses):
    ours = read_all(stream)
    got = [200] * len(complete(ours))
    if ours.refusal is not None:
        got.append(ours.refusal.status)
    assert got == statuses
    assert b"/smuggled" not in [request.target for request in ours.waiting] or statuses == [200, 200]
    whole = seen(reader(stream))
    assert seen(reader(*[bytes((byte,)) for byte in stream])) == whole
    for at in range(len(stream)):
        assert seen(reader(stream[:at], stream[at:])) == whole, at


def test_what_is_taken_is_what_another_parser_reads():
    taken = 0
    for stream in (*STREAMS, *mutated(SEEDS, SEED, MUTATIONS)):
        ours = complete(read_all(stream))
        theirs = by_h11(stream)
        for at, request in enumerate(ours):
            assert at < len(theirs), (stream, plain(request))
            assert plain(request) == target_of(request, theirs[at]), stream
        taken += len(ours)
    assert taken > MUTATIONS / 5, "the mutations leave too little to compare"


def test_what_is_sent_on_is_one_request_with_the_same_body_to_another_parser():
    for stream in (*STREAMS, *mutated(SEEDS, SEED + 1, MUTATIONS)):
        ours = complete(read_all(stream))
        assert by_h11(b"".join(map(sent_on, ours))) == [plain(request) for request in ours], stream


def test_changed_streams_are_read_the_same_however_they_are_split():
    for at, stream in enumerate(mutated(SEEDS, SEED + 2, 1500)):
        whole = seen(reader(stream))
        cut = at % (len(stream) + 1)
        assert seen(reader(stream[:cut], stream[cut:])) == whole, stream
        assert seen(reader(*[bytes((byte,)) for byte in stream])) == whole, stream
