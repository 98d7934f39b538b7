"""fakes: the engine on a reactor of memory. The test plays the clients, the instances, the network and the clock."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterable, Mapping
from errno import ECONNRESET, EWOULDBLOCK
from itertools import count
from socket import MSG_PEEK
from typing import Any

from twisted.internet.address import IPv4Address
from twisted.internet.error import ConnectionRefusedError, TimeoutError
from twisted.internet.tcp import Connection
from twisted.internet.testing import MemoryReactorClock
from twisted.logger import globalLogPublisher
from twisted.python.failure import Failure

from rolling_router.health import Failing, Rules
from rolling_router.interfaces import IStrategy
from rolling_router.proxy.budget import Retrying
from rolling_router.proxy.deadlines import Deadlines
from rolling_router.proxy.dispatch import Dispatch
from rolling_router.proxy.downstream import Downstream
from rolling_router.proxy.exchange import Exchange
from rolling_router.proxy.gate import Gate
from rolling_router.proxy.limits import ACTING, Limits
from rolling_router.proxy.trust import Trust
from rolling_router.rollout.model import Instance, Role, Snapshot, Version
from rolling_router.routing.fleet import Load
from rolling_router.routing.place import Placement
from rolling_router.routing.router import Router

OLD = Version("old", 8080, (Instance("10.0.0.1", 80), Instance("10.0.0.2", 80)))
NEW = Version("new", 8080, (Instance("10.0.1.1", 80), Instance("10.0.1.2", 80)))
ALONE = Version("alone", 8080, (Instance("10.0.2.1", 80),))
ONE = Snapshot("shop", stable=ALONE)
"""One version of one instance: for tests that are not about who answers."""


_ADDED = re.compile(rb"Date: Thu, 01 Jan 1970 [0-9:]{8} GMT\r\n")
_NUMBERS = count(1 << 30)
"""Descriptors that the kernel knows nothing of."""


class Socket:
    """
    As much of a socket as Twisted's connections use. The kernel and the other end are the test.

    :ivar room: how many bytes the other end still takes; ``None`` is any number.    :ivar sent: what it was sent.
    :ivar inbound: what the kernel holds for the router, by read.    :ivar goodbye: how the other end left, behind that.
    """

    def __init__(self) -> None:
        self.room: int | None = None
        self.sent = bytearray()
        self.inbound: deque[bytes] = deque()
        self.goodbye: type[ConnectionResetError] | bytes | None = None
        self.is_half_closed = False
        self._number = next(_NUMBERS)

    def send(self, data: bytes) -> int:
        if self.room == 0:
            raise BlockingIOError(EWOULDBLOCK, "no room")
        taken = bytes(data[: self.room])
        if self.room is not None:
            self.room -= len(taken)
        self.sent += taken
        return len(taken)

    def recv(self, size: int, flags: int = 0) -> bytes:
        if self.inbound:
            if flags & MSG_PEEK:
                return self.inbound[0][:size]
            piece = self.inbound.popleft()
            if piece[size:]:
                self.inbound.appendleft(piece[size:])
            return piece[:size]
        if self.goodbye is None:
            raise BlockingIOError(EWOULDBLOCK, "nothing there")
        if self.goodbye is ConnectionResetError:
            raise ConnectionResetError(ECONNRESET, "reset")
        return b""

    def shutdown(self, how: int) -> None:
        self.is_half_closed = True

    def setsockopt(self, *option: Any) -> None: ...

    def setblocking(self, flag: bool) -> None: ...

    def fileno(self) -> int:
        return self._number

    def close(self) -> None: ...


class Line(Connection):
    """
    One connection of the router's: Twisted's own, over a `Socket`.

    :ivar end: why it ended, once it has.
    """

    end: type[BaseException] | None = None

    def __init__(self, reactor: Any, host: str, protocol: Any) -> None:
        self.wire = Socket()
        self._host = host
        super().__init__(self.wire, protocol, reactor)
        self.connected = 1
        self.startReading()
        protocol.makeConnection(self)

    def work(self) -> bool:
        """Write and read once, if that can be done now; says whether anything happened."""
        sent = len(self.wire.sent)
        if self in self.reactor.getWriters() and self.wire.room != 0:
            why = self.doWrite()
            if why is not None:
                self.connectionLost(Failure(why))
                return True
        if self in self.reactor.getReaders() and (self.wire.inbound or self.wire.goodbye is not None):
            why = self.doRead()
            if why is not None:
                self.connectionLost(Failure(why))
            return True
        return len(self.wire.sent) != sent

    def connectionLost(self, reason: Failure) -> None:
        if self.end is None:
            self.end = reason.type
        super().connectionLost(reason)

    @property
    def is_reading(self) -> bool:
        return self in self.reactor.getReaders()

    def getPeer(self) -> IPv4Address:
        return IPv4Address("TCP", self._host, 4711)

    def getHost(self) -> IPv4Address:
        return IPv4Address("TCP", "127.0.0.1", 8000)


class End:
    """The test's end of a `Line`."""

    def __init__(self, house: House, line: Line) -> None:
        self.house = house
        self.line = line
        self._taken = 0

    def send(self, *pieces: bytes) -> None:
        """Send, and let the router do what it does about it. Each piece comes to it by a read of its own."""
        for piece in filter(None, pieces):
            self.line.wire.inbound.append(piece)
        self.house.turn()

    def take(self) -> bytes:
        """What came since it was asked last, less the Date that the router adds where an instance gives none."""
        return _ADDED.sub(b"", self.take_all())

    def take_all(self) -> bytes:
        """What came since it was asked last."""
        came = bytes(self.line.wire.sent[self._taken :])
        self._taken = len(self.line.wire.sent)
        return came

    def make_room(self, count: int | None) -> None:
        """Take so many bytes more (``None``: all there will be)."""
        self.line.wire.room = count
        self.house.turn()

    def close(self) -> None:
        self.line.wire.goodbye = b""
        self.house.turn()

    def reset(self) -> None:
        self.line.wire.goodbye = ConnectionResetError
        self.house.turn()

    @property
    def end(self) -> type[BaseException] | None:
        return self.line.end

    @property
    def is_open(self) -> bool:
        return self.line.end is None


class Score:
    """What the engine tells of, on lists."""

    def __init__(self) -> None:
        self.opened = 0
        self.reused = 0
        self.over: list[Exchange] = []
        self.missed: list[Load] = []
        self.failures: list[tuple[str, str]] = []
        self.ejections: list[tuple[str, str]] = []
        self.retries: list[str] = []
        self.limits: list[str] = []

    def ended(self, exchange: Exchange) -> None:
        assert exchange not in self.over, "an exchange ended twice"
        self.over.append(exchange)

    def unreachable(self, load: Load) -> None:
        self.missed.append(load)

    def failed(self, placement: Placement, how: Failing) -> None:
        self.failures.append((placement.fleet.version.id, how.value))

    def retried(self, why: str) -> None:
        self.retries.append(why)

    def ejected(self, role: Role, how: Failing) -> None:
        self.ejections.append((role.word, how.value))

    def limited(self, limit: str) -> None:
        assert limit in ACTING
        self.limits.append(limit)


class House:
    """Gate, dispatch and router as the service puts them together, with nothing real around them."""

    def __init__(
        self,
        snapshot: Snapshot = ONE,
        *,
        strategies: Mapping[str, IStrategy] | None = None,
        limits: Limits = Limits(),  # noqa: B008 (frozen)
        trusted: Iterable[str] = (),
        rules: Rules = Rules(),  # noqa: B008 (frozen)
        retrying: Retrying = Retrying(),  # noqa: B008 (frozen)
        drain_seconds: float = 30.0,
    ) -> None:
        self.reactor = MemoryReactorClock()
        self.limits = limits
        self.score = Score()
        self.router = Router("shop", strategies or {})
        self.deadlines = Deadlines(self.reactor)
        self.dispatch = Dispatch(self.reactor, self.router, limits, self.deadlines, self.score, rules, retrying)
        self.gate = Gate(self.dispatch, Trust.parse(trusted), limits, self.deadlines, drain_seconds=drain_seconds)
        self.lines: list[Line] = []
        self.loads: set[Load] = set()
        self.troubles: list[Any] = []
        globalLogPublisher.addObserver(self._observe)
        self.deadlines.startService()
        self.follow(snapshot)

    def _observe(self, event: Any) -> None:
        if "log_failure" in event:
            self.troubles.append(event["log_failure"])

    def follow(self, snapshot: Snapshot) -> None:
        before = self.router.plan
        self.gate.draining.left(self.dispatch.follow(snapshot), before, self.router.plan)
        self.loads.update(self.router.loads)

    def turn(self) -> None:
        """Let everything happen that can happen now."""
        is_busy = True
        while is_busy:
            worked = [line.work() for line in self.lines]
            is_busy = self._calls() or any(worked)

    def _calls(self) -> bool:
        due = [call for call in self.reactor.getDelayedCalls() if call.getTime() <= self.reactor.seconds()]
        self.reactor.advance(0)
        return bool(due)

    def wait(self, seconds: float) -> None:
        """Turn the clock."""
        for _ in range(round(seconds * 4)):
            self.reactor.advance(0.25)
            self.turn()

    def client(self, *pieces: bytes, host: str = "192.0.2.7") -> End:
        """A new client connection, and what the client sends first."""
        line = Line(self.reactor, host, self.gate.buildProtocol(None))
        self.lines.append(line)
        client = End(self, line)
        client.send(*pieces)
        return client

    @property
    def connecting(self) -> list[str]:
        """Whom the router is connecting to."""
        return [host for host, *_ in self.reactor.tcpClients]

    def accept(self) -> End:
        """Take the oldest connection that the router is making."""
        host, _, factory, *_ = self.reactor.tcpClients.pop(0)
        line = Line(self.reactor, host, factory.buildProtocol(None))
        self.lines.append(line)
        instance = End(self, line)
        self.turn()
        return instance

    def refuse(self, how: Exception | None = None) -> str:
        """Refuse the oldest connection that the router is making; says to whom it was."""
        host, _, factory, *_ = self.reactor.tcpClients.pop(0)
        factory.clientConnectionFailed(None, Failure(how or ConnectionRefusedError()))
        self.turn()
        return host

    def time_out(self) -> str:
        return self.refuse(TimeoutError())

    def exchange(self, request: bytes, answer: bytes) -> tuple[End, End]:
        """One request of a new client, answered over a new connection to an instance."""
        client = self.client(request)
        instance = self.accept()
        instance.send(answer)
        return client, instance

    def outstanding(self) -> int:
        return sum(load.outstanding for load in self.loads)

    def leave(self) -> None:
        """All clients go; then nothing may be left: no request outstanding, no connection, no trouble in the log."""
        globalLogPublisher.removeObserver(self._observe)
        for line in self.lines:
            line.wire.room = None
        for line in self.lines:
            if line.end is None and isinstance(line.protocol, Downstream):
                line.wire.goodbye = b""
        self.turn()
        # Longer than any one wait; requests that wait behind each other have one each.
        for _ in range(40):
            while self.reactor.tcpClients:
                self.refuse()
            if all(line.end is not None for line in self.lines):
                break
            self.wait(5)
        assert self.troubles == []
        assert {load: load.outstanding for load in self.loads} == dict.fromkeys(self.loads, 0)
        assert self.gate.open == 0
        assert [line for line in self.lines if line.end is None] == []
        self.dispatch.close()
        self.deadlines.stopService()
        assert self.reactor.getDelayedCalls() == []


def answer(body: bytes = b"hello", *fields: bytes, status: bytes = b"200 OK") -> bytes:
    """An instance's answer of known length."""
    lines = [b"HTTP/1.1 " + status, b"Content-Length: %d" % len(body), *fields]
    return b"\r\n".join(lines) + b"\r\n\r\n" + body


def get(path: bytes = b"/", *fields: bytes, method: bytes = b"GET", version: bytes = b"1.1") -> bytes:
    """A request without a body."""
    return b"\r\n".join((b"%b %b HTTP/%b" % (method, path, version), b"Host: shop.test", *fields)) + b"\r\n\r\n"


def post(body: bytes = b"", *fields: bytes, length: int | None = None) -> bytes:
    """A request with a body of known length; `length` where not all of it is sent at once."""
    size = len(body) if length is None else length
    return get(b"/", b"Content-Length: %d" % size, *fields, method=b"POST") + body


def fields_of(message: bytes) -> list[tuple[bytes, bytes]]:
    """The header fields of a message, in order, names in lower case."""
    head = message.partition(b"\r\n\r\n")[0]
    pairs = [line.split(b": ", 1) for line in head.split(b"\r\n")[1:]]
    return [(name.lower(), value) for name, value in pairs]


def first_line(message: bytes) -> bytes:
    return message.partition(b"\r\n")[0]


def status_of(message: bytes) -> int:
    return int(message.split(b" ", 2)[1])


def body_of(message: bytes) -> bytes:
    return message.partition(b"\r\n\r\n")[2]
