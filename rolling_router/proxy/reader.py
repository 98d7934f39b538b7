"""proxy.reader: bytes of a client connection -> requests, or the reason why not. llhttp says what is HTTP. No I/O."""

from __future__ import annotations

import re
from collections import deque

from httptools import HttpParserError, HttpParserUpgrade, HttpRequestParser

from rolling_router.proxy.headers import (
    KINDS,
    Kind,
    not_removable,
    tokens,
    without_cookies,
    without_named,
)
from rolling_router.proxy.limits import Limits
from rolling_router.proxy.request import Body, Request, new_request_id
from rolling_router.proxy.trust import Peer, Trust

_HOST = re.compile(rb"(?:[A-Za-z0-9._~!$&'()*+,;=%-]*|\[[0-9A-Fa-f:.]+\])(?::[0-9]{0,5})?\Z")
_ABSOLUTE = re.compile(rb"https?://([^/?#]+)([/?].*)?\Z", re.IGNORECASE | re.DOTALL)
_REQUEST_ID = re.compile(rb"[A-Za-z0-9._:/+=@-]{1,128}\Z")
# llhttp also parses RTSP and ICE, and does not tell which it was.
_NOT_HTTP = {b"SOURCE", b"DESCRIBE", b"ANNOUNCE", b"SETUP", b"PLAY", b"PAUSE", b"TEARDOWN", b"GET_PARAMETER"} | {
    b"SET_PARAMETER",
    b"REDIRECT",
    b"RECORD",
    b"FLUSH",
    b"PRI",
}


# Special to us, and passed on in its place all the same.
_KEPT = (Kind.HOST, Kind.COOKIE, Kind.CONTENT_LENGTH, Kind.TRANSFER_ENCODING, Kind.CACHE_CONTROL, Kind.EXPIRES)
_READ_BEFORE = (*_KEPT, Kind.CONNECTION, Kind.DROPPED)


class Refusal(Exception):
    """A request that is not passed on. `status` and the text are what the client gets."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status
        self.text = text


class RequestReader:
    """
    Reads one client connection.

    :ivar waiting: requests whose head has come, oldest first; the newest may still be receiving its body.
    :ivar refusal: set once nothing more can be read; to be told after the requests that wait.
    :ivar surplus: what followed a request that asks for another protocol; see `go_on`.
    """

    __slots__ = (
        "_fields",
        "_forwarded",
        "_host",
        "_in_head",
        "_interrupted",
        "_limits",
        "_may_be_long",
        "_names",
        "_over",
        "_parser",
        "_private_cookies",
        "_request",
        "_seen",
        "_special",
        "_target",
        "_trust",
        "peer",
        "refusal",
        "surplus",
        "waiting",
    )

    def __init__(self, peer: Peer, trust: Trust, limits: Limits, private_cookies: frozenset[bytes]) -> None:
        self.peer = peer
        self._trust = trust
        self._limits = limits
        self._private_cookies = private_cookies
        self._parser = HttpRequestParser(self)
        self._request: Request | None = None
        self._in_head = False
        self._interrupted: Request | None = None
        self._seen = 0  # bytes since the last head's end or piece of a body
        self._over = False
        self._target = b""
        self._fields: list[tuple[bytes, bytes]] = []
        self._special: list[tuple[Kind, bytes, bytes]] = []
        self._may_be_long = False
        self._host: bytes | None = None
        self._forwarded = b""
        self.waiting: deque[Request] = deque()
        self.refusal: Refusal | None = None
        self.surplus: bytes | None = None

    @property
    def is_inside_head(self) -> bool:
        """Whether part of a head has come."""
        return self._in_head

    def feed(self, data: bytes) -> None:
        """Read on. What comes of it is in `waiting`, in the requests there, and in `refusal`."""
        if self.surplus is not None:
            self.surplus += data
            return
        if self._over or self.refusal is not None:
            return
        self._seen += len(data)
        try:
            self._parser.feed_data(data)
        except HttpParserUpgrade as upgrade:
            self._upgraded(data[upgrade.args[0] :])
        except HttpParserError as wrong:
            # Bytes behind a request with "Connection: close" are an error to llhttp; nobody will look at them.
            if not self._over:
                self.refusal = _why(wrong)
        if (self._in_head or self._seen) and self.refusal is None:
            self._check_unfinished()

    def go_on(self) -> None:
        """The other protocol was declined: what followed the request is HTTP after all."""
        surplus, self.surplus = self.surplus, None
        self._parser = HttpRequestParser(self)
        if surplus:
            self.feed(surplus)

    def _upgraded(self, rest: bytes) -> None:
        request = self._request
        assert request is not None
        if request.upgrade is not None:
            self.surplus = rest
            return
        # An Upgrade that we do not pass on: stay with HTTP.
        self._parser = HttpRequestParser(self)
        if request.body is not Body.NONE:
            # httptools takes the body for the other protocol's first bytes: lead a new parser to where the body begins.
            request.is_complete = self._over = False
            self._interrupted = request
            self._parser.feed_data(b"POST / HTTP/1.1\r\n%b\r\n" % _framing(request))
        if rest:
            self.feed(rest)

    def _check_unfinished(self) -> None:
        """What has come of a head, or of trailers, must not grow without bound before it is at its end."""
        limits = self._limits
        if self._in_head and len(self._target) > limits.line_bytes:
            self.refusal = self._target_too_long()
        # Twice, because white space that does not count is among it: at its end one knows how long a head is.
        elif self._seen > limits.line_bytes + 2 * limits.head_bytes:
            self.refusal = self._head_too_long()

    def _target_too_long(self) -> Refusal:
        return Refusal(414, f"The request's address is longer than {self._limits.line_bytes} bytes.")

    def _head_too_long(self) -> Refusal:
        return Refusal(431, f"The request's head is longer than {self._limits.head_bytes} bytes.")

    # What llhttp calls

    def on_message_begin(self) -> None:
        self._in_head = True
        self._may_be_long = self._seen == 0  # it shares a read with the request before it, so not all of it is counted
        self._target = b""
        self._fields = []
        self._special = []
        self._request = None

    def on_url(self, url: bytes) -> None:
        self._target += url

    def on_header(self, name: bytes, value: bytes) -> None:
        kind = KINDS[name]
        if self._in_head:
            if kind is not Kind.PLAIN:
                self._special.append((kind, name, value))
                if kind not in _KEPT:
                    return
                if kind is Kind.COOKIE:
                    value = without_cookies(value, self._private_cookies)
                    if not value:
                        return
            self._fields.append((name, value))
        elif self._request is not None and kind is Kind.PLAIN:  # a trailer
            if len(self._request.trailers) >= self._limits.head_fields:
                raise Refusal(431, f"The request has more than {self._limits.head_fields} trailer fields.")
            self._request.trailers = [*self._request.trailers, (name, value)]

    def on_headers_complete(self) -> None:
        self._in_head = False
        if self._seen > self._limits.head_bytes:
            self._may_be_long = True
        self._seen = 0
        if self._interrupted is not None:
            self._request, self._interrupted = self._interrupted, None
            return
        self._request = request = self._make()
        self.waiting.append(request)

    def on_body(self, piece: bytes) -> None:
        request = self._request
        assert request is not None
        self._seen = 0
        if request.body is Body.CHUNKED:
            request.length += len(piece)
            if 0 < self._limits.body_bytes < request.length:
                raise self._body_too_long()
        request.pieces.append(piece)

    def on_message_complete(self) -> None:
        request = self._request
        assert request is not None
        request.is_complete = True
        self._over = not request.keep_alive

    # A head

    def _make(self) -> Request:
        parser, limits = self._parser, self._limits
        if len(self._target) > limits.line_bytes:
            raise self._target_too_long()
        if len(self._fields) > limits.head_fields:
            raise Refusal(431, f"The request has more than {limits.head_fields} header fields.")
        request = Request(self.peer)
        request.method = parser.get_method()
        if request.method in _NOT_HTTP:
            raise Refusal(501, "The request's method is not one of HTTP.")
        if request.method == b"CONNECT":
            raise Refusal(405, "This is no forward proxy: CONNECT is not served here.")
        version = parser.get_http_version()
        if version == "1.0":
            request.minor = 0
        elif version != "1.1":
            raise Refusal(505, "The request's HTTP version is neither 1.1 nor 1.0.")
        request.target = self._target
        request.fields = self._fields
        self._read_fields(request)
        if not request.target.startswith(b"/"):
            self._read_odd_target(request)
        return request

    def _read_fields(self, request: Request) -> None:
        connection: list[bytes] = []
        hosts = 0
        for kind, _, value in self._special:
            if kind is Kind.HOST:
                hosts += 1
                request.host = value.rstrip(b" \t")
            elif kind is Kind.CONNECTION:
                connection += tokens(value)
            elif kind is Kind.COOKIE:
                request.raw_cookies = (*request.raw_cookies, value)
            elif kind is Kind.CONTENT_LENGTH:
                self._read_length(request, value)
            elif kind is Kind.TRANSFER_ENCODING:
                self._read_coding(request, value)
        if self._may_be_long:
            taken_out = [(name, value) for kind, name, value in self._special if kind not in _KEPT]
            if sum(len(name) + len(value) + 4 for name, value in self._fields + taken_out) > self._limits.head_bytes:
                raise self._head_too_long()
        if hosts != 1 and (hosts > 1 or request.minor):
            raise Refusal(400, f"The request has {hosts or 'no'} Host fields; it must have one.")
        if request.host != self._host:
            self._take_host(request.host)
        if hosts and not request.host:  # it says no more than none, and the instance is then named to itself
            request.fields = without_named(request.fields, (b"host",))
        request.keep_alive = request.minor == 1
        if connection:
            self._read_connection(request, connection)
        self._read_special(request, connection)

    def _take_host(self, host: bytes) -> None:
        """A host that this connection has not asked for before, or not lately."""
        if not _HOST.match(host):
            raise Refusal(400, "The request's Host is not a host name or address.")
        self._host = host
        self._forwarded = b"X-Forwarded-For: %b\r\nX-Forwarded-Proto: %b\r\nX-Forwarded-Host: %b\r\n" % (
            (self.peer.address or "unknown").encode("ascii"),
            b"https" if self.peer.is_secure else b"http",
            host,
        )

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

    def _read_special(self, request: Request, named: list[bytes]) -> None:
        forwarded: list[tuple[bytes, bytes]] = []
        for kind, name, value in self._special:
            if kind in _READ_BEFORE:
                continue
            if kind is Kind.UPGRADE:
                # h2c would let a client speak past every rule here, so it is treated as not offered; so is any other
                # together with a body, which would have to end before that protocol begins.
                offers = b"upgrade" in named and request.minor and request.body is Body.NONE
                if offers and b"h2c" not in tokens(value):
                    request.upgrade = value
            elif kind is Kind.EXPECT:
                if value.rstrip(b" \t").lower() != b"100-continue":
                    raise Refusal(417, "The request expects something other than 100-continue.")
                if request.minor:  # RFC 9110 section 10.1.1: from HTTP/1.0 to be ignored
                    request.expects_continue = True
                    request.fields.append((name, value))
            elif self.peer.is_trusted:
                if kind is Kind.REQUEST_ID:
                    if _REQUEST_ID.match(value.rstrip(b" \t")):
                        request.id = value.rstrip(b" \t")
                else:
                    forwarded.append((name, value))
        if not request.id:
            request.id = new_request_id()
        if self.peer.is_trusted:
            self._read_forwarded(request, forwarded)
        else:
            request.forwarded = self._forwarded

    def _read_length(self, request: Request, value: bytes) -> None:
        request.length = int(value)  # llhttp has seen to it that these are digits, and the only such field
        if request.length:
            request.body = Body.KNOWN
        if 0 < self._limits.body_bytes < request.length:
            raise self._body_too_long()

    def _body_too_long(self) -> Refusal:
        return Refusal(413, f"The request's body is longer than {self._limits.body_bytes} bytes.")

    def _read_coding(self, request: Request, value: bytes) -> None:
        if request.minor == 0:
            # RFC 9112 section 6.1: a sign of faulty framing.
            raise Refusal(400, "The request has a Transfer-Encoding, which HTTP/1.0 does not know.")
        if value.strip(b" \t").lower() != b"chunked":
            raise Refusal(501, "The request's Transfer-Encoding is not chunked.")
        request.body = Body.CHUNKED

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
        peer = (self.peer.address or "unknown").encode("ascii")
        if chain:
            request.address = self._trust.client_behind(self.peer.address, b",".join(chain))
        request.forwarded = b"X-Forwarded-For: %b\r\nX-Forwarded-Proto: %b\r\nX-Forwarded-Host: %b\r\n%b" % (
            b", ".join([*chain, peer]),
            b"https" if request.is_secure else b"http",
            host or request.host,
            b"".join(others),
        )

    def _read_odd_target(self, request: Request) -> None:
        """Anything but origin form (RFC 9112 section 3.2)."""
        if request.target == b"*" and request.method == b"OPTIONS":
            return
        matched = _ABSOLUTE.match(request.target)
        if matched is None:
            raise Refusal(400, "The request's address is neither a path nor a URL of http or https.")
        if matched[1].lower() != request.host.lower():
            raise Refusal(400, "The request's URL and its Host name different hosts.")
        path = matched[2] or b"/"
        request.target = path if path.startswith(b"/") else b"/" + path


def _framing(request: Request) -> bytes:
    body = b"Transfer-Encoding: chunked" if request.body is Body.CHUNKED else b"Content-Length: %d" % request.length
    return body + (b"\r\n" if request.keep_alive else b"\r\nConnection: close\r\n")


def _why(wrong: HttpParserError) -> Refusal:
    cause = wrong.__context__
    if isinstance(cause, Refusal):
        return cause
    return Refusal(400, f"The request is not well-formed HTTP: {wrong}.")
