"""A certificate authority of the tests' own, and what it signs."""

from __future__ import annotations

import ipaddress
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import attrs
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec


@attrs.define(eq=False)
class Authority:
    """:ivar path: its own certificate, for clients to trust."""

    directory: Path
    path: Path = attrs.field(init=False)
    _key: ec.EllipticCurvePrivateKey = attrs.field(init=False)
    _name: x509.Name = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = _named("Authority of the tests")
        made = (
            self._builder(self._name, self._key.public_key(), 30)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .sign(self._key, hashes.SHA256())
        )
        self.path = self.directory / "authority.pem"
        self.path.write_bytes(made.public_bytes(serialization.Encoding.PEM))

    def issue(self, *names: str, days: float = 10) -> tuple[bytes, bytes]:
        """A certificate for these names or addresses, and its key, both in PEM. `days` below nought: it has expired."""
        key = ec.generate_private_key(ec.SECP256R1())
        made = (
            self._builder(_named(names[0]), key.public_key(), days)
            .add_extension(x509.SubjectAlternativeName([_general(name) for name in names]), critical=False)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(x509.ExtendedKeyUsage([x509.ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
            .sign(self._key, hashes.SHA256())
        )
        private = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        return made.public_bytes(serialization.Encoding.PEM), private

    def write(self, path: Path, *names: str, days: float = 10) -> Path:
        """Both in one file, put in its place as a whole."""
        beside = path.with_name(path.name + ".beside")
        beside.write_bytes(b"".join(self.issue(*names, days=days)))
        os.replace(beside, path)
        return path

    def _builder(self, subject: x509.Name, key: ec.EllipticCurvePublicKey, days: float) -> x509.CertificateBuilder:
        now = datetime.now(UTC)
        return x509.CertificateBuilder(
            self._name,
            subject,
            key,
            x509.random_serial_number(),
            now - timedelta(days=30),
            now + timedelta(days=days),
        )


def _named(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, text)])


def _general(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)
