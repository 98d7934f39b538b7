"""occs.emulator.certificate: the manager's own certificate, made at the first start, for clients to pin."""

from __future__ import annotations

import datetime
import ipaddress
import os
from collections.abc import Iterable
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from twisted.internet.ssl import CertificateOptions, PrivateCertificate

from rolling_router.disk import replace
from rolling_router.errors import SettingError

DAYS = 730
RENEW_DAYS = 30


class Certificate:
    """The two files in the state directory: `certificate.pem`, which clients may have, and `key.pem`, which not."""

    def __init__(self, directory: Path) -> None:
        self.path = directory / "certificate.pem"
        self._key_path = directory / "key.pem"

    def options(self) -> CertificateOptions:
        """For a TLS listener. Call `see_to` before."""
        pem = self._key_path.read_bytes() + self.path.read_bytes()
        return PrivateCertificate.loadPEM(pem).options()

    def see_to(self, addresses: Iterable[str], now: datetime.datetime) -> bool:
        """
        Make it, unless there is one that covers these addresses for a month more.

        :param addresses: IP addresses and host names.    :returns: whether it was made now.
        :raises SettingError: the files are there and cannot be read as what they should be.
        """
        wanted = _names(addresses)
        if self._key_path.exists() and self.path.exists() and self._covers(wanted, now):
            return False
        key = ec.generate_private_key(ec.SECP256R1())
        made = _sign(key, wanted, now)
        pem = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        replace(self._key_path, pem)
        replace(self.path, made.public_bytes(serialization.Encoding.PEM), mode=0o644)
        return True

    def _covers(self, wanted: list[x509.GeneralName], now: datetime.datetime) -> bool:
        try:
            there = x509.load_pem_x509_certificate(self.path.read_bytes())
            key = serialization.load_pem_private_key(self._key_path.read_bytes(), None)
            names = there.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        except (OSError, ValueError, TypeError, x509.ExtensionNotFound) as wrong:
            folder = os.path.dirname(self.path)
            raise SettingError(
                f"certificate.pem or key.pem in {folder} cannot be used: {wrong}; remove both to have new ones made"
            ) from None
        return (
            key.public_key() == there.public_key()  # not so after a crash between the two files
            and set(wanted) <= set(names)
            and now + datetime.timedelta(days=RENEW_DAYS) < there.not_valid_after_utc
        )


def _names(addresses: Iterable[str]) -> list[x509.GeneralName]:
    names: list[x509.GeneralName] = []
    for text in dict.fromkeys([*addresses, "localhost", "127.0.0.1", "::1"]):
        try:
            names.append(x509.IPAddress(ipaddress.ip_address(text)))
        except ValueError:
            names.append(x509.DNSName(text))
    return names


def _sign(key: ec.EllipticCurvePrivateKey, names: list[x509.GeneralName], now: datetime.datetime) -> x509.Certificate:
    """It is its own authority, so that it serves as the CA file of every client."""
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "OCCS emulator")])
    public = key.public_key()
    usage = dict.fromkeys(
        ("content_commitment", "key_encipherment", "data_encipherment", "key_agreement", "crl_sign"), False
    )
    return (
        x509.CertificateBuilder(name, name, public, x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=DAYS))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(
            x509.KeyUsage(
                digital_signature=True, key_cert_sign=True, encipher_only=False, decipher_only=False, **usage
            ),
            critical=True,
        )
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(public), critical=False)
        .sign(key, hashes.SHA256())
    )
