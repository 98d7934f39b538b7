"""proxy.headers: what each header field is to a proxy, and what it does with it. Pure; names and values are bytes."""

from __future__ import annotations

import enum
import re
from collections.abc import Collection, Iterable, Sequence
from functools import lru_cache

Field = tuple[bytes, bytes]


class Kind(enum.Enum):
    """What a header field is to a proxy. All fields but those of `PLAIN` need a second look."""

    PLAIN = enum.auto()  # passed on as it came
    DROPPED = enum.auto()  # of one connection only, or dangerous to pass on
    CONNECTION = enum.auto()
    UPGRADE = enum.auto()
    CONTENT_LENGTH = enum.auto()
    TRANSFER_ENCODING = enum.auto()
    HOST = enum.auto()
    COOKIE = enum.auto()
    EXPECT = enum.auto()
    FORWARDED = enum.auto()  # says who the client is: believed from trusted proxies only
    REQUEST_ID = enum.auto()
    CACHE_CONTROL = enum.auto()
    EXPIRES = enum.auto()
    DATE = enum.auto()
    MAX_FORWARDS = enum.auto()
    VIA = enum.auto()


_KINDS = {
    b"connection": Kind.CONNECTION,
    b"upgrade": Kind.UPGRADE,
    b"content-length": Kind.CONTENT_LENGTH,
    b"transfer-encoding": Kind.TRANSFER_ENCODING,
    b"host": Kind.HOST,
    b"cookie": Kind.COOKIE,
    b"expect": Kind.EXPECT,
    b"forwarded": Kind.FORWARDED,
    b"x-real-ip": Kind.FORWARDED,
    b"x-request-id": Kind.REQUEST_ID,
    b"cache-control": Kind.CACHE_CONTROL,
    b"expires": Kind.EXPIRES,
    b"date": Kind.DATE,
    b"max-forwards": Kind.MAX_FORWARDS,
    b"via": Kind.VIA,
    # RFC 9110 section 7.6.1: to be removed whether or not Connection names them.
    b"keep-alive": Kind.DROPPED,
    b"proxy-connection": Kind.DROPPED,
    b"te": Kind.DROPPED,
    # For the next proxy only (RFC 9110 section 11.7); this is none, and the instance is not meant.
    b"proxy-authorization": Kind.DROPPED,
    b"proxy-authenticate": Kind.DROPPED,
    # CGI programs read it as the environment variable HTTP_PROXY ("httpoxy").
    b"proxy": Kind.DROPPED,
    # Answered with a 101 that we do not pass on.
    b"http2-settings": Kind.DROPPED,
}

_MOST_SPELLINGS = 4096  # bounded: clients choose the names

_NO_LETTER_NOR_DIGIT = re.compile(rb"[^a-z0-9]")


class _Kinds(dict[bytes, Kind]):
    """Field name, in any case, -> its kind. Remembered by spelling: it is asked for every field of every head."""

    def __missing__(self, name: bytes) -> Kind:
        kind = _classify(name.lower())
        if len(self) < _MOST_SPELLINGS and len(name) < 64:
            self[name] = kind
        return kind


KINDS = _Kinds()


def _classify(lower: bytes) -> Kind:
    kind = _KINDS.get(lower)
    if kind is not None:
        return kind
    # Applications behind CGI or WSGI cannot tell X_Forwarded_For from X-Forwarded-For, so look-alikes go. Most of those
    # take the underscore alone for a hyphen, some every character that is neither letter nor digit.
    dashed = _NO_LETTER_NOR_DIGIT.sub(b"-", lower)
    if dashed.startswith(b"x-forwarded-") or (dashed != lower and dashed in _LOOK_ALIKES):
        return Kind.FORWARDED if dashed == lower else Kind.DROPPED
    return Kind.PLAIN


_LOOK_ALIKES = {b"x-real-ip", b"x-request-id", b"content-length", b"transfer-encoding"}

MOST_LENGTH_DIGITS = 20
"""Enough for 64 bits; parsers differ over longer ones, even where all but the last are noughts."""

# RFC 9110 section 6.5.1: what frames, routes, changes, authenticates or describes a message comes too late in trailers.
# Nor is anything that is special to us passed on there.
NOT_IN_TRAILERS = frozenset(
    b"authorization authentication-info content-disposition content-encoding content-language content-location "
    b"content-range content-type if-match if-modified-since if-none-match if-range if-unmodified-since location "
    b"max-forwards origin range retry-after set-cookie trailer vary via warning www-authenticate".split()
)


# What nearly every Connection field says; told apart by one look.
_COMMON_LISTS: dict[bytes, list[bytes]] = {b"keep-alive": [b"keep-alive"], b"close": [b"close"]}


def tokens(value: bytes) -> list[bytes]:
    """The elements of a comma-separated list, lower case, empty ones left out (RFC 9110 section 5.6.1)."""
    return _COMMON_LISTS.get(value) or [token for part in value.split(b",") if (token := part.strip(b" \t").lower())]


def not_removable(name: bytes) -> bool:
    """Whether ``Connection`` must not name this field: removing it would change what the instance believes."""
    kind = KINDS[name]
    if kind is Kind.PLAIN:
        return name.lower() in _NOT_REMOVABLE
    return kind in (
        Kind.HOST,
        Kind.COOKIE,
        Kind.CONTENT_LENGTH,
        Kind.TRANSFER_ENCODING,
        Kind.FORWARDED,
        Kind.REQUEST_ID,
        Kind.EXPECT,
        Kind.CACHE_CONTROL,
        Kind.MAX_FORWARDS,
        Kind.VIA,
    )


_NOT_REMOVABLE = (b"authorization", b"content-encoding", b"content-type", b"origin", b"trailer")


def without_named(fields: Iterable[Field], names: Collection[bytes]) -> list[Field]:
    """The fields that ``Connection`` does not name. `names` are lower case."""
    return [field for field in fields if field[0].lower() not in names]


def written(fields: Iterable[Field]) -> bytes:
    """These fields as lines."""
    return b"".join([b"%b: %b\r\n" % field for field in fields])


# What is told with an answer, time and again: pins, mostly.
written_again = lru_cache(maxsize=256)(written)


def cookie_values(raw: Sequence[bytes], name: bytes) -> list[bytes]:
    """All values of this cookie, from the values of the ``Cookie`` fields, in their order (RFC 6265 section 5.4)."""
    values = []
    for line in raw:
        if name in line:
            for pair in line.split(b";"):
                key, equals, value = pair.partition(b"=")
                if equals and key.strip(b" \t") == name:
                    values.append(value.strip(b" \t"))
    return values


def without_cookies(line: bytes, names: Collection[bytes]) -> bytes:
    """
    One ``Cookie`` field's value without these cookies; empty when nothing is left.

    A line that has none of them comes back as it is, byte for byte.
    """
    for name in names:
        if name in line:
            break
    else:
        return line
    pairs = line.split(b";")
    kept = [pair for pair in pairs if pair.partition(b"=")[0].strip(b" \t") not in names]
    return line if len(kept) == len(pairs) else b";".join(kept).strip(b" \t")


class Sharing(enum.Enum):
    """What an answer says of shared caches."""

    SILENT = enum.auto()  # nothing that binds them: they may keep it (RFC 9111 section 3)
    ALLOWED = enum.auto()  # they may keep it, and give it to others without asking
    FORBIDDEN = enum.auto()


_MAX_AGE = re.compile(rb"(?:s-maxage|max-age)\s*=\s*\"?([0-9]+)")


def sharing(caching: Iterable[tuple[Kind, bytes]]) -> Sharing:
    """
    Whether an answer may be given to others, by its ``Cache-Control`` and ``Expires`` fields.

    An answer that may must not carry anybody's pin.
    """
    control, expires = b"", False
    for kind, value in caching:
        if kind is Kind.CACHE_CONTROL:
            control += b"," + value.lower()
        else:
            # "0", "-1" and other non-dates mean "already expired" (RFC 9111 section 5.3).
            expires = b"GMT" in value
    words = {word.partition(b"=")[0].strip() for word in control.split(b",")}
    if words & {b"no-store", b"private"}:
        return Sharing.FORBIDDEN
    ages = [bool(age.strip(b"0")) for age in _MAX_AGE.findall(control)]
    if b"public" in words or any(ages):
        return Sharing.ALLOWED
    return Sharing.ALLOWED if expires and not ages and b"no-cache" not in words else Sharing.SILENT
