"""How we connect: to which hosts, and by which URLs. In memory, where each name can be found."""

from __future__ import annotations

from argparse import Namespace
from io import StringIO
from typing import Any

import pytest
from hyperlink import DecodedURL
from treq.testing import RequestTraversalAgent
from twisted.internet.defer import Deferred
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import Clock
from twisted.internet.testing import MemoryReactorClock

from rolling_router.cli.command import World
from rolling_router.cli.routers import Routers
from rolling_router.endpoints import Named, Url
from rolling_router.health import Check
from rolling_router.occs.client import OccsClient
from rolling_router.occs.emulator.checks import Checks
from rolling_router.occs.emulator.service_yaml import HealthCheck
from rolling_router.occs.keys import NODE_FORMS
from rolling_router.probes import Asker
from rolling_router.proxy.deadlines import Deadlines
from rolling_router.proxy.dispatch import Dispatch
from rolling_router.proxy.limits import Limits
from rolling_router.proxy.pool import Pool
from rolling_router.rollout.model import Instance
from rolling_router.routing.fleet import Load
from rolling_router.routing.router import Router
from tests.fakes import Score
from tests.occs_fakes import KeysManager

HOSTS = ["10.0.0.1", "::1", "shop.example", "my_shop", "a_b.c-d."]


def written(host: str) -> str:
    return f"[{host}]" if ":" in host else host


@pytest.mark.parametrize(
    ("text", "sent"),
    [
        ("https://[fd00::1]:8443/api", "https://[fd00::1]:8443/api"),
        ("http://my_shop:3000/healthz?a=%20", "http://my_shop:3000/healthz?a=%20"),
        ("http://10.0.0.1/\u00e4 b", "http://10.0.0.1/%C3%A4%20b"),
        ("https://\u00fc.example/x", "https://xn--tda.example/x"),
    ],
)
def test_the_host_of_a_url_is_called_as_it_is_written(text: str, sent: str) -> None:
    assert Url.from_text(text).to_uri().to_text() == sent
    below = DecodedURL(Url.from_text("http://[::1]:1")).child("api", "\u00e4").add("recurse")
    assert below.encoded_url.to_uri().to_text() == "http://[::1]:1/api/%C3%A4?recurse"


@pytest.mark.parametrize("host", [*HOSTS, b"my_shop"])
def test_whatever_can_be_a_name_is_asked_for(host: Any) -> None:
    reactor = MemoryReactorClock()
    Named(reactor, host, 3000).connect(Factory.forProtocol(Protocol))
    assert [one[1] for one in reactor.tcpClients] == [3000]


@pytest.mark.parametrize("host", ["a b", "", "x" * 64, "a..b"])
def test_what_can_be_none_is_refused(host: str) -> None:
    reactor, refused = MemoryReactorClock(), []
    Named(reactor, host, 3000).connect(Factory.forProtocol(Protocol)).addErrback(refused.append)
    assert refused[0].check(ValueError)
    assert reactor.tcpClients == []


# Those who connect


@pytest.mark.parametrize("host", HOSTS)
def test_the_proxy_connects_to_an_instance_whatever_its_host(host: str) -> None:
    reactor: Any = MemoryReactorClock()
    limits, deadlines = Limits(connect_seconds=5), Deadlines(reactor)
    dispatch = Dispatch(reactor, Router("shop", {}), limits, deadlines, Score())
    Pool(reactor, Load(Instance(host, 3000)), dispatch, limits, deadlines).connect()
    assert [one[1] for one in reactor.tcpClients] == [3000]


@pytest.mark.parametrize("host", HOSTS)
@pytest.mark.parametrize("path", ["/healthz", "tcp"])
def test_probes_ask_an_instance_whatever_its_host(host: str, path: str) -> None:
    reactor, told = MemoryReactorClock(), []
    Asker(reactor)(Instance(host, 3000), Check(path)).addBoth(told.append)
    reactor.advance(0.5)
    assert ([one[1] for one in reactor.tcpClients], told) == ([3000], [])


@pytest.mark.parametrize("host", HOSTS)
def test_the_command_asks_a_router_whatever_its_host(host: str) -> None:
    reactor, told = MemoryReactorClock(), []
    url = f"http://{written(host)}:8080"
    routers = Routers([url], Namespace(token_file=None), World({}, StringIO(), StringIO()), reactor)
    Deferred.fromCoroutine(routers.ask(url)).addBoth(told.append)
    reactor.advance(0.5)
    assert ([one[1] for one in reactor.tcpClients], told) == ([8080], [])


@pytest.mark.parametrize("host", HOSTS)
def test_the_emulator_checks_a_container_whatever_its_host(host: str) -> None:
    reactor, told = MemoryReactorClock(), []
    Deferred.fromCoroutine(Checks(reactor, host).passes(HealthCheck(80, "/"), {80: 20_000})).addBoth(told.append)
    reactor.advance(0.5)
    assert ([one[1] for one in reactor.tcpClients], told) == ([20_000], [])


@pytest.mark.parametrize("host", HOSTS)
def test_the_occs_client_calls_a_node_whatever_its_host(host: str) -> None:
    manager, told = KeysManager({"rolling/null": "-"}), []
    agent = RequestTraversalAgent(manager)
    client = OccsClient(Clock(), agent, f"http://{written(host)}:9109", forms=NODE_FORMS[1:])
    Deferred.fromCoroutine(client.keys.below("rolling/")).addBoth(told.append)
    assert told == [{"rolling/null": "-"}]
