"""
proxy.closing: the end of a connection: what is queued on it is sent, and who takes none of that in time is cut.

Made by `side` and `secured`, which decide that a connection ends. It says nothing on it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.abstract import FileDescriptor
from twisted.internet.interfaces import ISSLTransport

from rolling_router.proxy.deadlines import TICK_SECONDS, Deadlines
from rolling_router.proxy.limits import Limits
from rolling_router.proxy.sending import underneath, unsent_bytes, untaken_bytes

LINGER_MOST_SECONDS = 30.0
"""How long a closing connection's input is read and dropped in all, however busily the client sends."""


class Closing:
    """
    Closes a connection. From here on it has the deadline of this, and none of its own.

    :ivar deadline: see `proxy.deadlines`.
    """

    def __init__(
        self,
        transport: Any,
        deadlines: Deadlines,
        limits: Limits,
        limited: Callable[[str], None],
        lingers: bool = False,
    ) -> None:
        """
        :param limited: called with the name of the limit that acted.
        :param lingers: the other end may still be sending. A socket that is closed with unread input resets the
            connection, and the client may never see our answer; so we only stop writing, and read on until it has
            been silent for a while (RFC 9112 section 9.6). TLS stops writing by its goodbye.
        """
        self._transport = transport
        self._deadlines = deadlines
        self._limits = limits
        self._limited = limited
        # The PROXY protocol wraps a transport too, and says nothing at the end.
        self._is_plain = isinstance(transport, FileDescriptor) or not ISSLTransport.providedBy(transport)
        self._is_lingering = lingers
        # What is sent after a linger the kernel delivers by itself. Else the other end has to take it: there is no
        # goodbye of TLS before, and Twisted closes no socket that has no room in the kernel.
        self._count = unsent_bytes if lingers and self._is_plain else untaken_bytes
        self._unsent = -1  # not counted before the first tick: most connections are gone by then
        self._taken_at = self._heard_at = deadlines.now
        self._linger_end = deadlines.now + LINGER_MOST_SECONDS
        self.deadline = deadlines.now
        deadlines.add(self)
        transport.unregisterProducer()
        if lingers and self._is_plain:
            underneath(transport).loseWriteConnection()
        else:
            transport.loseConnection()

    def heard(self) -> None:
        """The other end still sends, and has not read our answer. What it sends is dropped."""
        self._heard_at = self._deadlines.now

    def expire(self) -> None:
        """A tick is over."""
        now, limits, unsent = self._deadlines.now, self._limits, self._count(self._transport)
        self.deadline = now + TICK_SECONDS
        if unsent != self._unsent:
            self._unsent, self._taken_at = unsent, now  # slow, but it reads
        if unsent or (self._is_plain and not self._is_lingering):
            if now - self._taken_at >= limits.body_seconds:
                self._limited("body-seconds")
                self._transport.abortConnection()
        elif self._is_lingering:
            if now - max(self._taken_at, self._heard_at) >= limits.linger_seconds or now >= self._linger_end:
                self._is_lingering = False
                self._taken_at = now
                self._limited("linger-seconds")
                # No reset: the kernel may still hold our answer for a slow reader.
                underneath(self._transport).loseConnection()
        elif now - self._taken_at >= limits.linger_seconds:
            # TLS waits for the other end's goodbye, which an idle client does not say before it wants to ask again.
            underneath(self._transport).loseConnection()

    def over(self) -> None:
        """The connection is gone."""
        self._deadlines.discard(self)
