"""When descriptors run out, the listening sockets rest, and wake when there are some again."""

from __future__ import annotations

import gc
import os
import resource

import pytest
from twisted.internet.protocol import Factory
from twisted.internet.tcp import Port, _reservedFD
from twisted.internet.testing import MemoryReactorClock

from rolling_router.traffic.descriptors import Watch, is_one_of_the_last, most_connections


@pytest.fixture
def few():
    """Take all descriptors away, and give them back."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)

    def take():
        gc.collect()  # what former tests left would free its descriptors while there are to be none
        os.close(lowest := os.open(os.devnull, os.O_RDONLY))
        resource.setrlimit(resource.RLIMIT_NOFILE, (lowest, hard))

    yield take
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_a_listening_socket_rests_while_there_is_no_descriptor(few):
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    reactor, limited = MemoryReactorClock(), []
    port = Port(0, Factory(), reactor=reactor)
    port.connected = True
    port.startReading()
    watch = Watch(reactor, reactor, limited.append)
    if _reservedFD.available():
        _reservedFD.__enter__()  # what is left of it when somebody else has taken its place
    few()
    watch.startService()
    reactor.advance(5)
    assert (port in reactor.getReaders(), limited) == (False, ["descriptors"])
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    reactor.advance(0.25)
    assert (port in reactor.getReaders(), _reservedFD.available()) == (True, True)
    reactor.advance(5)
    assert limited == ["descriptors"]
    watch.stopService()
    assert reactor.getDelayedCalls() == []


def test_the_last_descriptors_are_not_for_clients():
    most_connections()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    assert soft == hard
    assert not is_one_of_the_last(10)
    assert is_one_of_the_last(soft - 1)
    assert 0 < most_connections() < soft / 2
