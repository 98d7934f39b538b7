"""
Everything at once, by lot: clients, instances, the network, the store and the clock do as they please.

Whatever happens, each client gets the answers to its own requests, whole and in order, or sees that one is missing;
each instance gets well-formed requests; no request that is not repeatable is sent twice; and in the end nothing is
left (see `tests.fakes.House.leave`).
"""

from __future__ import annotations

import random
from collections import Counter

import pytest

from rolling_router.proxy.limits import Limits
from rolling_router.proxy.reader import RequestReader
from rolling_router.proxy.request import Body
from rolling_router.proxy.response import ResponseReader
from rolling_router.proxy.trust import Peer, Trust
from rolling_router.rollout.model import Snapshot
from tests.fakes import ALONE, NEW, OLD

LIMITS = Limits(head_seconds=20, idle_seconds=20, answer_seconds=20, body_seconds=20, pool_seconds=4, pool_idle=3)


class Crowd:
    """Who plays: a house, its clients and instances, and the lots that they draw."""

    def __init__(self, house, seed):
        self.house = house
        self.lots = random.Random(seed)
        self.clients = []
        self.instances = []
        self.requests = 0

    def step(self):
        kinds = {
            "arrive": (3, self.arrive),
            "talk": (30, self.talk),
            "accept": (10, self.accept),
            "refuse": (1, self.refuse),
            "answer": (40, self.answer),
            "room": (8, self.room),
            "client leaves": (1, lambda: self.leave(self.clients)),
            "instance leaves": (2, lambda: self.leave(self.instances)),
            "time": (4, lambda: self.house.wait(self.lots.choice([0.25, 1, 3]))),
            "change": (2, self.change),
        }
        weights = [weight for weight, _ in kinds.values()]
        ((_, act),) = self.lots.choices(list(kinds.values()), weights)
        act()

    def arrive(self):
        if len(self.clients) < 40:
            self.clients.append(Guest(self.house.client(), self.lots))

    def talk(self):
        for guest in self.some(self.clients):
            if not guest.to_say:
                guest.ask(self.requests, self.lots)
                self.requests += 1
            guest.say(self.lots)

    def accept(self):
        if self.house.connecting:
            self.instances.append(Host(self.house.accept(), self.lots))

    def refuse(self):
        if self.house.connecting:
            self.house.refuse()

    def answer(self):
        for host in self.some(self.instances):
            host.listen()
            host.say(self.lots)

    def room(self):
        for one in self.some(self.clients + self.instances):
            one.end.make_room(self.lots.choice([None, None, 0, 10, 1000, 100_000]))

    def leave(self, ones):
        for one in self.some(ones):
            self.lots.choice([one.end.close, one.end.reset])()

    def change(self):
        blend = self.lots.choice([0, 1, 50, 99, 100])
        candidate = self.lots.choice([NEW, ALONE, None])
        self.house.follow(Snapshot("shop", self.lots.choice([OLD, OLD, NEW]), candidate, blend))

    def some(self, ones):
        """One of them that is still there, or none."""
        there = [one for one in ones if one.end.is_open]
        return [self.lots.choice(there)] if there else []


class Guest:
    """A client: asks, in pieces, and keeps what it asked."""

    def __init__(self, end, lots):
        self.end = end
        self.asked = []
        self.to_say = b""

    def ask(self, number, lots):
        body = (b"%d." % number) * lots.choice([1, 10, 30_000 if lots.random() < 0.1 else 5])
        kind = lots.choice(["GET", "HEAD", "known", "known", "chunked", "PUT"])
        self.asked.append((number, b"HEAD" if kind == "HEAD" else b"GET"))
        head = b"%b /%d HTTP/1.1\r\nHost: shop.test\r\n"
        if lots.random() < 0.1:  # as some clients do with every request
            head += b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n"
        if kind in ("GET", "HEAD"):
            self.to_say += head % (kind.encode(), number) + b"\r\n"
        elif kind == "chunked":
            pieces = [body[at : at + 7000] for at in range(0, len(body), 7000)]
            coded = b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces)
            coded = b"Transfer-Encoding: chunked\r\n\r\n" + coded + b"0\r\nT: u\r\n\r\n"
            self.to_say += head % (b"POST", number) + coded
        else:
            method = b"PUT" if kind == "PUT" else b"POST"
            self.to_say += head % (method, number) + b"Content-Length: %d\r\n\r\n" % len(body) + body

    def say(self, lots):
        count = lots.choice([1, 20, 5000, 200_000, 200_000])
        piece, self.to_say = self.to_say[:count], self.to_say[count:]
        self.end.send(piece)

    def check(self):
        """What it got are answers to what it asked, in their order; says their statuses. The last one may be cut."""
        got, statuses = bytes(self.end.line.wire.sent), []
        for number, method in self.asked:
            answer, used = read_answer(got, method == b"HEAD")
            got = got[used:]
            if answer is None:
                assert got == b""
                break
            status, body, is_whole = answer
            statuses.append(status)
            echo = b"echo:%d;" % number
            if status == 200:
                assert body[: len(echo)] == echo[: len(body)]
                assert set(body[len(echo) :]) <= set(b"x")
            else:
                assert status in (408, 502, 503, 504)
            if status == 408:  # of a request that never came to its end, so that its method may be unknown
                break
            assert is_whole or got == b""
        else:
            assert got == b""
        return statuses


def read_answer(data, is_head):
    """The answer that these bytes begin with (status, body, whether it is whole) or ``None``; and where it ends."""
    reader = ResponseReader(Limits())
    reader.expect(is_head)
    used = 0
    while not reader.is_over and used < len(data):
        response = reader.response
        # No further than the answer can go: what is behind it belongs to the next one.
        step = 1
        if response is not None and response.body is Body.KNOWN:
            step = response.length - sum(map(len, reader.pieces))
        reader.feed(data[used : used + step])
        used += step
    if reader.response is None:
        return None, used
    return (reader.response.status, b"".join(reader.pieces), reader.is_over), used


class Host:
    """An instance: reads requests, and answers in pieces, mostly well."""

    def __init__(self, end, lots):
        self.end = end
        self.lots = lots
        self.reader = RequestReader(Peer("10.0.0.1", False, True), Trust.parse(["10.0.0.0/8"]), Limits(), frozenset())
        self.seen = []
        self.to_say = b""
        self.closes = False  # after what there is to say

    def listen(self):
        self.reader.feed(self.end.take())
        assert self.reader.refusal is None, self.reader.refusal.text
        while self.reader.waiting:
            request = self.reader.waiting[0]
            is_early = self.lots.random() < 0.05
            if not request.is_complete and not is_early:
                return
            self.reader.waiting.popleft()
            self.take(request)
            if not request.is_complete:
                self.closes = True  # as servers do that do not want the rest
                return

    def take(self, request):
        number = int(request.target[1:])
        self.seen.append((request.method, number))
        if request.is_complete and request.method in (b"POST", b"PUT"):
            body = b"".join(request.pieces)
            assert body == (b"%d." % number) * (len(body) // len(b"%d." % number))
            assert len(body) > 0
        body = b"echo:%d;" % number + b"x" * self.lots.choice([0, 10, 200_000 if self.lots.random() < 0.1 else 100])
        kind = self.lots.choice(["known", "known", "known", "chunked", "close", "1.0", "interim", "says close"])
        if kind == "interim":
            self.to_say += b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n"
        if request.method == b"HEAD":
            self.to_say += b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body)
        elif kind == "chunked":
            pieces = [body[at : at + 9000] for at in range(0, len(body), 9000)]
            coded = b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces)
            self.to_say += b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + coded + b"0\r\nX-End: 1\r\n\r\n"
        elif kind == "close":
            self.to_say += b"HTTP/1.1 200 OK\r\n\r\n" + body
            self.closes = True
        elif kind == "1.0":
            self.to_say += b"HTTP/1.0 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body
            self.closes = True
        elif kind == "says close":
            self.to_say += b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % len(body) + body
            self.closes = True
        else:
            self.to_say += b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body

    def say(self, lots):
        if self.to_say:
            count = lots.choice([1, 50, 10_000, 300_000, 300_000])
            piece, self.to_say = self.to_say[:count], self.to_say[count:]
            self.end.send(piece)
        elif self.closes:
            self.end.close()


@pytest.mark.parametrize("seed", range(60))
def test_whatever_happens_nobody_gets_what_is_not_his(make_house, seed):
    crowd = Crowd(make_house(Snapshot("shop", OLD, NEW, 50), limits=LIMITS), seed)
    for _ in range(400):
        crowd.step()
    for one in crowd.clients + crowd.instances:
        if one.end.is_open:
            one.end.make_room(None)
    for host in crowd.instances:
        if host.end.is_open:
            host.listen()
    sent = Counter(number for host in crowd.instances for method, number in host.seen if method == b"POST")
    assert [number for number, times in sent.items() if times > 1] == []
    statuses = Counter(status for guest in crowd.clients for status in guest.check())
    assert statuses[200] > 5, "there was something to see"
