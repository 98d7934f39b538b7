"""Whose certificate the client believes: over real TLS, with certificates made here."""

from __future__ import annotations

import datetime
import ipaddress
from typing import Any

import pytest
import pytest_twisted
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from twisted.internet.ssl import PrivateCertificate
from twisted.web.server import Site

from rolling_router.errors import StoreLost
from rolling_router.occs.calls import Patience
from rolling_router.occs.client import OccsClient
from rolling_router.occs.token import Token
from tests.occs_fakes import KeysManager

KEY = "rolling/shop/blendpercent"
ONE_TRY = Patience(limit_seconds=20.0, tries=1)
DAY = datetime.timedelta(days=1)


class Made:
    """A certificate and its key."""

    def __init__(self, name: str, *addresses: str, by: Made | None = None, is_authority: bool = False, age: int = 1):
        self.name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        self.key = ec.generate_private_key(ec.SECP256R1())
        now = datetime.datetime.now(datetime.UTC)
        building = (
            x509.CertificateBuilder()
            .subject_name(self.name)
            .issuer_name((by or self).name)
            .public_key(self.key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - age * DAY)
            .not_valid_after(now + (2 - age) * DAY)
            .add_extension(x509.BasicConstraints(is_authority, None), critical=True)
        )
        if addresses:
            names = [x509.IPAddress(ipaddress.ip_address(one)) for one in addresses]
            building = building.add_extension(x509.SubjectAlternativeName(names), critical=False)
        self.certificate = building.sign((by or self).key, hashes.SHA256())
        self.pem = self.certificate.public_bytes(serialization.Encoding.PEM)

    def options(self) -> Any:
        form = serialization.PrivateFormat.PKCS8
        key = self.key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption())
        return PrivateCertificate.loadPEM(key + self.pem).options()


AUTHORITY = Made("authority", is_authority=True)
OTHER = Made("authority", is_authority=True)
NAMED = Made("manager", "127.0.0.1", by=AUTHORITY)
MISNAMED = Made("manager", "10.0.0.1", by=AUTHORITY)
NAMELESS = Made("manager")  # as a manager makes it for itself
NAMELESS_AUTHORITY = Made("manager", is_authority=True)  # as `openssl req -x509` makes it
RUN_OUT = Made("manager", "127.0.0.1", by=AUTHORITY, age=5)
OWN_AND_RUN_OUT = Made("manager", age=5)

CASES = [
    ("an authority and its server", NAMED, [AUTHORITY], True),
    ("several in the file", NAMED, [Made("another"), NAMELESS, AUTHORITY], True),
    ("another authority of that name", NAMED, [OTHER], False),
    ("an authority's, for another address", MISNAMED, [AUTHORITY], False),
    ("an authority's, which has run out", RUN_OUT, [AUTHORITY], False),
    ("one without a name, pinned", NAMELESS, [NAMELESS], True),
    ("one that calls itself an authority, pinned", NAMELESS_AUTHORITY, [NAMELESS_AUTHORITY], True),
    ("an authority's, pinned itself", NAMED, [NAMED], True),
    ("an authority's for another address, pinned itself", MISNAMED, [MISNAMED], True),
    ("its own that has run out, pinned", OWN_AND_RUN_OUT, [OWN_AND_RUN_OUT], True),
    ("one without a name, another one pinned", NAMELESS, [Made("manager")], False),
    ("made by a pinned one that is no authority", Made("m", "127.0.0.1", by=NAMELESS), [NAMELESS], False),
    ("made by a pinned authority, without the name", Made("m", by=NAMELESS_AUTHORITY), [NAMELESS_AUTHORITY], False),
]


@pytest.mark.parametrize(("served", "trusted", "is_believed"), [case[1:] for case in CASES], ids=[c[0] for c in CASES])
@pytest_twisted.ensureDeferred
async def test_who_is_believed(tmp_path, served, trusted, is_believed):
    from twisted.internet import reactor

    manager = KeysManager({KEY: "30"})
    listening = reactor.listenSSL(0, Site(manager), served.options(), interface="127.0.0.1")
    path = tmp_path / "ca.pem"
    path.write_bytes(b"a word before\n" + b"\n".join(one.pem for one in trusted))
    where = f"https://127.0.0.1:{listening.getHost().port}"
    client = OccsClient.of_manager(reactor, where, {"OCCS_CA": str(path)}, Token("secret"))
    try:
        if is_believed:
            assert await client.keys.get(KEY, ONE_TRY) == "30"
        else:
            with pytest.raises(StoreLost, match=rf"no TLS with {where}: .*certificate verify failed.*OCCS_CA"):
                await client.keys.get(KEY, ONE_TRY)
            assert manager.asked == [], "no token for a stranger"
    finally:
        await client.close()
        await listening.stopListening()


@pytest_twisted.ensureDeferred
async def test_an_address_by_name_is_checked_and_told_by_that_name(tmp_path):
    from twisted.internet import reactor

    listening = reactor.listenSSL(0, Site(KeysManager({KEY: "30"})), NAMED.options(), interface="127.0.0.1")
    path = tmp_path / "ca.pem"
    path.write_bytes(AUTHORITY.pem)
    where = f"https://localhost:{listening.getHost().port}"
    client = OccsClient.of_manager(reactor, where, {"OCCS_CA": str(path)}, Token("secret"))
    with pytest.raises(StoreLost, match="for another name"):
        await client.keys.get(KEY, ONE_TRY)
    await client.close()
    await listening.stopListening()
