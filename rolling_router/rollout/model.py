"""rollout.model: the frozen values that every other room speaks of. No I/O, no reactor."""

from __future__ import annotations

import enum
import ipaddress
import re

import attrs

# A host name as RFC 1123 has it, underscores allowed because container networks use them.
_HOST_NAME = re.compile(r"(?!-)[A-Za-z0-9_-]{1,63}(?:\.[A-Za-z0-9_-]{1,63})*\.?\Z")

_HTTPS = "https://"


class Role(enum.Enum):
    """The part that a version plays in a rollout."""

    STABLE = "stable"
    CANDIDATE = "candidate"

    def __init__(self, word: str) -> None:
        self.word = word  # what `value` is, as a plain attribute: Enum computes that one anew each time

    @property
    def other(self) -> Role:
        return Role.CANDIDATE if self is Role.STABLE else Role.STABLE


@attrs.frozen(order=True, cache_hash=True)
class Instance:
    """One running copy of a version. :ivar is_secure: whether it is spoken to by TLS, and must prove to be `host`."""

    host: str = attrs.field(validator=attrs.validators.min_len(1))
    port: int = attrs.field(validator=[attrs.validators.ge(1), attrs.validators.le(65535)])
    is_secure: bool = False

    @classmethod
    def parse(cls, text: str) -> Instance:
        """
        Read ``host:port``, an IPv6 address in brackets, or ``https://host:port``.

        :raises ValueError: with a sentence that says what is wrong with the text.
        """
        text = text.strip()
        is_secure = text.lower().startswith(_HTTPS)
        host, colon, port = (text[len(_HTTPS) :] if is_secure else text).rpartition(":")
        if not colon:
            raise ValueError("it has no port; an instance is written host:port")
        if not (port.isascii() and port.isdigit() and 1 <= int(port) <= 65535):
            raise ValueError(f"the port {port!r} is not a number from 1 to 65535")
        if host.startswith("[") and host.endswith("]"):
            host = host[1:-1]
            try:
                ipaddress.IPv6Address(host)
            except ValueError:
                raise ValueError(f"{host!r} is not an IPv6 address") from None
        elif not _HOST_NAME.match(host):
            raise ValueError(f"the host {host!r} is neither an address nor a host name")
        return cls(host, int(port), is_secure)

    @property
    def address(self) -> str:
        """``host:port``."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def origin(self) -> str:
        """What a URL begins with."""
        return f"{'https' if self.is_secure else 'http'}://{self.address}"

    def __str__(self) -> str:
        """As it is written in the store."""
        return _HTTPS + self.address if self.is_secure else self.address


@attrs.frozen
class Version:
    """One deployment of the app. `port` is the container's port, a part of the version's path in the store."""

    id: str = attrs.field(validator=attrs.validators.min_len(1))
    port: int
    instances: tuple[Instance, ...] = ()


@attrs.frozen
class Problem:
    """What is wrong with one key, and how it is taken meanwhile. `value` is ``None`` for an absent key."""

    key: str
    value: str | None
    text: str

    def __str__(self) -> str:
        seen = "absent" if self.value is None else repr(self.value[:100])
        return f"{self.key} is {seen}: {self.text}"


@attrs.frozen
class HealthKeys:
    """
    What the store says of how instances are asked for their health; ``None`` leaves it to the options.

    :ivar path: ``/...``, ``tcp`` or ``off``.    :ivar rise: passes in a row.    :ivar fall: failures in a row.
    """

    path: str | None = None
    interval_seconds: float | None = None
    timeout_seconds: float | None = None
    rise: int | None = None
    fall: int | None = None


@attrs.frozen
class Snapshot:
    """
    All that routing needs to know, at one moment. Replaced whole, never edited.

    :ivar stickiness: name of the strategy in force, or ``None`` when clients are not made to stay.
    :ivar revision: names the settings' texts that it was read from; see `rollout.keys.revision`. Two snapshots that
        differ in nothing else are equal.
    """

    app: str
    stable: Version | None = None
    candidate: Version | None = None
    blend: int = attrs.field(default=0, validator=[attrs.validators.ge(0), attrs.validators.le(100)])
    stickiness: str | None = None
    problems: tuple[Problem, ...] = ()
    revision: str = attrs.field(default="", eq=False)
    health: HealthKeys = HealthKeys()

    def version(self, role: Role) -> Version | None:
        return self.stable if role is Role.STABLE else self.candidate
