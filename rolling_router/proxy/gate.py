"""proxy.gate: makes the client connections of all proxy ports, knows which are open, and drains them."""

from __future__ import annotations

from typing import Any

from twisted.internet.abstract import FileDescriptor
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IAddress
from twisted.internet.protocol import Factory

from rolling_router.proxy.deadlines import Deadlines
from rolling_router.proxy.dispatch import Dispatch
from rolling_router.proxy.downstream import Downstream
from rolling_router.proxy.limits import Limits
from rolling_router.proxy.trust import Trust


class Gate(Factory):
    """
    :ivar accepted: client connections so far.    :ivar is_draining: no request is taken after those in hand.
    :ivar is_held: connections are accepted, but not read from until `release`: nothing is known of the app yet.
    """

    noisy = False

    def __init__(self, dispatch: Dispatch, trust: Trust, limits: Limits, deadlines: Deadlines) -> None:
        self.dispatch = dispatch
        self.trust = trust
        self.limits = limits
        self.deadlines = deadlines
        self.accepted = 0
        self.is_draining = False
        self.is_held = False
        self._open: set[Downstream] = set()
        self._drained: Deferred[None] | None = None

    @property
    def open(self) -> int:
        """Client connections that are open now."""
        return len(self._open)

    def buildProtocol(self, addr: IAddress | None) -> Downstream:
        return Downstream(self)

    def opened(self, connection: Downstream) -> None:
        self.accepted += 1
        self._open.add(connection)
        self.deadlines.add(connection)

    def closed(self, connection: Downstream) -> None:
        self._open.discard(connection)
        self.deadlines.discard(connection)
        if self._drained is not None and not self._open:
            drained, self._drained = self._drained, None
            drained.callback(None)

    def can_half_close(self, transport: Any) -> bool:
        """Whether we can stop writing and still read: not so under TLS, which says goodbye by itself."""
        return isinstance(transport, FileDescriptor)

    def hold(self) -> None:
        """Let clients wait, rather than refuse them, until the first snapshot is in force."""
        self.is_held = True

    def release(self) -> None:
        self.is_held = False
        for connection in list(self._open):
            connection.release()

    def drain(self) -> Deferred[None]:
        """Close idle connections, let the others end after what is in flight; fires when all are gone."""
        self.is_draining = True
        drained: Deferred[None] = Deferred()
        self._drained = drained
        for connection in list(self._open):
            connection.drain()
        if not self._open and not drained.called:
            self._drained = None
            drained.callback(None)
        return drained

    def abort(self) -> int:
        """End all connections now; says how many there were."""
        cut = list(self._open)
        for connection in cut:
            connection.abort()
        return len(cut)
