"""proxy.request: one request as a client sent it, and the head that an instance gets for it. No I/O."""

from __future__ import annotations

import enum
import itertools
import secrets
from collections.abc import Collection, Sequence

from rolling_router.proxy.headers import Field, cookie_values
from rolling_router.proxy.trust import Peer

# Methods of which RFC 9110 section 9.2.2 says that doing them twice is as good as once.
_IDEMPOTENT = frozenset((b"GET", b"HEAD", b"OPTIONS", b"TRACE", b"PUT", b"DELETE", b"PROPFIND", b"REPORT", b"SEARCH"))

_MOST_COOKIES = 8
"""Strategies ask for a name or two."""

_id_prefix = secrets.token_hex(8).encode("ascii")
_id_number = itertools.count(1)


def new_request_id() -> bytes:
    """Unlike any other, without asking the operating system for randomness each time."""
    return b"%b-%x" % (_id_prefix, next(_id_number))


class Body(enum.Enum):
    """How a message's body is delimited (RFC 9112 section 6.3)."""

    NONE = enum.auto()
    KNOWN = enum.auto()  # Content-Length
    CHUNKED = enum.auto()
    TO_CLOSE = enum.auto()  # answers only: until the connection ends


class KnownFields:
    """
    What was read in the fields of a request that asks for nothing special; see `proxy.known`.

    :ivar lines: the fields as an instance gets them.    :ivar cookies: values by name, as far as they were asked for.
    """

    __slots__ = ("cookies", "fields", "host", "lines", "raw_cookies")

    def __init__(self, fields: list[Field], host: bytes, raw_cookies: Sequence[bytes]) -> None:
        self.fields = fields
        self.host = host
        self.raw_cookies = raw_cookies
        self.lines = b"".join([b"%b: %b\r\n" % field for field in fields])
        self.cookies: dict[bytes, Sequence[bytes]] = {}


class Request:
    """
    One request. Also what a strategy sees of the client: it provides `rolling_router.interfaces.Client`.

    :ivar target: in origin form, or ``*``.    :ivar minor: 1 or 0, of the HTTP version.
    :ivar protocol: what the client spoke, where `minor` does not tell; empty otherwise.
    :ivar fields: what an instance gets of the head, in order, our own cookies taken out.
    :ivar host: the value of Host; empty where a client of HTTP/1.0 sent none.
    :ivar keep_alive: whether the client's connection stays after the answer.
    :ivar nominated: fields that Connection names, lower case: not to be passed on as trailers, either.
    :ivar is_counted: its Max-Forwards was read.    :ivar is_last: its connection may ask no more, by a limit.
    :ivar upgrade: the protocols that the client would like to change to, or ``None``.
    :ivar pieces: body bytes that have come and were not fetched yet.    :ivar is_complete: the last byte has come.
    :ivar known: the same fields, if they had been read before.
    """

    # Defaults of the class rather than set one by one: most requests never touch most of them.
    method = b""
    target = b""
    minor = 1
    protocol = b""
    forwarded = b""
    raw_cookies: Sequence[bytes] = ()
    host = b""
    id = b""
    keep_alive = True
    upgrade: bytes | None = None
    body = Body.NONE
    length = 0
    trailers: Sequence[Field] = ()
    nominated: Collection[bytes] = ()
    is_complete = False
    known: KnownFields | None = None
    is_counted = False
    is_last = False

    def __init__(self, peer: Peer) -> None:
        self.address = peer.address
        self.is_secure = peer.is_secure
        self.fields: list[Field] = []
        self.pieces: list[bytes] = []

    # Client

    @property
    def headers(self) -> Sequence[Field]:
        return [field for field in self.fields if field[0].lower() != b"cookie"]

    def cookie(self, name: bytes) -> Sequence[bytes]:
        if not self.raw_cookies:
            return ()
        if self.known is None:
            return cookie_values(self.raw_cookies, name)
        values = self.known.cookies.get(name)
        if values is None:
            values = tuple(cookie_values(self.raw_cookies, name))
            if len(self.known.cookies) < _MOST_COOKIES:
                self.known.cookies[name] = values
        return values

    # What the engine asks

    @property
    def is_repeatable(self) -> bool:
        """Whether sending it a second time is harmless, as far as the method goes."""
        return self.method in _IDEMPOTENT

    @property
    def can_be_sent_again(self) -> bool:
        """Whether it may be, where a connection was closed under it: all of it is here, and twice is harmless."""
        return self.is_repeatable and self.body is Body.NONE and self.upgrade is None

    def head(self, host: bytes) -> bytes:
        """
        The head for an instance.

        :param host: the instance's own ``host:port``, for the HTTP/1.0 client that named none: HTTP/1.1 needs one.
        """
        known = self.known
        if known is not None:
            whole = b"%b %b HTTP/1.1\r\n%b%bX-Request-ID: %b\r\n\r\n"
            return whole % (self.method, self.target, known.lines, self.forwarded, self.id)
        parts = [b"%b %b HTTP/1.1\r\n" % (self.method, self.target)]
        parts += [b"%b: %b\r\n" % field for field in self.fields]
        if not self.host:
            parts.append(b"Host: %b\r\n" % host)
        if self.upgrade is not None:
            parts.append(b"Connection: Upgrade\r\nUpgrade: %b\r\n" % self.upgrade)
        parts.append(self.forwarded)
        parts.append(b"X-Request-ID: %b\r\n\r\n" % self.id)
        return b"".join(parts)


def chunk(pieces: Collection[bytes]) -> list[bytes]:
    """These pieces as one chunk of the chunked coding (RFC 9112 section 7.1)."""
    return [b"%x\r\n" % sum(map(len, pieces)), *pieces, b"\r\n"]


def last_chunk(trailers: Sequence[Field]) -> bytes:
    """The end of a chunked body, with its trailer fields."""
    if not trailers:
        return b"0\r\n\r\n"
    return b"0\r\n%b\r\n" % b"".join([b"%b: %b\r\n" % field for field in trailers])
