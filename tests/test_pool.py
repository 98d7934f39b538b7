"""The pool of connections to one instance: what only shows where the network is somebody else's."""

from __future__ import annotations

from typing import Any

from twisted.internet.error import DNSLookupError
from twisted.internet.testing import MemoryReactorClock

from rolling_router.proxy.deadlines import Deadlines
from rolling_router.proxy.limits import Limits
from rolling_router.proxy.pool import Pool
from rolling_router.rollout.model import Instance
from rolling_router.routing.fleet import Load


class SilentNames:
    """A name server that takes every question and answers none."""

    def resolveHostName(self, receiver: Any, name: str, *_: Any, **__: Any) -> Any:
        receiver.resolutionBegan(None)
        return receiver


def test_a_name_server_that_never_answers_costs_no_more_than_the_limit_for_connecting():
    reactor: Any = MemoryReactorClock()
    reactor.nameResolver = SilentNames()
    dispatch: Any = None  # asked by connections that were made; there will be none
    pool = Pool(reactor, Load(Instance("app.example", 80)), dispatch, Limits(connect_seconds=5), Deadlines(reactor))
    failures = []
    pool.connect().addErrback(failures.append)
    reactor.advance(4.9)
    assert failures == []
    reactor.advance(0.2)
    assert [failure.type for failure in failures] == [DNSLookupError]
    assert reactor.getDelayedCalls() == []
