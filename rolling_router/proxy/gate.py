"""proxy.gate: makes the client connections of all proxy ports, knows which are open, and drains them."""

from __future__ import annotations

from collections.abc import Callable
from email.utils import formatdate
from itertools import chain
from typing import Any, Protocol

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IAddress, ISSLTransport
from twisted.internet.protocol import Factory

from rolling_router.proxy.crowd import Crowd
from rolling_router.proxy.deadlines import Deadlines
from rolling_router.proxy.dispatch import Dispatch
from rolling_router.proxy.downstream import Downstream
from rolling_router.proxy.draining import Draining, Stream
from rolling_router.proxy.knowing import KnowingReader
from rolling_router.proxy.known import Known
from rolling_router.proxy.limits import Limits
from rolling_router.proxy.request import KnownFields
from rolling_router.proxy.trust import Trust
from rolling_router.routing.fleet import Load


class Member(Protocol):
    """A client connection, as the gate knows it: a `Downstream`, or a `secured.Secured` that is none (yet)."""

    deadline: float

    def __hash__(self) -> int: ...
    def expire(self) -> None: ...
    def release(self) -> None: ...
    def drain(self) -> None: ...
    def abort(self) -> None: ...
    def stream_on(self) -> Load | None: ...
    def end_stream(self) -> None: ...


class Gate(Factory):
    """
    :ivar accepted: client connections so far.    :ivar is_draining: no request is taken after those in hand.
    :ivar spares_idle: while draining, who has not been told so may ask once more.
    :ivar draining: streams of instances that left, and when they end.
    :ivar handshakes: by TLS, so far; `failed_handshakes` never got there, whether the client left or could not agree.
    :ivar multiplexed: connections with several requests at once, each of which can be told to begin no more.
    :ivar visits: the requests on those.
    :ivar is_held: connections are accepted, but not read from until `release`: nothing is known of the app yet.
    """

    noisy = False

    def __init__(
        self,
        dispatch: Dispatch,
        trust: Trust,
        limits: Limits,
        deadlines: Deadlines,
        via: bytes = b"",
        drain_seconds: float = 30.0,
        is_too_high: Callable[[int], bool] = lambda descriptor: False,
    ) -> None:
        """
        :param via: see `RequestReader`.    :param drain_seconds: that a stream has when its instance left.
        :param is_too_high: whether a client with this descriptor should be turned away, for they run out.
        """
        self.is_too_high = is_too_high
        self.dispatch = dispatch
        self.trust = trust
        self.limits = limits
        self.deadlines = deadlines
        self._known: Known[KnownFields] = Known()
        self.via = via
        self._crowd = Crowd(limits)
        self._dated: tuple[int, bytes] = (-1, b"")
        self.accepted = 0
        self.handshakes = self.failed_handshakes = 0
        self.multiplexed: set[Member] = set()
        self.visits: set[Stream] = set()
        self.is_draining = False
        self.spares_idle = False
        self.is_held = False
        self._open: set[Member] = set()
        self._drained: Deferred[None] | None = None
        self.draining = Draining(lambda: chain(self._open, self.visits), deadlines, drain_seconds)

    @property
    def open(self) -> int:
        """Client connections that are open now."""
        return len(self._open)

    def buildProtocol(self, addr: IAddress | None) -> Downstream:
        return Downstream(self)

    def reader_of(self, transport: Any) -> KnowingReader:
        """Asked when the first bytes came: only then does a connection by the PROXY protocol know who its client is."""
        peer = self.trust.peer(transport.getPeer(), ISSLTransport.providedBy(transport))
        router = self.dispatch.router
        return KnowingReader(peer, self.trust, self.limits, router.private_cookies, self._known, self.via)

    def opened(self, connection: Member, transport: Any) -> bool:
        """Whether there is room for it; it is to end at once where there is none."""
        self.accepted += 1
        self._open.add(connection)
        self.deadlines.add(connection)
        limit = self._crowd.enter(connection, transport.getPeer(), self.trust)
        if not limit and self.is_too_high(transport.fileno()):
            limit = "descriptors"
        if limit:
            self.dispatch.limited(limit)
        return not limit

    def date(self) -> bytes:
        """The value of ``Date``, now."""
        second = int(self.deadlines.now)
        if second != self._dated[0]:
            self._dated = second, formatdate(second, usegmt=True).encode("ascii")
        return self._dated[1]

    def closed(self, connection: Member) -> None:
        self._forget(connection)
        if self._drained is not None and not self._open:
            drained, self._drained = self._drained, None
            drained.callback(None)

    def let_go(self, connection: Member) -> None:
        """It goes on as another one, which is about to be opened."""
        self.accepted -= 1
        self._forget(connection)

    def _forget(self, connection: Member) -> None:
        self._crowd.leave(connection)
        self._open.discard(connection)
        self.deadlines.discard(connection)

    def hold(self) -> None:
        """Let clients wait, rather than refuse them, until the first snapshot is in force."""
        self.is_held = True

    def release(self) -> None:
        self.is_held = False
        for connection in list(self._open):
            connection.release()

    def drain(self, spares_idle: bool = False) -> Deferred[None]:
        """
        Close idle connections, let the others end after what is in flight; fires when all are gone.

        :param spares_idle: let idle ones ask once more, until `close_idle`.
        """
        self.is_draining = True
        self.spares_idle = spares_idle
        self.draining.stop()
        drained: Deferred[None] = Deferred()
        self._drained = drained
        if not spares_idle:
            self.close_idle()
        for multiplexed in list(self.multiplexed):
            multiplexed.drain()
        if not self._open and not drained.called:
            self._drained = None
            drained.callback(None)
        return drained

    def close_idle(self) -> None:
        self.spares_idle = False
        for connection in list(self._open):
            connection.drain()

    def abort(self) -> int:
        """End all connections now; says how many there were."""
        cut = list(self._open)
        for connection in cut:
            connection.abort()
        return len(cut)
