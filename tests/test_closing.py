"""The end of a connection by TLS or the PROXY protocol; others are in `test_downstream` and `test_waits`."""

from __future__ import annotations

import ssl

import pytest
from twisted.internet.ssl import CertificateOptions, PrivateCertificate
from twisted.protocols.haproxy._wrapper import HAProxyWrappingFactory
from twisted.protocols.tls import TLSMemoryBIOFactory

from rolling_router.proxy.closing import LINGER_MOST_SECONDS, Closing
from rolling_router.proxy.limits import Limits
from rolling_router.proxy.secured import SecuredGate
from tests.fakes import End, Line, post, status_of
from tests.live.authority import Authority


class SecuredEnd(End):
    """A client by TLS."""

    def __init__(self, house, certificates, authority, protocols=()):
        made = TLSMemoryBIOFactory(certificates, False, SecuredGate(house.gate, house.reactor)).buildProtocol(None)
        super().__init__(house, Line(house.reactor, "192.0.2.7", made))
        house.lines.append(self.line)
        self._came, self._goes = ssl.MemoryBIO(), ssl.MemoryBIO()
        context = ssl.create_default_context(cafile=str(authority.path))
        context.set_alpn_protocols(protocols)
        self._tls = context.wrap_bio(self._came, self._goes, server_hostname="shop.example")
        while self._is_shaking():
            self._pass_on()

    def say(self, data):
        self._tls.write(data)
        self._pass_on()

    def read(self):
        """What came, up to the router's goodbye."""
        self._came.write(self.take_all())
        return self._tls.read(65536)

    def _pass_on(self):
        self.send(self._goes.read())
        self._came.write(self.take_all())

    def _is_shaking(self):
        try:
            self._tls.do_handshake()
        except ssl.SSLWantReadError:
            return True
        self._pass_on()
        return False


@pytest.fixture
def connect(tmp_path):
    authority = Authority(tmp_path)
    certificate, key = authority.issue("shop.example")
    made = PrivateCertificate.loadPEM(certificate + key)
    certificates = CertificateOptions(made.privateKey.original, made.original, acceptableProtocols=[b"h2", b"http/1.1"])
    return lambda house, *protocols: SecuredEnd(house, certificates, authority, protocols)


def test_a_client_that_still_sends_is_read_from_until_it_has_had_its_answer(house, connect):
    client = connect(house)
    client.say(post(b"abc", length=1000))
    house.accept().reset()
    for _ in range(20):  # an upload slower than any patience with silence
        house.wait(house.limits.linger_seconds * 0.5)
        client.say(b"x")
        assert client.is_open
    assert status_of(client.read()) == 502
    house.wait(house.limits.linger_seconds + 1)
    assert not client.is_open
    assert house.score.limits == ["linger-seconds"]


def test_it_is_not_read_from_for_ever(house, connect):
    client = connect(house)
    client.say(post(b"abc", length=1000))
    house.accept().reset()
    began = house.reactor.seconds()
    while client.is_open:
        house.wait(1)
        client.say(b"x")
        assert house.reactor.seconds() - began < LINGER_MOST_SECONDS + 2
    assert house.reactor.seconds() - began >= LINGER_MOST_SECONDS


def test_behind_the_proxy_protocol_a_client_that_still_sends_is_read_from_too(house):
    made = HAProxyWrappingFactory(house.gate).buildProtocol(None)
    client = End(house, Line(house.reactor, "192.0.2.7", made))
    house.lines.append(client.line)
    client.send(b"PROXY TCP4 198.51.100.7 192.0.2.1 1111 80\r\n" + post(b"abc", length=1000))
    house.accept().reset()
    assert client.line.wire.is_half_closed
    for _ in range(20):
        house.wait(house.limits.linger_seconds * 0.5)
        client.send(b"x")
        assert client.is_open
    assert status_of(client.take()) == 502
    house.wait(house.limits.linger_seconds + 1)
    assert not client.is_open
    assert house.score.limits == ["linger-seconds"]


def test_who_is_let_in_while_its_connection_closes_does_not_begin_again(make_house, connect):
    house = make_house(limits=Limits(head_seconds=1, linger_seconds=5))
    house.gate.hold()
    client = connect(house, "h2")
    house.gate.drain()
    house.wait(2)
    house.gate.release()
    house.wait(8)
    assert not client.is_open
    assert not any(isinstance(one, Closing) for one in house.deadlines._members)
