"""
traffic.sockets: listening sockets that one process opens and others accept on.

Endpoints ask a reactor to listen. `Binder` takes that reactor's place in the parent: it opens the socket and accepts
nothing. `InheritedLoop` takes it in a worker: the first socket asked for is the first one handed down, and so on. Any
endpoint string works in both, for both read the same ones in the same order.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Sequence
from typing import Any

from twisted.internet.error import CannotListenError
from twisted.protocols.tls import TLSMemoryBIOFactory

from rolling_router.proxy.loop import Loop


class Binder:
    """:ivar sockets: those that were opened, in the order in which they were asked for."""

    def __init__(self, reactor: Any) -> None:
        self._reactor = reactor
        self.sockets: list[socket.socket] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._reactor, name)

    def listenTCP(self, port: int, factory: Any, backlog: int = 50, interface: str = "") -> Bound:
        family = socket.AF_INET6 if ":" in interface else socket.AF_INET
        made = socket.socket(family, socket.SOCK_STREAM)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        return self._listen(made, (interface, port), backlog, interface, port)

    def listenSSL(self, port: int, factory: Any, contextFactory: Any, backlog: int = 50, interface: str = "") -> Bound:
        return self.listenTCP(port, factory, backlog, interface)

    def listenUNIX(
        self, address: str, factory: Any, backlog: int = 50, mode: int = 0o666, wantPID: bool = False
    ) -> Bound:
        if os.path.exists(address):
            os.unlink(address)  # as Twisted does where a lock file shows that nobody listens; the parent is the lock
        bound = self._listen(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM), address, backlog, address, 0)
        os.chmod(address, mode)
        return bound

    def adoptStreamPort(self, fileDescriptor: int, addressFamily: int, factory: Any) -> Bound:
        return self._keep(socket.socket(addressFamily, socket.SOCK_STREAM, fileno=os.dup(fileDescriptor)))

    def _listen(self, made: socket.socket, address: Any, backlog: int, interface: str, port: int) -> Bound:
        try:
            made.bind(address)
            made.listen(backlog)
        except OSError as wrong:
            made.close()
            raise CannotListenError(interface, port, wrong) from None
        return self._keep(made)

    def _keep(self, made: socket.socket) -> Bound:
        made.setblocking(False)
        self.sockets.append(made)
        return Bound(made)


class Bound:
    """What an endpoint gets for a socket of `Binder`: something to stop."""

    def __init__(self, made: socket.socket) -> None:
        self._socket = made

    def getHost(self) -> Any:
        return self._socket.getsockname()

    def stopListening(self) -> None:
        self._socket.close()


class InheritedLoop(Loop):
    """A loop on which each port that is asked for is one that was handed down."""

    def __init__(self, reactor: Any, descriptors: Sequence[int]) -> None:
        super().__init__(reactor)
        self._descriptors = list(descriptors)

    def listenTCP(self, port: int, factory: Any, backlog: int = 50, interface: str = "") -> Any:
        return self._next(factory)

    def listenSSL(self, port: int, factory: Any, contextFactory: Any, backlog: int = 50, interface: str = "") -> Any:
        return self._next(TLSMemoryBIOFactory(contextFactory, False, factory))

    def listenUNIX(
        self, address: str, factory: Any, backlog: int = 50, mode: int = 0o666, wantPID: bool = False
    ) -> Any:
        return self._next(factory)

    def adoptStreamPort(self, fileDescriptor: int, addressFamily: int, factory: Any) -> Any:
        return self._next(factory)

    def _next(self, factory: Any) -> Any:
        descriptor = self._descriptors.pop(0)
        handed = socket.socket(fileno=descriptor)
        try:
            return super().adoptStreamPort(descriptor, handed.family, factory)  # which works on a copy
        finally:
            handed.close()
