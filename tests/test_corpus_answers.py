"""Answers of instances, changed by lot: malformed, or read as another parser reads them, however they are split."""

from __future__ import annotations

import h11

from rolling_router.proxy.limits import Limits
from rolling_router.proxy.request import Body
from rolling_router.proxy.response import Malformed, ResponseReader
from tests.corpus.mutate import mutated
from tests.test_response import BAD_CHUNKS, BAD_HEADS, HEADS, STREAMS, chunked, seen

SEED, MUTATIONS = 20261123, 6000
GOOD = [stream for stream, *_ in STREAMS.values()]
SEEDS = [*GOOD * 25, *HEADS.values(), *BAD_HEADS.values(), *map(chunked, BAD_CHUNKS.values())]


def read(pieces, is_head):
    """The reader after these pieces, and whether they made it stop."""
    ours = ResponseReader(Limits())
    ours.expect(is_head)
    try:
        for piece in pieces:
            if ours.is_over:
                ours.has_surplus = ours.has_surplus or bool(piece)
            else:
                ours.feed(piece)
    except Malformed:
        return ours, True
    return ours, False


def by_h11(stream, method):
    """Status and body of the answer that h11 finds; ``None`` where it finds none that is whole."""
    theirs = h11.Connection(h11.CLIENT)
    theirs.send(h11.Request(method=method, target="/", headers=[("Host", "a"), ("Connection", "Upgrade")]))
    theirs.send(h11.EndOfMessage())
    theirs.receive_data(stream)
    try:
        while isinstance(head := theirs.next_event(), h11.InformationalResponse):
            pass
        if not isinstance(head, h11.Response):
            return None
        body = b""
        while not isinstance(event := theirs.next_event(), h11.EndOfMessage):
            if not isinstance(event, h11.Data):
                return None
            body += bytes(event.data)
    except h11.RemoteProtocolError:
        return None
    return head.status_code, body


def test_what_is_whole_is_what_another_parser_reads():
    whole = 0
    for at, stream in enumerate((*SEEDS, *mutated(SEEDS, SEED, MUTATIONS))):
        is_head = at % 5 == 0
        ours, stopped = read([stream], is_head)
        # h11 knows nothing above 999 and gives up at 101.
        if stopped or not ours.is_over or ours.response.status == 101:
            continue
        whole += 1
        theirs = by_h11(stream, "HEAD" if is_head else "GET")
        assert theirs == (ours.response.status, b"".join(ours.pieces)), stream
    assert whole > MUTATIONS / 8


def test_changed_answers_are_read_the_same_however_they_are_split():
    for at, stream in enumerate(mutated(SEEDS, SEED + 1, 3000)):
        is_head = at % 5 == 0
        ours, stopped = read([stream], is_head)
        if ours.response is not None and ours.response.body is Body.NONE and ours.has_surplus:
            continue  # what comes behind it may be looked at or not: the connection is not used again
        cut = at % (len(stream) + 1)
        for pieces in ([stream[:cut], stream[cut:]], [bytes((byte,)) for byte in stream]):
            again, stopped_again = read(pieces, is_head)
            assert stopped_again == stopped, stream
            if not stopped:
                assert seen(again) == seen(ours), stream
