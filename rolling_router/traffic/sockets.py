"""
traffic.sockets: listening sockets, and how they come from one process to another. Made by `service`, used by `ports`.

A socket is opened once: by this process, by systemd, by the parent of a worker, or by the process whose place this one
takes. What is open is known by what was asked for, such as ``tcp::8000``, so that either side may be of another make.
"""

from __future__ import annotations

import json
import os
import socket
import stat
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

from twisted.internet import tcp, unix
from twisted.internet.endpoints import _SystemdParser
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IProtocolNegotiationFactory
from twisted.internet.protocol import Factory
from twisted.logger import Logger
from twisted.protocols.tls import TLSMemoryBIOFactory
from zope.interface import implementer

_log = Logger()

SOCKETS_VARIABLE = "ROLLING_ROUTER_SOCKETS"
"""Set for a process that is handed sockets: a JSON list of pairs, what each was opened for, and its descriptor."""

BACKLOG = 1024
"""Connections that the kernel keeps for us. Beyond Twisted's 50, a burst of clients waits a second to try again."""

_SYSTEMD = "systemd:"


class Sockets:
    """
    All listening sockets of this process, and those that it was handed and nobody has asked for yet.

    :ivar is_owner: whether the sockets end with this process. Files of unix sockets are removed by their owner alone.
    """

    def __init__(self, handed: list[tuple[str, int]] | None = None, is_owner: bool = True) -> None:
        """:param handed: what each was opened for, and its descriptor, which is ours from now on."""
        self.is_owner = is_owner
        self._held: list[tuple[str, socket.socket]] = []
        self._handed = [(key, socket.socket(fileno=descriptor)) for key, descriptor in handed or ()]
        for _, made in self._handed:
            made.set_inheritable(False)
            made.setblocking(False)

    def tcp(self, port: int, interface: str, backlog: int) -> socket.socket:
        """:raises CannotListenError: the port cannot be had."""

        def make() -> socket.socket:
            family = socket.AF_INET6 if ":" in interface else socket.AF_INET
            made = socket.socket(family, socket.SOCK_STREAM)
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            return _listening(made, (interface, port), backlog, interface, port)

        return self._take(f"tcp:{interface}:{port}", make)

    def unix(self, path: str, mode: int, backlog: int) -> socket.socket:
        """:raises CannotListenError: the path cannot be had."""

        def make() -> socket.socket:
            _remove_left_over(path)
            made = _listening(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM), path, backlog, path, 0)
            os.chmod(path, mode)
            return made

        return self._take(f"unix:{os.path.abspath(path)}", make)

    def systemd(self, which: str) -> socket.socket:
        """
        A socket of the unit that started us.

        :param which: its number, or its ``FileDescriptorName=``.
        :raises CannotListenError: there is none like that.
        """
        known = [key for key, _ in self._handed if key.startswith(_SYSTEMD)]
        for key in known:
            _, number, name = key.split(":", 2)
            if which in (number, name):
                return self._take(key, _never)
        there = ", ".join(key.split(":", 1)[1] for key in known) or "none"
        raise CannotListenError(which, 0, OSError(f"systemd has handed over no socket {which!r}; there are: {there}"))

    def pairs(self) -> list[tuple[str, socket.socket]]:
        """What was opened, and for what: to be handed on."""
        return list(self._held)

    def forget_the_rest(self) -> None:
        """Close what was handed over and is not listened on (any more)."""
        for key, made in self._handed:
            _log.warn("the socket {key} was handed over, but no option asks for it; it is closed", key=key)
            made.close()
        self._handed = []

    def close(self, made: socket.socket) -> None:
        """Listen on it no longer."""
        for pair in [pair for pair in self._held if pair[1] is made]:
            self._held.remove(pair)
            made.close()
            if self.is_owner and pair[0].startswith("unix:"):
                with suppress(FileNotFoundError):
                    os.unlink(pair[0].removeprefix("unix:"))

    def _take(self, key: str, make: Callable[[], socket.socket]) -> socket.socket:
        for pair in self._handed:
            if pair[0] == key:
                self._handed.remove(pair)
                self._held.append(pair)
                return pair[1]
        made = make()
        made.setblocking(False)
        self._held.append((key, made))
        return made


def handed_to(environ: Mapping[str, str]) -> list[tuple[str, int]]:
    """What this process was started with: by one of ours, or by systemd (see sd_listen_fds(3))."""
    text = environ.get(SOCKETS_VARIABLE)
    if text is not None:
        return [(key, descriptor) for key, descriptor in json.loads(text)]
    # Twisted has read systemd's variables, and removed them, when it was imported.
    systemd = _SystemdParser._sddaemon
    names = {descriptor: name for name, descriptor in systemd.inheritedNamedDescriptors().items()}
    return [
        (f"{_SYSTEMD}{number}:{names.get(descriptor, '')}", descriptor)
        for number, descriptor in enumerate(systemd.inheritedDescriptors())
    ]


def _never() -> socket.socket:
    raise AssertionError("it was there a moment ago")


def _listening(made: socket.socket, address: Any, backlog: int, interface: str, port: int) -> socket.socket:
    try:
        made.bind(address)
        made.listen(backlog)
    except OSError as wrong:
        made.close()
        raise CannotListenError(interface, port, wrong) from None
    return made


def _remove_left_over(path: str) -> None:
    """A socket's file outlives a process that was killed. One that somebody listens on stays, and so do other files."""
    with suppress(OSError), socket.socket(socket.AF_UNIX) as asking:
        if stat.S_ISSOCK(os.stat(path).st_mode):
            asking.settimeout(1)
            try:
                asking.connect(path)
            except ConnectionRefusedError:
                os.unlink(path)


@implementer(IProtocolNegotiationFactory)
class Agreeing(Factory):
    """Agrees on HTTP/1.1 with who offers it by ALPN: with nothing to be agreed on, Twisted ends the handshake."""

    noisy = False

    def __init__(self, factory: Any) -> None:
        self._factory = factory

    def acceptableProtocols(self) -> list[bytes]:
        return [b"http/1.1"]

    def buildProtocol(self, addr: Any) -> Any:
        return self._factory.buildProtocol(addr)

    def doStart(self) -> None:
        self._factory.doStart()

    def doStop(self) -> None:
        self._factory.doStop()


class _Stand:
    """Takes a reactor's place where endpoints ask for a socket to listen on; all else is the reactor's."""

    def __init__(self, reactor: Any) -> None:
        self._reactor = reactor

    def __getattr__(self, name: str) -> Any:
        return getattr(self._reactor, name)

    def listenSSL(self, port: int, factory: Any, contextFactory: Any, backlog: int = 50, interface: str = "") -> Any:
        return self.listenTCP(port, TLSMemoryBIOFactory(contextFactory, False, Agreeing(factory)), backlog, interface)

    def listenTCP(self, port: int, factory: Any, backlog: int = 50, interface: str = "") -> Any:
        raise NotImplementedError


class Binder(_Stand):
    """
    Opens the sockets, and accepts nothing.

    :ivar taken: what was asked for, in that order.
    """

    def __init__(self, reactor: Any, sockets: Sockets) -> None:
        super().__init__(reactor)
        self._sockets = sockets
        self.taken: list[socket.socket] = []

    def listenTCP(self, port: int, factory: Any, backlog: int = 50, interface: str = "") -> Bound:
        return self._keep(self._sockets.tcp(port, interface, backlog))

    def listenUNIX(
        self, address: str, factory: Any, backlog: int = 50, mode: int = 0o666, wantPID: bool = False
    ) -> Bound:
        return self._keep(self._sockets.unix(address, mode, backlog))

    def listenSystemd(self, which: str, factory: Any) -> Bound:
        return self._keep(self._sockets.systemd(which))

    def _keep(self, made: socket.socket) -> Bound:
        self.taken.append(made)
        return Bound(made)


class Bound:
    """What an endpoint gets for a socket of `Binder`."""

    def __init__(self, made: socket.socket) -> None:
        self._socket = made

    def getHost(self) -> Any:
        return self._socket.getsockname()

    def stopListening(self) -> None:
        """The socket is its `Port`'s to close."""


class Adopter(_Stand):
    """Accepts on sockets that were opened before: the first that is asked for is the first of `taken`, and so on."""

    def __init__(self, reactor: Any, taken: list[socket.socket]) -> None:
        super().__init__(reactor)
        self._taken = taken

    def listenTCP(self, port: int, factory: Any, backlog: int = 50, interface: str = "") -> Any:
        return self._adopt(factory)

    def listenUNIX(
        self, address: str, factory: Any, backlog: int = 50, mode: int = 0o666, wantPID: bool = False
    ) -> Any:
        return self._adopt(factory)

    def listenSystemd(self, which: str, factory: Any) -> Any:
        return self._adopt(factory)

    def _adopt(self, factory: Any) -> Any:
        made = self._taken.pop(0)
        port: Any
        if made.family == socket.AF_UNIX:
            port = _UnixPort._fromListeningDescriptor(self._reactor, made.fileno(), factory)
        else:
            port = tcp.Port._fromListeningDescriptor(self._reactor, made.fileno(), made.family, factory)
        port.backlog = BACKLOG  # Twisted calls listen() once more, which would make it 50
        port.startListening()
        return port


class _UnixPort(unix.Port):
    """Leaves the socket, its file and its mode alone: others may still listen on it."""

    _shouldShutdown = False  # Twisted sees to that for TCP alone

    def startListening(self) -> None:
        path, self._bindPath = self._bindPath, "\0"  # to Twisted: a socket without a file
        super().startListening()
        self._bindPath = path

    def connectionLost(self, reason: Any) -> None:
        tcp.Port.connectionLost(self, reason)
