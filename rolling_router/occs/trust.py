"""
occs.trust: whose certificates the client believes. Made once by `client`; opens the CA's file then, and no connection.

The original turned verification off everywhere. Here it is on, and turning it off is a choice that is logged.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from typing import Any

from OpenSSL import SSL
from OpenSSL.crypto import FILETYPE_PEM, X509
from OpenSSL.crypto import Error as CertificateError
from service_identity import CertificateError as NamesError
from service_identity import VerificationError
from service_identity.hazmat import DNS_ID, IPAddress_ID, verify_service_identity
from service_identity.pyopenssl import extract_patterns
from twisted.internet.interfaces import IOpenSSLClientConnectionCreator
from twisted.internet.ssl import Certificate, CertificateOptions, trustRootFromCertificates
from twisted.logger import Logger
from twisted.web.client import BrowserLikePolicyForHTTPS
from twisted.web.iweb import IPolicyForHTTPS
from zope.interface import implementer

from rolling_router.errors import SettingError

_BEGIN, _END = b"-----BEGIN CERTIFICATE-----", b"-----END CERTIFICATE-----"

_log = Logger()


def trust(ca_path: str | None, is_insecure: bool, where: str) -> IPolicyForHTTPS:
    """
    How to check the certificate of a TLS connection.

    :param ca_path: a PEM file with one or more certificates: authorities' or servers' own. ``None``: the system's
        authorities.
    :param is_insecure: check nothing.    :param where: whom we call, for the log.
    :raises SettingError: the file cannot be used, or both are asked for.
    """
    if is_insecure and ca_path:
        raise SettingError(f"OCCS_INSECURE is on and OCCS_CA is {ca_path!r}; choose one, better OCCS_CA")
    if is_insecure:
        _log.warn("the certificate of {where} is not checked (OCCS_INSECURE); OCCS_CA would do better", where=where)
        return _AnyCertificate()
    if ca_path:
        return _FromFile(_certificates(ca_path))
    return BrowserLikePolicyForHTTPS()


@implementer(IPolicyForHTTPS)
class _AnyCertificate:
    """Encrypted, but to whom?"""

    def creatorForNetloc(self, hostname: bytes, port: int) -> Any:
        return CertificateOptions(verify=False)


@implementer(IPolicyForHTTPS)
class _FromFile:
    """
    Believes authorities in the file, where the name fits, and any server that has one of its certificates itself:
    managers make their own, which often has no name by which they are called.
    """

    def __init__(self, certificates: Sequence[Certificate]) -> None:
        self._options = CertificateOptions(trustRoot=trustRootFromCertificates(certificates))
        self._pins = frozenset(_fingerprint(one.original) for one in certificates)

    def creatorForNetloc(self, hostname: bytes, port: int) -> IOpenSSLClientConnectionCreator:
        return _Checked(self._options.getContext(), hostname.decode("ascii").strip("[]"), self._pins)


@implementer(IOpenSSLClientConnectionCreator)
class _Checked:
    """Makes connections that end in the handshake where the server is not the one that is meant."""

    def __init__(self, context: SSL.Context, host: str, pins: frozenset[str]) -> None:
        self._context = context
        self._host = host
        self._pins = pins
        try:
            ipaddress.ip_address(host)
        except ValueError:
            self._is_name = True
        else:
            self._is_name = False

    def clientConnectionForTLS(self, tlsProtocol: Any) -> SSL.Connection:
        connection = SSL.Connection(self._context, None)
        if self._is_name:
            connection.set_tlsext_host_name(self._host.encode("ascii"))
        connection.set_verify(SSL.VERIFY_PEER | SSL.VERIFY_FAIL_IF_NO_PEER_CERT, self._is_believed)
        return connection

    def _is_believed(self, connection: SSL.Connection, certificate: X509, error: int, depth: int, is_ok: int) -> bool:
        """Called for each certificate of the chain; the server's own is at depth 0, and always comes."""
        if depth > 0:
            return bool(is_ok)
        return _fingerprint(certificate) in self._pins or (bool(is_ok) and self._is_named(certificate))

    def _is_named(self, certificate: X509) -> bool:
        wanted = DNS_ID(self._host) if self._is_name else IPAddress_ID(self._host)
        try:
            verify_service_identity(extract_patterns(certificate), [wanted], [])
        except (VerificationError, NamesError):
            return False
        return True


def _fingerprint(certificate: X509) -> str:
    return certificate.digest("sha256").decode("ascii")


def _certificates(path: str) -> list[Certificate]:
    try:
        with open(path, "rb") as file:
            text = file.read(1 << 20)
    except OSError as wrong:
        raise SettingError(f"OCCS_CA is {path!r}, which cannot be read: {wrong.strerror or wrong}") from None
    pieces = [piece.partition(_END)[0] for piece in text.split(_BEGIN)[1:]]
    try:
        found = [Certificate.load(b"%b%b%b\n" % (_BEGIN, piece, _END), FILETYPE_PEM) for piece in pieces]
    except (CertificateError, ValueError):
        found = []
    if not found:
        raise SettingError(f"OCCS_CA is {path!r}, which holds no certificate; it must be a PEM file with one or more")
    return found
