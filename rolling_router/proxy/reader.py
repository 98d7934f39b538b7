"""proxy.reader: bytes of a client connection -> requests, or the reason why not. llhttp says what is HTTP. No I/O."""

from __future__ import annotations

from collections import deque

from httptools import HttpParserError, HttpParserInvalidMethodError, HttpParserUpgrade, HttpRequestParser

from rolling_router.proxy.headers import KINDS, NOT_IN_TRAILERS, Kind, without_cookies
from rolling_router.proxy.heads import KEPT, Heads
from rolling_router.proxy.limits import Limits
from rolling_router.proxy.methods import REFUSED, read_unknown, refusal_of
from rolling_router.proxy.refusal import Refusal, body_too_long, head_too_long, target_too_long, why
from rolling_router.proxy.request import Body, Request
from rolling_router.proxy.trust import Peer, Trust

_MOST_BLANK_BYTES = 16

_CHUNK_FRAMING = 16
"""How many bytes of a chunked body's framing come to one of its content, at most; 64 KiB are free."""
_CHUNK_FRAMING_FREE = 65536

_BREAKS = (HttpParserUpgrade, HttpParserError, Refusal)


class RequestReader:
    """
    Reads one client connection.

    :ivar waiting: requests whose head has come, oldest first; the newest may still be receiving its body.
    :ivar is_inside_head: whether part of a head has come.
    :ivar refusal: set once nothing more can be read; to be told after the requests that wait.
    :ivar surplus: what followed a request that asks for another protocol; see `go_on`.
    """

    __slots__ = (
        "_begun",
        "_blank",
        "_fields",
        "_heads",
        "_in_chunks",
        "_interrupted",
        "_is_fresh",
        "_left",
        "_limits",
        "_method",
        "_method_is_odd",
        "_over",
        "_parser",
        "_piece",
        "_private_cookies",
        "_raw",
        "_request",
        "_requests_left",
        "_seen",
        "_special",
        "_target",
        "is_inside_head",
        "peer",
        "refusal",
        "surplus",
        "waiting",
    )

    def __init__(
        self, peer: Peer, trust: Trust, limits: Limits, private_cookies: frozenset[bytes], via: bytes = b""
    ) -> None:
        """:param via: the name that this router goes by in ``Via``; none is added where it is empty."""
        self.peer = peer
        self._limits = limits
        self._heads = Heads(peer, trust, limits, via)
        self._private_cookies = private_cookies
        self._parser = HttpRequestParser(self)
        self._request: Request | None = None
        self.is_inside_head = False
        self._interrupted: Request | None = None
        self._seen = 0  # bytes since the last head's end or piece of a body
        self._left = 0  # of a body of known length
        self._in_chunks = False
        self._raw = 0  # bytes of a chunked body, framing included
        self._over = False
        self._piece = b""  # that is being read, if it is of a head
        self._begun = b""  # what came of a head before it; its first line for sure
        self._blank = b""  # empty lines before a request
        self._method = b""  # one that llhttp does not know
        self._method_is_odd = False
        self._is_fresh = True  # the next byte is a request's first, or comes before it
        self._requests_left = limits.requests_per_connection or -1
        self._target = b""
        self._fields: list[tuple[bytes, bytes]] = []
        self._special: list[tuple[Kind, bytes, bytes]] = []
        self.waiting: deque[Request] = deque()
        self.refusal: Refusal | None = None
        self.surplus: bytes | None = None

    def feed(self, data: bytes) -> None:
        """
        Read on. What comes of it is in `waiting`, in the requests there, and in `refusal`.

        Heads and chunked bodies end with an empty line, and nowhere else. Cut there, no piece that llhttp is given goes
        beyond the end of a message, so that it is known where each of them begins.
        """
        end = data.find(b"\r\n\r\n") + 4
        if self._is_fresh and 3 < end == len(data) and data[0] > 13:  # a head and nothing else: nearly always
            self._piece = data
            self._seen = end
            wrong: Exception | None = None
            try:
                self._parser.feed_data(data)
            except _BREAKS as caught:
                wrong = caught
            if wrong is not None:
                self._broke_off(data, wrong)
            return
        single = 4  # at the start the empty line may have begun with the bytes before
        while data:
            if self._left:
                data = self._count(data)
            elif data[0] < 14 and single:
                self._feed(data[:1])
                data = data[1:]
                single -= 1
            else:
                end = data.find(b"\r\n\r\n") + 4
                if not 3 < end < len(data):
                    self._feed(data)
                    return
                self._feed(data[:end])
                data = data[end:]
                single = 0

    def _feed(self, piece: bytes) -> None:
        """Read a piece that goes beyond no message's end; a body of known length is not among it."""
        if self.surplus is not None:
            self.surplus += piece
            return
        if self._over or self.refusal is not None:
            return
        if self._in_chunks:
            self._raw += len(piece)
        else:
            if (piece[0] < 14 and not self.is_inside_head) or self._blank:
                piece = self._without_blank_lines(piece)
                if not piece:
                    return
            self._piece = piece
        self._seen += len(piece)
        wrong: Exception | None = None
        try:
            if self._method_is_odd:
                self._read_odd_method(piece)
            else:
                self._parser.feed_data(piece)
        except _BREAKS as caught:
            wrong = caught
        if wrong is not None:
            self._broke_off(piece, wrong)
        if self.is_inside_head or self._seen or self._in_chunks:
            self._check_unfinished(piece)

    def _count(self, data: bytes) -> bytes:
        """More of a body of known length. Gives what is behind it."""
        request = self._request
        assert request is not None
        if self.refusal is not None:
            return b""
        left = self._left - len(data)
        if left > 0:
            self._left = left
            request.pieces.append(data)
            return b""
        request.pieces.append(data[: self._left] if left else data)
        rest = data[self._left :]
        self._left = 0
        self._parser = HttpRequestParser(self)  # the one before still waits for the body
        self.on_message_complete()
        return rest

    def _without_blank_lines(self, piece: bytes) -> bytes:
        """Between two requests: RFC 9112 section 2.2 wants empty lines left out. Nothing but whole ones, and a few."""
        blank = self._blank + piece
        rest = blank.lstrip(b"\r\n")
        self._blank = blank[: len(blank) - len(rest)]
        self._is_fresh = False
        lines, half = divmod(len(self._blank), 2)
        whole = b"\r\n" * lines + b"\r" * half
        if self._blank != whole or (half and rest):
            self.refusal = Refusal(400, "The request is not well-formed HTTP: a CR or LF stands alone before it.")
        elif len(self._blank) > _MOST_BLANK_BYTES:
            self.refusal = Refusal(400, "The request is not well-formed HTTP: too many empty lines come before it.")
        elif rest:
            self._blank = b""
            return rest
        return b""

    def go_on(self) -> None:
        """The other protocol was declined: what followed the request is HTTP after all."""
        surplus, self.surplus = self.surplus, None
        self._parser = HttpRequestParser(self)
        self._is_fresh = True
        if surplus:
            self.feed(surplus)

    def _upgraded(self) -> None:
        request = self._request
        assert request is not None
        if request.upgrade is not None:
            self.surplus = b""
            return
        # An Upgrade that we do not pass on: stay with HTTP.
        self._parser = HttpRequestParser(self)
        if request.body is Body.KNOWN:
            request.is_complete = self._over = False
            self._left = request.length
        elif request.body is Body.NONE:
            self._is_fresh = not self._over
        else:
            # httptools takes the body for the other protocol's first bytes: lead a new parser to where the body begins.
            request.is_complete = self._over = False
            self._in_chunks = True
            self._interrupted = request
            self._parser.feed_data(b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n")

    def _broke_off(self, piece: bytes, wrong: Exception) -> None:
        """llhttp stopped. Not called while `wrong` is being handled: Python would hide the refusal that caused it."""
        self._is_fresh = False
        if isinstance(wrong, HttpParserUpgrade):
            self._upgraded()
        elif isinstance(wrong, HttpParserInvalidMethodError) and not self._method_is_odd and not self._target:
            # llhttp knows a list of methods, HTTP does not (RFC 9110 section 9.1).
            self._method_is_odd = True
            another: Exception | None = None
            try:
                self._read_odd_method(piece)
            except _BREAKS as caught:
                another = caught
            if another is not None:
                self._broke_off(piece, another)
        else:
            self.refusal = why(wrong)

    def _read_odd_method(self, piece: bytes) -> None:
        """Read the method ourselves, and let llhttp go on with one in its place that means the same to it."""
        line = self._begun + piece
        method = read_unknown(line)
        self.is_inside_head = True
        if method:
            self._method, self._method_is_odd = method, False
            self._parser = HttpRequestParser(self)
            self._parser.feed_data(b"POST" + line[len(method) :])

    def _check_unfinished(self, piece: bytes) -> None:
        """What has come of a head, or of trailers, must not grow without bound before it is at its end."""
        if self.refusal is not None:
            return
        limits = self._limits
        if self.is_inside_head and b"\r\n" not in self._begun:
            self._begun += piece
        if self.is_inside_head and len(self._target) > limits.line_bytes:
            self.refusal = target_too_long(limits)
        # Twice, because white space that does not count is among it: at its end one knows how long a head is.
        elif self._seen > limits.line_bytes + 2 * limits.head_bytes:
            self.refusal = head_too_long(limits)
        elif self._in_chunks:
            request = self._request
            assert request is not None
            if self._raw > _CHUNK_FRAMING_FREE + (1 + _CHUNK_FRAMING) * request.length:
                self.refusal = Refusal(400, "The request's body has more framing than content.", "chunk-framing")

    # What llhttp calls

    def on_message_begin(self) -> None:
        self.is_inside_head = True
        self._is_fresh = False
        self._target = b""
        self._fields = []
        self._special = []
        self._request = None

    def on_url(self, url: bytes) -> None:
        self._target += url

    def on_header(self, name: bytes, value: bytes) -> None:
        kind = KINDS[name]
        if self.is_inside_head:
            if kind is not Kind.PLAIN:
                # Not so with a coding: llhttp takes a tab for a part of it.
                if value and value[-1] < 33 and kind is not Kind.TRANSFER_ENCODING:
                    value = value.rstrip(b" \t")
                self._special.append((kind, name, value))
                if kind not in KEPT:
                    return
                if kind is Kind.COOKIE:
                    value = without_cookies(value, self._private_cookies)
                    if not value:
                        return
            self._fields.append((name, value))
        elif self._request is not None and kind is Kind.PLAIN:
            self._read_trailer(self._request, name, value)

    def _read_trailer(self, request: Request, name: bytes, value: bytes) -> None:
        lower = name.lower()
        if lower in NOT_IN_TRAILERS or lower in request.nominated:
            return
        if len(request.trailers) >= self._limits.head_fields:
            most = self._limits.head_fields
            raise Refusal(431, f"The request has more than {most} trailer fields.", "head-fields")
        request.trailers = [*request.trailers, (name, value)]

    def on_headers_complete(self) -> None:
        self.is_inside_head = False
        if self._interrupted is not None:
            self._seen = 0
            self._request, self._interrupted = self._interrupted, None
            return
        self._request = request = self._make()
        self._seen = 0
        if request.length:
            self._left = request.length
        self.waiting.append(request)

    def on_body(self, piece: bytes) -> None:
        request = self._request
        assert request is not None
        self._seen = 0
        request.length += len(piece)
        if 0 < self._limits.body_bytes < request.length:
            raise body_too_long(self._limits)
        request.pieces.append(piece)

    def on_message_complete(self) -> None:
        request = self._request
        assert request is not None
        request.is_complete = True
        if self._in_chunks:
            self._in_chunks = False
            self._seen = 0
        self._is_fresh = kept = request.keep_alive
        self._over = not kept

    # A head

    def _make(self) -> Request:
        parser, limits = self._parser, self._limits
        if len(self._target) > limits.line_bytes:
            raise target_too_long(limits)
        if len(self._fields) > limits.head_fields:
            raise Refusal(431, f"The request has more than {limits.head_fields} header fields.", "head-fields")
        request = Request(self.peer)
        request.method = self._method or parser.get_method()
        request.target = self._target
        if request.method in REFUSED:
            raise refusal_of(request.method)
        version = parser.get_http_version()
        if version == "1.0":
            request.minor = 0
        elif version != "1.1":
            raise Refusal(505, "The request's HTTP version is neither 1.1 nor 1.0.")
        # llhttp takes any number of blanks for one.
        line = self._begun + self._piece if self._begun else self._piece
        if not line.startswith(b" HTTP/", len(request.method) + 1 + len(self._target)):
            raise Refusal(400, "The request is not well-formed HTTP: its first line has blanks too many.")
        self._piece = b""
        if self._begun or self._method:
            self._begun = self._method = b""
        request.fields = self._fields
        self._heads.read(request, self._special, self._seen)
        if request.body is Body.CHUNKED:
            self._in_chunks = True
            self._raw = 0
        self._requests_left -= 1
        if not self._requests_left:
            self._end_with(request)
        return request

    def _end_with(self, request: Request) -> None:
        """The connection has asked often enough."""
        request.keep_alive = False
        request.is_last = True
