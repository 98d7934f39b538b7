"""
traffic.certificates: who this router proves to be by TLS: files -> contexts, by name, and again when the files change.

Used by `ports`. What is in force is replaced whole, or not at all: a file that cannot be used is named, and the
certificates that were read before stay.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import attrs
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from OpenSSL import SSL
from OpenSSL.crypto import X509, PKey
from twisted.internet.interfaces import IOpenSSLServerConnectionCreator
from twisted.internet.ssl import AcceptableCiphers, CertificateOptions
from twisted.logger import Logger
from zope.interface import implementer

from rolling_router.errors import SettingError

_log = Logger()

LOOK_SECONDS = 2.0
"""How often the files are looked at. What changed is read when it has been the same twice: it may still be written."""

_CIPHERS = AcceptableCiphers.fromOpenSSLCipherString("ECDHE+AESGCM:ECDHE+CHACHA20:!aNULL")
"""For TLS 1.2, what Mozilla calls intermediate; those of 1.3 are all good."""


@attrs.frozen
class Pair:
    """Two files in PEM: a certificate with its chain, and its key. They may be one."""

    certificate: str
    key: str


@attrs.frozen
class _Known:
    """:ivar names: of whom the certificate says that it is theirs, in lower case; ``*.`` for one label."""

    pair: Pair
    names: frozenset[str]
    context: SSL.Context
    expires: datetime


@implementer(IOpenSSLServerConnectionCreator)
class Certificates:
    """
    Makes the server's side of TLS connections, with the certificate for the name that the client asks for.

    :param pair: the only one; or
    :param directory: has any number: ``NAME.pem`` (certificate, chain and key), ``NAME.crt`` with ``NAME.key``, or
        ``NAME/fullchain.pem`` with ``NAME/privkey.pem``. For whom they are is in the certificates; ``default`` is for
        clients that name nobody known, or else the first one.
    :param protocols: to agree on by ALPN, the best one first.
    """

    def __init__(self, pair: Pair | None, directory: str | None, protocols: Sequence[bytes]) -> None:
        """:raises SettingError: there is none, or one cannot be used."""
        self._pair = pair
        self._directory = directory
        self._protocols = list(protocols)
        self._seen = self._look()
        self._read: Any = self._seen
        self._known = self._load()

    def serverConnectionForTLS(self, protocol: Any) -> SSL.Connection:
        """Twisted's door. Connections that are open keep what they began with."""
        return SSL.Connection(self._known[0].context, None)

    def look(self) -> None:
        """Whether the files have changed; they are read then. Called every `LOOK_SECONDS`."""
        seen, self._seen = self._seen, self._look()
        if self._seen != self._read and self._seen == seen:
            self.reload()

    def reload(self) -> None:
        """Read the files now."""
        self._read = self._seen = self._look()
        try:
            self._known = self._load()
        except SettingError as wrong:
            _log.error("{wrong}. The certificates that were read before stay in force", wrong=wrong)
            return
        self.say()

    def say(self) -> None:
        """Which ones are in force, and until when they are valid: into the log."""
        _log.info("certificates are in force: {which}", which="; ".join(map(_described, self._known)))

    def expiries(self) -> dict[str, float]:
        """When they end, in seconds since 1970, by name; one without a name by its file."""
        found: dict[str, float] = {}
        for known in self._known:
            for name in known.names or (known.pair.certificate,):
                found.setdefault(name, known.expires.timestamp())  # the first one is shown, see `_for_name`
        return found

    def _for_name(self, name: bytes | None) -> SSL.Context | None:
        wanted = (name or b"").decode("ascii", "replace").lower().rstrip(".")
        for text in (wanted, "*." + wanted.partition(".")[2]):
            for known in self._known:
                if text in known.names:
                    return known.context
        return None  # the connection goes on with the first one

    def _load(self) -> tuple[_Known, ...]:
        known = [self._load_one(pair) for pair in self._pairs()]
        if not known:
            raise SettingError(f"no certificate is in {self._directory}; put NAME.pem there, or NAME.crt and NAME.key")
        now = datetime.now(UTC)
        for one in known:
            if one.expires < now:
                _log.error("the certificate {path} has expired; it is used all the same", path=one.pair.certificate)
        return tuple(known)

    def _pairs(self) -> list[Pair]:
        if self._pair is not None:
            return [self._pair]
        assert self._directory is not None
        found = {}
        try:
            entries = sorted(os.listdir(self._directory))
        except OSError as wrong:
            raise SettingError(f"the certificates in {self._directory} {_unread(wrong)}") from None
        for entry in entries:
            path = os.path.join(self._directory, entry)
            stem, kind = os.path.splitext(entry)
            if kind == ".pem":
                found[stem] = Pair(path, path)
            elif kind == ".crt":
                found[stem] = Pair(path, os.path.join(self._directory, f"{stem}.key"))
            elif os.path.exists(os.path.join(path, "fullchain.pem")):
                found[entry] = Pair(os.path.join(path, "fullchain.pem"), os.path.join(path, "privkey.pem"))
        return [found[name] for name in sorted(found, key=lambda name: (name != "default", name))]

    def _load_one(self, pair: Pair) -> _Known:
        """:raises SettingError: one of the files cannot be used."""
        try:
            chain = x509.load_pem_x509_certificates(_content(pair.certificate))
        except ValueError:
            raise SettingError(
                f"the file {pair.certificate} has no certificate in PEM form; it must begin with the router's own"
            ) from None
        try:
            key = serialization.load_pem_private_key(_content(pair.key), None)
        except (ValueError, TypeError):
            raise SettingError(
                f"the file {pair.key} has no key in PEM form that needs no passphrase; put one there"
            ) from None
        if key.public_key() != chain[0].public_key():
            raise SettingError(
                f"the key in {pair.key} is not that of the certificate in {pair.certificate}; put both of one there"
            )
        try:
            options = CertificateOptions(
                PKey.from_cryptography_key(key),  # type: ignore[arg-type]  # all kinds that a certificate can have
                X509.from_cryptography(chain[0]),
                extraCertChain=[X509.from_cryptography(one) for one in chain[1:]],
                enableSessionTickets=True,
                acceptableCiphers=_CIPHERS,
                acceptableProtocols=self._protocols,
                contextForServerName=self._for_name,
            )
            context = options.getContext()
        except (SSL.Error, ValueError, TypeError) as wrong:
            raise SettingError(
                f"the certificate {pair.certificate} cannot be used: {wrong}; have another one made"
            ) from None
        context.set_min_proto_version(SSL.TLS1_2_VERSION)
        context.set_options(SSL.OP_NO_RENEGOTIATION | SSL.OP_NO_COMPRESSION)
        return _Known(pair, _names(chain[0]), context, chain[0].not_valid_after_utc)

    def _look(self) -> Any:
        """What the files are, as far as one sees without reading them."""
        try:
            pairs = self._pairs()
        except SettingError:
            return None
        return [(path, _identity(path)) for pair in pairs for path in (pair.certificate, pair.key)]


def _names(certificate: x509.Certificate) -> frozenset[str]:
    try:
        alternatives = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return frozenset()
    return frozenset(name.lower() for name in alternatives.get_values_for_type(x509.DNSName))


def _described(known: _Known) -> str:
    names = ", ".join(sorted(known.names)) or "no name"
    return f"{known.pair.certificate} ({names}; until {known.expires:%Y-%m-%d})"


def _content(path: str) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read()
    except OSError as wrong:
        raise SettingError(f"the file {path} {_unread(wrong)}") from None


def _unread(wrong: OSError) -> str:
    return f"cannot be read: {wrong.strerror}; it must be there, and the user {os.geteuid()} be let read it"


def _identity(path: str) -> Any:
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size, status.st_ino
