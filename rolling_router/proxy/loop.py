"""
proxy.loop: the proxy's own sockets, looked after inside the process's reactor at less cost for each event.

Twisted's reactors wrap every event of every socket in a logging context: about 4 µs of CPU for each, twice a request,
and the proxy has no use for it. So its sockets have an epoll set of their own. That set is itself one readable
descriptor of the process's reactor, which calls when anything in it is ready; time, threads, names and signals stay
with that reactor.
"""

from __future__ import annotations

from select import EPOLLIN
from typing import Any

from twisted.internet.epollreactor import EPollReactor
from twisted.internet.interfaces import IReadDescriptor
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

_log = Logger()

_MOST_EVENTS = 256
"""At once, before the process's reactor has its turn again: timers and the settings port must not starve."""


class Loop(EPollReactor):
    """A reactor for sockets alone: hand it to endpoints in place of the one that it lives in."""

    def __init__(self, reactor: Any) -> None:
        """:param reactor: the process's; it must provide `IReactorFDSet`."""
        super().__init__()
        self._outer = reactor
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

    def _serve(self) -> None:
        """Something is ready: serve it."""
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
        _log.error("the proxy's sockets are lost: {reason}", reason=reason)
