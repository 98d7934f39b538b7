"""
proxy.secured: a client connection by TLS, until it is known what is spoken on it, and HTTP/2 connections to their end.

Made by the TLS ports of `traffic.engine`. HTTP/1.1 goes on as a `Downstream`; HTTP/2 is twisted.web's, over the same
exchange (`proxy.resource`).
"""

from __future__ import annotations

from functools import partial
from typing import Any

from twisted.internet.interfaces import IAddress, IHandshakeListener
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.python.failure import Failure
from twisted.web.http import H2_ENABLED
from twisted.web.server import Site
from zope.interface import implementer

from rolling_router.proxy.closing import Closing
from rolling_router.proxy.collected import Bounds, CollectedRequest
from rolling_router.proxy.deadlines import NEVER, TICK_SECONDS
from rolling_router.proxy.downstream import Downstream
from rolling_router.proxy.gate import Gate
from rolling_router.proxy.resource import RouterResource
from rolling_router.routing.fleet import Load

if H2_ENABLED:
    from rolling_router.proxy.multiplexed import Multiplexed

PROTOCOLS = (b"h2", b"http/1.1") if H2_ENABLED else (b"http/1.1",)
"""What a client can have by ALPN."""

COLLECTED_BYTES = 64 * 1024 * 1024
"""The longest body by HTTP/2 where ``--body-bytes`` sets no limit: it is collected, on disk, before it is sent on."""

_LAST_SECONDS = 1.0
"""For requests that are on their way while their client is told that the connection ends; later ones are refused."""


class SecuredGate(Factory):
    """Makes the TLS connections of a gate."""

    noisy = False

    def __init__(self, gate: Gate, reactor: Any) -> None:
        self._gate = gate
        self._site = _Site(gate, reactor)

    def buildProtocol(self, addr: IAddress | None) -> Secured:
        return Secured(self._gate, self._site)


class _Site(Site):
    """Whatever is to be said of a request is said by its exchange."""

    noisy = False
    displayTracebacks = False

    def __init__(self, gate: Gate, reactor: Any) -> None:
        limits = gate.limits
        bounds = Bounds(limits.body_bytes or COLLECTED_BYTES, limits.body_seconds, gate.deadlines, gate.is_too_high)
        resource = RouterResource(gate.dispatch, gate.trust, gate.via, gate.visits)
        super().__init__(resource, partial(CollectedRequest, bounds), reactor=reactor)

    def log(self, request: Any) -> None:
        """Nothing."""


@implementer(IHandshakeListener)
class Secured(Protocol):
    """
    One TLS connection. A member of its gate while the handshake goes on or it is held, and as long as it is HTTP/2.

    :ivar deadline: see `proxy.deadlines`.
    """

    def __init__(self, gate: Gate, site: _Site) -> None:
        self._gate = gate
        self._site = site
        self._inner: Any = None
        self._is_agreed = self._is_h2 = False
        self._early = b""  # what it has said while it is held
        self._closing: Closing | None = None
        self._told_at = NEVER  # to begin no more
        self.deadline = NEVER

    # Twisted's side

    def connectionMade(self) -> None:
        self.deadline = self._gate.deadlines.now + self._gate.limits.head_seconds
        if not self._gate.opened(self, self.transport):
            self.abort()

    def handshakeCompleted(self) -> None:
        self._gate.handshakes += 1
        self._is_agreed = True
        if self._gate.is_held:
            self.deadline = NEVER
            self.transport.pauseProducing()  # type: ignore[union-attr]
        else:
            self._begin()

    def _begin(self) -> None:
        """What was agreed upon is spoken now."""
        gate, transport = self._gate, self.transport
        assert transport is not None
        self._is_h2 = getattr(transport, "negotiatedProtocol", None) == b"h2"
        if not self._is_h2:
            self.deadline = NEVER
            gate.let_go(self)
            self._inner = Downstream(gate)
            self._inner.makeConnection(transport)
            if gate.is_draining and not gate.spares_idle:
                self._inner.drain()
            return
        self._inner = Multiplexed(self._site, self._site.reactor, gate.deadlines)
        self._inner.makeConnection(transport)
        transport.registerProducer(self._inner, True)  # type: ignore[attr-defined]
        gate.multiplexed.add(self)
        if gate.is_draining:
            self.drain()

    def dataReceived(self, data: bytes) -> None:
        if self._closing is not None:
            return
        inner = self._inner
        if (
            inner is None
        ):  # it came with the last of the handshake, and is delivered though we have paused the transport
            self._early += data
            return
        inner.dataReceived(data)
        if not self._is_h2:
            return
        most = self._gate.limits.requests_per_connection
        if most and inner.begun >= most and self._told_at == NEVER:
            self._gate.dispatch.limited("requests-per-connection")
            self.drain()
        if inner.is_over:
            self._close()
        elif inner.streams:
            self.deadline = min(self.deadline, self._gate.deadlines.now + TICK_SECONDS)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        if self._closing is not None:
            self._closing.over()
        if not self._is_agreed:
            self._gate.failed_handshakes += 1
        if self._inner is None or self._is_h2:
            self._gate.multiplexed.discard(self)
            self._gate.closed(self)
        if self._inner is not None:
            self._inner.connectionLost(reason)

    # The gate's side

    def expire(self) -> None:
        gate, now = self._gate, self._gate.deadlines.now
        if self._inner is None:
            gate.dispatch.limited("head-seconds")
            self.abort()
        else:
            for _ in range(self._inner.end_stalled(now, gate.limits.body_seconds)):
                gate.dispatch.limited("body-seconds")
            if self._told_at + _LAST_SECONDS <= now:
                self._inner.take_no_more()
            self._go_on(now)

    def _go_on(self, now: float) -> None:
        """Wait for the streams that there are, or as long as there may be none; then end."""
        inner, limits = self._inner, self._gate.limits
        if self._told_at != NEVER:
            limit, until = "", self._told_at + _LAST_SECONDS
        elif inner.begun:
            limit, until = "idle-seconds", inner.idle_since + limits.idle_seconds
        else:
            limit, until = "head-seconds", now
        if inner.streams:
            self.deadline = now + TICK_SECONDS
        elif until > now:
            self.deadline = until
        else:
            if limit:
                self._gate.dispatch.limited(limit)
            inner.take_no_more()
            self._close()

    def _close(self) -> None:
        """All is said; the socket takes what is queued, and both sides say goodbye."""
        gate = self._gate
        self.deadline = NEVER
        self._closing = Closing(self.transport, gate.deadlines, gate.limits, gate.dispatch.limited)

    def release(self) -> None:
        if self._is_agreed and self._inner is None:
            self.deadline = self._gate.deadlines.now + self._gate.limits.head_seconds
            self._begin()
            self.transport.resumeProducing()  # type: ignore[union-attr]
            early, self._early = self._early, b""
            if early:
                self.dataReceived(early)

    def drain(self) -> None:
        """Have the client begin no more requests, and end with the last one. One in its handshake is waited for."""
        self.release()  # where it is held still
        if self._is_h2 and self._closing is None and self._told_at == NEVER:
            self._told_at = self._gate.deadlines.now
            self._inner.announce_end()
            self.deadline = self._told_at + _LAST_SECONDS

    def stream_on(self) -> Load | None:
        """Each of its requests may be one by itself: they are `Gate.visits`."""
        return None

    def end_stream(self) -> None:
        raise NotImplementedError("nobody was told of a stream")

    def abort(self) -> None:
        self.transport.abortConnection()  # type: ignore[union-attr]
