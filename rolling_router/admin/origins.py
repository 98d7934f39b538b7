"""admin.origins: under which names and addresses the settings port may be asked. Pure; for `site` and `doorman`."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable
from urllib.parse import urlsplit

import attrs

from rolling_router.errors import SettingError

_HOST = re.compile(r"(?P<name>\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(?::(?P<port>[0-9]{1,5}))?\Z")


def read_origin(text: str) -> str:
    """
    :returns: scheme, host and port, in lower case, without what is usual.
    :raises ValueError: it is no http or https origin.
    """
    parts = urlsplit(text.strip())
    host = _HOST.match(parts.netloc)
    plain = parts.path in ("", "/") and not parts.query and not parts.fragment and text.isascii() and text.isprintable()
    if parts.scheme.lower() not in ("http", "https") or host is None or not plain:
        raise ValueError(f"{text[:200]!r} is no origin; write one like https://rollout.example")
    if host["port"] is not None and not 1 <= int(host["port"]) <= 65535:
        raise ValueError(f"the port {host['port']} is not a number from 1 to 65535")
    scheme, name = parts.scheme.lower(), host["name"].lower()
    usual = {"http": "80", "https": "443"}[scheme]
    port = "" if host["port"] in (None, usual) else f":{host['port']}"
    return f"{scheme}://{name}{port}"


@attrs.frozen
class Origins:
    """:ivar configured: where people reach the port, as they said; each as `read_origin` gives it."""

    configured: frozenset[str] = frozenset()

    @classmethod
    def parse(cls, texts: Iterable[str]) -> Origins:
        """:raises SettingError: one of them is no origin."""
        try:
            return cls(frozenset(map(read_origin, texts)))
        except ValueError as wrong:
            raise SettingError(f"--admin-origin: {wrong}") from None

    def knows(self, host: str, local: str) -> bool:
        """
        Whether a request may come under this name. A page of another site can have its name point to this machine, and
        then ask us as if we were that site; where everybody may connect, that tells it nothing that it could not ask
        itself, so only loopback is looked at.

        :param host: the field ``Host``.    :param local: the address at which the request came in; empty if none.
        """
        matched = _HOST.match(host)
        if matched is None:
            return False
        return not _is_loopback(local) or _is_local_name(matched["name"].lower()) or self._has_host(host.lower())

    def is_own(self, origin: str, is_secure: bool, host: str) -> bool:
        """:param origin: the field ``Origin`` of a request.    :param host: its ``Host``."""
        try:
            asked = read_origin(origin)
            return asked in self.configured or asked == read_origin(f"{'https' if is_secure else 'http'}://{host}")
        except ValueError:
            return False

    def is_https(self, host: str) -> bool:
        """Whether browsers reach this host by TLS that ends before us."""
        return f"https://{host.lower().removesuffix(':443')}" in self.configured

    def _has_host(self, host: str) -> bool:
        names = {one.partition("://")[2] for one in self.configured}
        return host in names or host.removesuffix(":443") in names or host.removesuffix(":80") in names


def _is_local_name(name: str) -> bool:
    return name.rstrip(".") == "localhost" or name.endswith(".localhost") or _is_loopback(name.strip("[]"))


def _is_loopback(address: str) -> bool:
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return False
    return (getattr(parsed, "ipv4_mapped", None) or parsed).is_loopback
