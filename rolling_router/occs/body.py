"""occs.body: sends a request's body, and reads an answer's, up to a bound. Used by `calls`."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred, succeed
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from twisted.web.client import ResponseDone
from twisted.web.http import PotentialDataLoss
from twisted.web.iweb import IBodyProducer
from zope.interface import implementer


@implementer(IBodyProducer)
class Sent:
    """A body that is sent in one piece. treq's own would be sent bit by bit, by the global reactor's clock."""

    def __init__(self, body: bytes) -> None:
        self.length = len(body)
        self._body = body

    def startProducing(self, consumer: Any) -> Deferred[None]:
        consumer.write(self._body)
        return succeed(None)

    def pauseProducing(self) -> None:
        """It is all sent."""

    def resumeProducing(self) -> None:
        """It is all sent."""

    def stopProducing(self) -> None:
        """It is all sent."""


class TooLong(Exception):
    """The body has more bytes than allowed."""


def whole_body(response: Any, most: int) -> Deferred[bytes]:
    """
    All of it.

    :param response: of treq, unbuffered.    :raises TooLong: (as a Failure) it has more than `most` bytes.
    """
    body = _Body(most)
    response.deliverBody(body)
    return body.over


class _Body(Protocol):
    def __init__(self, most: int) -> None:
        self.over: Deferred[bytes] = Deferred(lambda _: self._abort())
        self._most = most
        self._pieces: list[bytes] = []

    def dataReceived(self, data: bytes) -> None:
        self._most -= len(data)
        if self._most >= 0:
            self._pieces.append(data)
        elif not self.over.called:
            self.over.errback(TooLong())
            self._abort()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        if self.over.called:
            return
        # Without a length, the end of the connection is the end of the body. A whole JSON text is known by itself.
        if reason.check(ResponseDone, PotentialDataLoss):
            self.over.callback(b"".join(self._pieces))
        else:
            self.over.errback(reason)

    def _abort(self) -> None:
        # What Twisted hands out here cannot abort, and a TLS peer that does not answer our farewell would keep the
        # socket open for ever.
        transport = getattr(self.transport, "_producer", None) or self.transport
        if transport is not None:
            getattr(transport, "abortConnection", transport.loseConnection)()
