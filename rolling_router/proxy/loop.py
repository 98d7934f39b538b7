"""
proxy.loop: the proxy's own sockets, looked after inside the process's reactor at less cost for each event.

Twisted's reactors wrap every event of every socket in a logging context: about 4 µs of CPU for each, twice a request,
and the proxy has no use for it. So its sockets have an epoll set of their own. That set is itself one readable
descriptor of the process's reactor, which calls when anything in it is ready; time, threads, names and signals stay
with that reactor.

What one round of events has to send goes out together at its end. Each send wakes a peer that sleeps on another core;
in a row, most of them find it awake. That alone saves a third of the kernel's time, measured with 32 connections.
"""

from __future__ import annotations

from select import EPOLLIN
from typing import Any

from twisted.internet.epollreactor import EPollReactor
from twisted.internet.interfaces import IReadDescriptor
from twisted.internet.tcp import Connection
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from rolling_router.proxy.sending import Send, send_at_once, send_queued

_log = Logger()

_MOST_EVENTS = 64
"""In a round: what is sent must not wait long for its end, nor timers and the settings port for their turn."""

_MOST_ROUNDS = 32
"""In a row, when catching up: under load there is always something ready."""

_LARGE_BYTES = 16384
"""A piece of this size ends the wait: it is not worth keeping in memory."""


class Loop(EPollReactor):
    """A reactor for sockets alone: hand it to endpoints in place of the one that it lives in."""

    def __init__(self, reactor: Any) -> None:
        """:param reactor: the process's; it must provide `IReactorFDSet`."""
        super().__init__()
        self._outer = reactor
        self._outbox: list[tuple[Any, bytes]] = []
        self._is_in_round = self._is_flushing = False
        self._reader = _Reader(self._poller.fileno(), self._serve)
        self.installNameResolver(reactor.nameResolver)
        for name in (
            "callLater",
            "seconds",
            "getDelayedCalls",
            "callFromThread",
            "callInThread",
            "callWhenRunning",
            "getThreadPool",
            "addSystemEventTrigger",
            "removeSystemEventTrigger",
        ):
            setattr(self, name, getattr(reactor, name))

    def installWaker(self) -> None:
        """None: nobody waits here who would have to be woken."""

    def open(self) -> None:
        """Begin to look after the sockets."""
        self._outer.addReader(self._reader)

    def close(self) -> None:
        """End it. Called when no socket is left that matters."""
        self._outer.removeReader(self._reader)
        self.removeAll()

    def catch_up(self) -> None:
        """Serve what is ready now, rather than when the process's reactor comes to it."""
        for _ in range(_MOST_ROUNDS):
            if not self._poller.poll(0, 1):
                return
            self._serve()

    def send(self, transport: Any, data: bytes) -> None:
        """Send at the end of the round; at once, if none is going on."""
        if not self._is_in_round:
            send_at_once(transport, data)
            return
        self._outbox.append((transport, data))
        # Where something is queued, the socket may have been found to take it in this very round: it is sent before the
        # round ends, and if the connection is to be closed then, what waits here would come too late.
        if len(data) >= _LARGE_BYTES or transport._tempDataLen or transport.dataBuffer:
            self._flush()

    def _flush(self) -> None:
        if self._is_flushing:
            return  # what a full transport's producer sends now is served by the loop below
        self._is_flushing = True
        try:
            for transport, data in self._outbox:
                send_at_once(transport, data)
        finally:
            self._outbox.clear()
            self._is_flushing = False

    def _serve(self) -> None:
        """Something is ready: one round."""
        self._is_in_round = True
        try:
            self._serve_events()
        finally:
            self._flush()
            self._is_in_round = False

    def _serve_events(self) -> None:
        selectables = self._selectables
        for fd, event in self._poller.poll(0, _MOST_EVENTS):
            selectable = selectables.get(fd)
            if selectable is None:
                continue  # closed by an event before it, in this very round
            if event != EPOLLIN:
                self._doReadOrWrite(selectable, fd, event)
                continue
            try:
                why = selectable.doRead()
            except Exception as wrong:
                _log.failure("a connection failed and is closed")
                why = wrong
            if why is not None:
                self._disconnectSelectable(selectable, why, True)


@implementer(IReadDescriptor)
class _Reader:
    """The epoll set, as one descriptor of another reactor."""

    def __init__(self, fd: int, serve: Any) -> None:
        self._fd = fd
        self.doRead = serve

    def fileno(self) -> int:
        return self._fd

    def logPrefix(self) -> str:
        return "proxy"

    def connectionLost(self, reason: Failure) -> None:
        _log.warn("the process ends before the proxy's sockets were let go: {why}", why=reason.getErrorMessage())


def sender_for(transport: Any) -> Send:
    """The cheapest way to send on this transport: through the loop or at once on a plain socket, else (TLS) queued."""
    if isinstance(transport, Connection):
        return transport.reactor.send if isinstance(transport.reactor, Loop) else send_at_once
    return send_queued
