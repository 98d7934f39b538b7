"""
proxy.heads: the fields of a request's head -> what they mean for its way to an instance, or why it has none. No I/O.

Used by `reader`, which finds where a head begins and ends; what is said here no longer depends on how it came.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from rolling_router.proxy.headers import KINDS, MOST_LENGTH_DIGITS, Kind, not_removable, tokens, without_named
from rolling_router.proxy.limits import Limits
from rolling_router.proxy.refusal import Refusal, body_too_long, head_too_long
from rolling_router.proxy.request import Body, Request, new_request_id
from rolling_router.proxy.trust import Peer, Trust

_HOST = re.compile(rb"(?:[A-Za-z0-9._~!$&'()*+,;=%-]*|\[[0-9A-Fa-f:.]+\])(?::[0-9]{0,5})?\Z")
_ABSOLUTE = re.compile(rb"(https?)://([^/?]+)([/?].*)?\Z", re.IGNORECASE | re.DOTALL)
_REQUEST_ID = re.compile(rb"[A-Za-z0-9._:/+=@-]{1,128}\Z")

KEPT = (
    Kind.HOST,
    Kind.COOKIE,
    Kind.CONTENT_LENGTH,
    Kind.TRANSFER_ENCODING,
    Kind.CACHE_CONTROL,
    Kind.EXPIRES,
    Kind.DATE,
    Kind.MAX_FORWARDS,
    Kind.VIA,
)
"""Special to us, and passed on in its place all the same."""

_READ_BEFORE = (*KEPT, Kind.CONNECTION, Kind.DROPPED)

Special = tuple[Kind, bytes, bytes]
"""A field that means something to us: kind, name, value."""


class Heads:
    """
    Reads what the heads of one client connection say.

    :ivar host: the host that was asked for last.    :ivar forwarded: what an untrusted client's request is forwarded
        with, for that host.
    """

    __slots__ = ("_limits", "_peer", "_trust", "_via", "forwarded", "host")

    def __init__(self, peer: Peer, trust: Trust, limits: Limits, via: bytes) -> None:
        self._peer = peer
        self._trust = trust
        self._limits = limits
        self._via = via
        self.host: bytes | None = None
        self.forwarded = b""

    def read(self, request: Request, special: Sequence[Special], head_bytes: int) -> None:
        """
        Complete a request whose method, target, version and fields are there.

        :param special: its special fields in order, kept or not.    :param head_bytes: how long its head was.
        :raises Refusal: it is not passed on.
        """
        connection: list[bytes] = []
        hosts = 0
        for kind, _, value in special:
            if kind is Kind.HOST:
                hosts += 1
                request.host = value
            elif kind is Kind.CONNECTION:
                connection += tokens(value)
            elif kind is Kind.COOKIE:
                request.raw_cookies = (*request.raw_cookies, value)
            elif kind is Kind.CONTENT_LENGTH:
                self._read_length(request, value)
            elif kind is Kind.TRANSFER_ENCODING:
                self._read_coding(request, value)
            elif kind is Kind.MAX_FORWARDS:
                self._read_max_forwards(request, value)
            elif kind is Kind.VIA and self._via and self._via in _received_by(value):
                raise Refusal(508, "The request has been here before: an instance's address leads back to the router.")
        if head_bytes > self._limits.head_bytes:  # white space that does not count is among it
            self._check_length(request, special)
        if hosts != 1 and (hosts > 1 or request.minor):
            raise Refusal(400, f"The request has {hosts or 'no'} Host fields; it must have one.")
        if request.host != self.host:
            self.take_host(request.host)
        if hosts and not request.host:  # it says no more than none, and the instance is then named to itself
            request.fields = without_named(request.fields, (b"host",))
        request.keep_alive = request.minor == 1
        if connection:
            self._read_connection(request, connection)
        self._read_special(request, special, connection)
        if not request.target.startswith(b"/"):
            self._read_odd_target(request)
        if b"#" in request.target:  # some cut it there, some do not
            raise Refusal(400, "The request's address has a fragment, which is for the client alone.")

    def _check_length(self, request: Request, special: Sequence[Special]) -> None:
        most = self._limits.head_bytes
        taken_out = [(name, value) for kind, name, value in special if kind not in KEPT]
        if sum(len(name) + len(value) + 4 for name, value in request.fields + taken_out) > most:
            raise head_too_long(self._limits)

    def take_host(self, host: bytes) -> None:
        """A host that this connection has not asked for before, or not lately."""
        if not _HOST.match(host):
            raise Refusal(400, "The request's Host is not a host name or address.")
        self.host = host
        self.forwarded = b"X-Forwarded-For: %b\r\nX-Forwarded-Proto: %b\r\nX-Forwarded-Host: %b\r\n" % (
            (self._peer.address or "unknown").encode("ascii"),
            b"https" if self._peer.is_secure else b"http",
            host,
        )
        if self._via:
            self.forwarded += b"Via: 1.1 %b\r\n" % self._via

    def _read_connection(self, request: Request, named: list[bytes]) -> None:
        if b"close" in named:
            request.keep_alive = False
        elif b"keep-alive" in named:
            request.keep_alive = True
        removable = set(named) - {b"close", b"keep-alive", b"upgrade"}
        if removable:
            for name in removable:
                if not_removable(name):
                    # Whoever could have these removed on the way would choose what the instance believes.
                    raise Refusal(400, "The request's Connection field names a field that must not be removed.")
            request.fields = without_named(request.fields, removable)
            request.nominated = frozenset(removable)

    def _read_special(self, request: Request, special: Sequence[Special], named: list[bytes]) -> None:
        forwarded: list[tuple[bytes, bytes]] = []
        offers: list[bytes] = []
        for kind, name, value in special:
            if kind in _READ_BEFORE:
                continue
            if kind is Kind.UPGRADE:
                offers.append(value)
            elif kind is Kind.EXPECT:
                if value.lower() != b"100-continue":
                    raise Refusal(417, "The request expects something other than 100-continue.")
                if request.minor:  # RFC 9110 section 10.1.1: from HTTP/1.0 to be ignored
                    request.fields.append((name, value))
            elif self._peer.is_trusted:
                if kind is Kind.REQUEST_ID:
                    if _REQUEST_ID.match(value):
                        request.id = value
                else:
                    forwarded.append((name, value))
        # h2c would let a client speak past every rule here, so it is treated as not offered; so is any other together
        # with a body, which would have to end before that protocol begins.
        if offers and b"upgrade" in named and request.minor and request.body is Body.NONE:
            value = b", ".join(offers)
            if b"h2c" not in tokens(value):
                request.upgrade = value
        if not request.id:
            request.id = new_request_id()
        if self._peer.is_trusted:
            self._read_forwarded(request, forwarded)
        else:
            request.forwarded = self.forwarded
        if self._via and not request.minor:
            request.forwarded = request.forwarded.replace(b"\r\nVia: 1.1 ", b"\r\nVia: 1.0 ")

    def _read_length(self, request: Request, value: bytes) -> None:
        if len(value) > MOST_LENGTH_DIGITS:
            raise Refusal(400, "The request's Content-Length has too many digits.")
        request.length = int(value)  # llhttp has seen to it that these are digits, and the only such field
        if request.length:
            request.body = Body.KNOWN
        if 0 < self._limits.body_bytes < request.length:
            raise body_too_long(self._limits)

    def _read_coding(self, request: Request, value: bytes) -> None:
        if request.minor == 0:
            # RFC 9112 section 6.1: a sign of faulty framing.
            raise Refusal(400, "The request has a Transfer-Encoding, which HTTP/1.0 does not know.")
        if value.rstrip(b" ").lower() != b"chunked":
            raise Refusal(501, "The request's Transfer-Encoding is not chunked.")
        request.body = Body.CHUNKED

    def _read_max_forwards(self, request: Request, value: bytes) -> None:
        """RFC 9110 section 7.6.2; of the methods that it is for, only OPTIONS gets as far as here."""
        if request.method != b"OPTIONS":
            return
        if not value.isdigit() or len(value) > 9 or request.is_counted:
            raise Refusal(400, "The request's Max-Forwards is not one number.")
        if not int(value):
            raise Refusal(200, "This is the router: the request's Max-Forwards lets it go no further.")
        request.is_counted = True
        less = b"%d" % (int(value) - 1)
        request.fields = [(name, less if KINDS[name] is Kind.MAX_FORWARDS else value) for name, value in request.fields]

    def _read_forwarded(self, request: Request, said: list[tuple[bytes, bytes]]) -> None:
        """Take a trusted proxy's word, and add ours to it."""
        chain, proto, host, others = [], b"", b"", []
        for name, value in said:
            lower = name.lower()
            if lower == b"x-forwarded-for":
                chain.append(value)
            elif lower == b"x-forwarded-proto":
                proto = value.strip(b" \t").lower()
            elif lower == b"x-forwarded-host":
                host = value
            else:
                others.append(b"%b: %b\r\n" % (name, value))
        if proto in (b"http", b"https"):
            request.is_secure = proto == b"https"
        peer = (self._peer.address or "unknown").encode("ascii")
        if chain:
            request.address = self._trust.client_behind(self._peer.address, b",".join(chain))
        request.forwarded = b"X-Forwarded-For: %b\r\nX-Forwarded-Proto: %b\r\nX-Forwarded-Host: %b\r\n%b" % (
            b", ".join([*chain, peer]),
            b"https" if request.is_secure else b"http",
            host or request.host,
            b"".join(others),
        )
        if self._via:
            request.forwarded += b"Via: 1.1 %b\r\n" % self._via

    def _read_odd_target(self, request: Request) -> None:
        """Anything but origin form (RFC 9112 section 3.2)."""
        if request.target == b"*" and request.method == b"OPTIONS":
            return
        matched = _ABSOLUTE.match(request.target)
        if matched is None:
            raise Refusal(400, "The request's address is neither a path nor a URL of http or https.")
        if matched[2].lower() != request.host.lower():
            raise Refusal(400, "The request's URL and its Host name different hosts.")
        if matched[1].lower() == b"https" and not request.is_secure:  # RFC 9110 section 7.4
            raise Refusal(421, "The request's URL is one of https, and its connection is not secure.")
        path = matched[3] or b"/"
        request.target = path if path.startswith(b"/") else b"/" + path


def _received_by(value: bytes) -> list[bytes]:
    """The names in a ``Via`` field (RFC 9110 section 7.6.3)."""
    return [words[1] for entry in value.split(b",") if len(words := entry.split()) > 1]
