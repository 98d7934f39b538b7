"""Seeded changes to streams: the same seed gives the same streams."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence

PIECES = (
    *(bytes((one,)) for one in b"\r\n\t \x00\x0b\x0c\x7f\x80\xa0\xff:;,=\"'\\/_-+0159afx#?*@"),
    b"\r\n",
    b"\n\r",
    b"\r\n\r\n",
    b"\r\n ",
    b"chunked",
    b"Content-Length: 3\r\n",
    b"Content-Length: 0\r\n",
    b"Transfer-Encoding: chunked\r\n",
    b"Connection: close\r\n",
    b"Connection: keep-alive, x\r\n",
    b"Host: b.test\r\n",
    b"Expect: 100-continue\r\n",
    b"Upgrade: websocket\r\nConnection: upgrade\r\n",
    b"0\r\n\r\n",
    b"3\r\nabc\r\n",
    b"HTTP/1.0",
    b"GET ",
)


def mutated(seeds: Sequence[bytes], seed: int, count: int) -> Iterator[bytes]:
    """Streams made from these by one to four changes each."""
    lots = random.Random(seed)
    for _ in range(count):
        stream = lots.choice(seeds)
        for _ in range(lots.choice((1, 1, 1, 2, 2, 3, 4))):
            stream = _changed(stream, seeds, lots)
        yield stream


def _changed(stream: bytes, seeds: Sequence[bytes], lots: random.Random) -> bytes:
    at = lots.randrange(len(stream) + 1)
    to = min(len(stream), at + lots.choice((1, 1, 1, 2, 3, 8, 30)))
    how = lots.randrange(8)
    if how == 0:
        return stream[:at] + stream[to:]
    if how == 1:
        return stream[:to] + stream[at:]  # once more
    if how == 2 and at < len(stream):
        return stream[:at] + bytes((stream[at] ^ 1 << lots.randrange(8),)) + stream[at + 1 :]
    if how == 3:
        return stream[:at] + lots.choice(PIECES) + stream[to:]
    if how == 4:
        other = lots.choice(seeds)
        return stream[:at] + other[lots.randrange(len(other)) :]
    if how == 5:
        lines = stream.split(b"\r\n")
        one, two = lots.randrange(len(lines)), lots.randrange(len(lines))
        lines[one], lines[two] = lines[two], lines[one]
        return b"\r\n".join(lines)
    return stream[:at] + lots.choice(PIECES) + stream[at:]
