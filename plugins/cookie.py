"""
cookie: the strategy that pins a client by a cookie, to a version and inside it to an instance.

Stateless: what a cookie's value means is computed from the Split, so any router with the same store (and the same
``key_file``, if there is one) honours it, across restarts.

The value is ``VERSION.INSTANCE``, two tokens in base64url. Neither tells the deployment's name or an address:

- the version token has 72 bits, so two versions never share one. Names of deployments can be guessed, therefore it
  is stretched with scrypt (RFC 7914): each guess costs about 10 ms. With ``key_file`` guessing is hopeless.
- the instance token has 24 bits on purpose: enough to tell a version's instances apart, and too few to be turned back
  into an address, because 256 of the 2**32 addresses fit each token, for every port. (Who knows the deployment's name
  and the network can still shorten a list of suspects; with ``key_file`` not even that.) Should two instances of a
  version share a token, which at 100 instances happens in 1 of 3,400 versions, it means the first of them in order: a
  client of the other one moves once, with its second request, and stays from then on.

A client that got its cookie by TLS does not send it over plain HTTP, and is placed anew there.
"""

from __future__ import annotations

import hashlib
import re
from base64 import urlsafe_b64encode
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import attrs
from twisted.plugin import IPlugin
from zope.interface import implementer

from rolling_router.interfaces import (
    Client,
    Instance,
    IStrategy,
    IStrategyPlugin,
    Pin,
    SettingError,
    Split,
    Version,
)

Headers = tuple[tuple[bytes, bytes], ...]

_VERSION_BYTES, _INSTANCE_BYTES = 9, 3  # multiples of three, so that base64 needs no padding
_VERSION_CHARACTERS = 12
_VALUE = re.compile(rb"[A-Za-z0-9_-]{12}\.[A-Za-z0-9_-]{4}")

# While a new Split comes into force, answers to requests placed by the one before are still on their way.
_TABLES_KEPT = 4


@implementer(IPlugin, IStrategyPlugin)
class CookiePlugin:
    """
    Makes the strategy. Its options, none of which is needed:

    - ``name``: the cookie's name; by default `default_name` of the app.
    - ``domain``: sends the cookie to this host and all below it; by default to the host that set it, alone.
    - ``lifetime``: seconds from the placement on; by default the pin ends with the browser's session.
    - ``secure``: ``auto`` marks the cookie Secure for a client that came by TLS; ``always`` for every client.
    - ``samesite``: ``lax`` (the default), ``strict``, or ``none`` for a site that others embed.
    - ``key_file``: a file with a secret of at least 16 bytes, the same for all routers of the app.
    """

    name = "cookie"
    description = "a cookie keeps each client on its version, and on its instance there"

    def make(self, app: str, options: Mapping[str, str]) -> CookieStrategy:
        return CookieStrategy(app, _settings(app, options))


@attrs.frozen
class CookieSettings:
    """
    How the cookie is set.

    :ivar lifetime: seconds, or ``None`` for as long as the browser's session.
    :ivar secret: mixed into all tokens; empty when there is none.
    """

    name: bytes
    domain: str | None = None
    lifetime: int | None = None
    is_always_secure: bool = False
    samesite: str = "Lax"
    secret: bytes = attrs.field(default=b"", repr=False)


@implementer(IStrategy)
class CookieStrategy:
    """Pins by a cookie. All that a Split's cookies can say is tabulated once, so each call is a lookup or two."""

    def __init__(self, app: str, settings: CookieSettings) -> None:
        self.private_cookies: Sequence[bytes] = (settings.name,)
        self._name = settings.name
        self._tabulate = partial(_tabulate, _salt(app, settings.secret), partial(_set_cookie, settings))
        self._tables: dict[int, _Table] = {}

    def recall(self, client: Client, split: Split) -> Pin | None:
        """
        Give the pin of the first cookie that names a version of the Split.

        If its instance is gone, the version still stands. Anything else, be it damaged, made up, or the pin to a
        version that is out of the rollout, counts for nothing.
        """
        values = client.cookie(self._name)
        if not values:
            return None
        pins = self._table(split).pins
        for value in values:
            pin = pins.get(value)
            if pin is None and _VALUE.fullmatch(value):
                pin = pins.get(value[:_VERSION_CHARACTERS])
            if pin is not None:
                return pin
        return None

    def remember(self, client: Client, split: Split, pin: Pin) -> Sequence[tuple[bytes, bytes]]:
        """Set the cookie that names this pin; its version alone, if the Split does not know the instance."""
        headers = self._table(split).headers
        version = pin.version
        found = headers.get((version.id, version.port, pin.instance)) or headers.get((version.id, version.port, None))
        return found[bool(client.is_secure)] if found is not None else ()

    def _table(self, split: Split) -> _Table:
        # By identity: to hash or compare a Split means to visit all its instances, with every request.
        table = self._tables.get(id(split))
        if table is None:
            if len(self._tables) >= _TABLES_KEPT:
                del self._tables[next(iter(self._tables))]
            table = self._tables[id(split)] = self._tabulate(split)
        return table


# What a Split's cookies say


@attrs.frozen
class _Table:
    """
    The meaning of cookies under one Split, both ways.

    :ivar split: held on to, so that no other Split can come to have its id.
    :ivar pins: a cookie's value, or a version token alone, to the pin.
    :ivar headers: version id, port and instance to the header fields for a client without and with TLS.
    """

    split: Split
    pins: dict[bytes, Pin] = attrs.field(factory=dict)
    headers: dict[tuple[str, int, Instance | None], tuple[Headers, Headers]] = attrs.field(factory=dict)


def _tabulate(salt: bytes, set_cookie: Callable[[bytes], tuple[Headers, Headers]], split: Split) -> _Table:
    table = _Table(split)
    for version in (split.stable, split.candidate):
        if version is None:
            continue
        for instance, value in _values(salt, version):
            # Of two instances that share a token the first one holds it.
            table.pins.setdefault(value, Pin(version, instance))
            table.headers[version.id, version.port, instance] = set_cookie(value)
    return table


def _values(salt: bytes, version: Version) -> list[tuple[Instance | None, bytes]]:
    """The cookie's value for this version without an instance, then for each one, in an order all routers share."""
    token, key = _derive(salt, version.id, version.port)
    values: list[tuple[Instance | None, bytes]] = [(None, token)]
    for instance in sorted(version.instances, key=str):
        digest = hashlib.blake2b(_encode(str(instance)), key=key, digest_size=_INSTANCE_BYTES).digest()
        values.append((instance, token + b"." + urlsafe_b64encode(digest)))
    return values


@lru_cache(maxsize=256)
def _derive(salt: bytes, version_id: str, port: int) -> tuple[bytes, bytes]:
    """
    Make a version's token, and the key of its instances' tokens, which does not follow from the token.

    Takes about 10 ms, in the reactor's thread, once for each version that comes into play.
    """
    name = _encode(f"{port} {version_id}")
    stretched = hashlib.scrypt(name, salt=salt, n=2**12, r=8, p=1, dklen=_VERSION_BYTES + 32)
    return urlsafe_b64encode(stretched[:_VERSION_BYTES]), stretched[_VERSION_BYTES:]


def _salt(app: str, secret: bytes) -> bytes:
    return hashlib.blake2b(_encode(app), key=hashlib.blake2b(secret).digest(), person=b"rr-cookie").digest()


def _encode(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")  # a store's JSON may hold half a surrogate pair: odd, but a name


def _set_cookie(settings: CookieSettings, value: bytes) -> tuple[Headers, Headers]:
    """Write the header fields for a client without and with TLS. RFC 6265, section 4.1; SameSite: its successor."""
    parts = [settings.name + b"=" + value, b"Path=/", b"HttpOnly", b"SameSite=" + settings.samesite.encode("ascii")]
    if settings.domain is not None:
        parts.append(b"Domain=" + settings.domain.encode("ascii"))
    if settings.lifetime is not None:
        parts.append(b"Max-Age=%d" % settings.lifetime)
    plain = ((b"Set-Cookie", b"; ".join(parts)),)
    secure = ((b"Set-Cookie", b"; ".join([*parts, b"Secure"])),)
    return (secure if settings.is_always_secure else plain), secure


# Options


def default_name(app: str) -> str:
    """
    Name the cookie after the app, without telling it.

    Cookies do not heed ports (RFC 6265, section 8.5): under one fixed name, the routers of two apps on one host would
    overwrite each other's pins with every answer.
    """
    return f"rr_{hashlib.blake2b(_encode(app), digest_size=3).hexdigest()}"


def _settings(app: str, options: Mapping[str, str]) -> CookieSettings:
    for option in options:
        if option not in _OPTIONS:
            raise SettingError(f"the cookie strategy has no option {option!r}; it has: {', '.join(_OPTIONS)}")
    given = {_OPTIONS[option][0]: _OPTIONS[option][1](text) for option, text in options.items()}
    settings = CookieSettings(**{"name": default_name(app).encode("ascii"), **given})
    _check_for_browsers(settings)
    return settings


def _check_for_browsers(settings: CookieSettings) -> None:
    """Refuse what browsers would drop without a word."""
    if settings.samesite == "None" and not settings.is_always_secure:
        raise _bad("samesite", "none", "browsers take that only together with secure=always")
    name = settings.name.decode("ascii")
    if name.lower().startswith(("__host-", "__secure-")) and not settings.is_always_secure:
        raise _bad("name", name, "browsers take this prefix only together with secure=always")
    if name.lower().startswith("__host-") and settings.domain is not None:
        raise _bad("name", name, "browsers take this prefix only without the option domain")


def _name(text: str) -> bytes:
    if not re.fullmatch(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+", text):  # token, RFC 2616, as RFC 6265 asks
        raise _bad("name", text, "it must be of letters, digits and !#$%&'*+-.^_`|~ only")
    return text.encode("ascii")


def _domain(text: str) -> str:
    label = r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
    if not re.fullmatch(rf"{label}(?:\.{label})*", text):
        raise _bad("domain", text, "it must be a host name, such as example.org")
    return text


_LONGEST_LIFETIME = 400 * 24 * 60 * 60  # where browsers cut it off, as RFC 6265's successor asks of them


def _lifetime(text: str) -> int:
    if not re.fullmatch(r"[0-9]{1,8}", text) or not 1 <= int(text) <= _LONGEST_LIFETIME:
        raise _bad("lifetime", text, f"it must be a whole number of seconds from 1 to {_LONGEST_LIFETIME} (400 days)")
    return int(text)


def _secure(text: str) -> bool:
    if text not in ("auto", "always"):
        raise _bad("secure", text, "it must be auto or always")
    return text == "always"


def _samesite(text: str) -> str:
    if text not in ("lax", "strict", "none"):
        raise _bad("samesite", text, "it must be lax, strict or none")
    return text.capitalize()


def _secret(text: str) -> bytes:
    try:
        secret = Path(text).read_bytes().strip()
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise _bad("key_file", text, f"the file cannot be read ({reason}); name a readable one") from None
    if len(secret) < 16:
        raise _bad("key_file", text, f"the file holds {len(secret)} bytes; the secret must have at least 16")
    return secret


def _bad(option: str, text: str, mend: str) -> SettingError:
    return SettingError(f"the cookie strategy's {option} is {text!r}; {mend}")


# What an operator writes -> the field of CookieSettings, and what reads the text.
_OPTIONS: dict[str, tuple[str, Callable[[str], Any]]] = {
    "name": ("name", _name),
    "domain": ("domain", _domain),
    "lifetime": ("lifetime", _lifetime),
    "secure": ("is_always_secure", _secure),
    "samesite": ("samesite", _samesite),
    "key_file": ("secret", _secret),
}
