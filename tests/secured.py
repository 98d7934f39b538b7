"""A client by TLS of the engine in memory; see the fixture `connect_by_tls`."""

from __future__ import annotations

import ssl
from contextlib import suppress

from twisted.internet.ssl import CertificateOptions, PrivateCertificate
from twisted.protocols.tls import TLSMemoryBIOFactory

from rolling_router.proxy.secured import SecuredGate
from tests.fakes import End, Line
from tests.live.authority import Authority


class SecuredEnd(End):
    """A client by TLS."""

    def __init__(self, house, certificates, authority, protocols=(), first=b""):
        """
        :param certificates: the router's.    :param protocols: what it can speak, for ALPN.
        :param first: sent in one packet with the last of the handshake.
        """
        self._first = first
        gate = SecuredGate(house.gate, house.reactor)
        made = TLSMemoryBIOFactory(certificates, False, gate, clock=house.reactor).buildProtocol(None)
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
        heard = b""
        with suppress(ssl.SSLWantReadError):
            while more := self._tls.read(65536):
                heard += more
        return heard

    def _pass_on(self):
        self.send(self._goes.read())
        self._came.write(self.take_all())

    def _is_shaking(self):
        try:
            self._tls.do_handshake()
        except ssl.SSLWantReadError:
            return True
        self._tls.write(self._first)
        self._pass_on()
        return False


def connector(directory):
    """A function that connects a `SecuredEnd` to a house; `directory` is for an authority's files."""
    authority = Authority(directory)
    certificate, key = authority.issue("shop.example")
    made = PrivateCertificate.loadPEM(certificate + key)
    certificates = CertificateOptions(made.privateKey.original, made.original, acceptableProtocols=[b"h2", b"http/1.1"])
    return lambda house, *protocols, first=b"": SecuredEnd(house, certificates, authority, protocols, first)
