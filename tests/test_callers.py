"""The connections of the settings port when it ends: who has asked has an answer, the others have a goodbye."""

from __future__ import annotations

from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone
from twisted.internet.testing import MemoryReactorClock
from twisted.web.resource import Resource
from twisted.web.server import Site

from rolling_router.traffic.callers import Callers
from tests.fakes import Line


class Answer(Resource):
    isLeaf = True

    def render_GET(self, request):
        return b"answered"


def turn(reactor, *lines):
    """Let happen what can happen now."""
    reactor.advance(0)
    while sum(line.work() for line in lines if line.end is None):
        reactor.advance(0)


def test_a_request_that_has_come_is_answered_and_who_asks_nothing_goes_at_once():
    reactor = MemoryReactorClock()
    callers = Callers(Site(Answer(), reactor=reactor), reactor)
    address = IPv4Address("TCP", "127.0.0.1", 4711)
    idle, asks = (Line(reactor, "127.0.0.1", callers.buildProtocol(address)) for _ in range(2))
    asks.wire.inbound.append(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")  # the kernel has it, the reactor does not know yet
    over = Deferred.fromCoroutine(callers.hang_up())
    turn(reactor, idle, asks)
    assert (idle.end, asks.end) == (ConnectionDone, None)
    assert asks.wire.sent.endswith(b"answered")
    reactor.advance(0.1)
    turn(reactor, asks)
    assert asks.end is ConnectionDone
    reactor.advance(0.1)
    assert over.called


def test_who_begins_to_ask_and_does_not_end_is_not_waited_for_any_longer():
    reactor = MemoryReactorClock()
    callers = Callers(Site(Answer(), reactor=reactor), reactor)
    begins = Line(reactor, "127.0.0.1", callers.buildProtocol(IPv4Address("TCP", "127.0.0.1", 4711)))
    begins.wire.inbound.append(b"GET / HTTP/1.1\r\nHo")
    over = Deferred.fromCoroutine(callers.hang_up())
    for _ in range(21):
        turn(reactor, begins)
        reactor.advance(0.1)
    turn(reactor, begins)
    assert over.called
    assert begins.end is ConnectionDone
