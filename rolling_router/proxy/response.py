"""proxy.response: bytes of an instance's connection -> the answer, or the reason why not. llhttp decides. No I/O."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence

from httptools import HttpParserError, HttpParserUpgrade, HttpResponseParser

from rolling_router.proxy.headers import (
    KINDS,
    MOST_LENGTH_DIGITS,
    NOT_IN_TRAILERS,
    Field,
    Kind,
    Sharing,
    sharing,
    tokens,
    without_named,
    written,
)
from rolling_router.proxy.known import LONGEST_BYTES, Known
from rolling_router.proxy.limits import Limits
from rolling_router.proxy.request import Body

_REMOVED = (Kind.CONNECTION, Kind.UPGRADE, Kind.DROPPED)
_FRAMING = frozenset((b"content-length", b"transfer-encoding"))
_NOT_REMOVABLE = _FRAMING | frozenset(
    b"cache-control content-encoding content-range content-type date expires location set-cookie vary "
    b"www-authenticate".split()
)
_NOT_IN_A_PHRASE = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")
_FIRST = ord("H")

# By names of this module: to look a member up in its class costs as much as a call, up to Python 3.11.
_NONE, _KNOWN, _CHUNKED, _TO_CLOSE = Body


class Response:
    """
    The head of an answer.

    :ivar fields: what the client gets of it, in order, without the fields of one connection.
    :ivar keep_alive: whether the instance keeps the connection.    :ivar upgrade: the protocol changed to, with 101.
    :ivar caching: what it says of being kept by caches; see `proxy.headers.sharing`.
    :ivar is_dated: whether it has a Date.    :ivar nominated: fields that Connection names; trailers, too, lose them.
    :ivar lines: status line and fields as a client gets them, once the head is known; see `proxy.known`.
    """

    body = _TO_CLOSE
    length = 0
    keep_alive = True
    upgrade: bytes | None = None
    caching: Sequence[tuple[Kind, bytes]] = ()
    is_dated = False
    nominated: Collection[bytes] = ()
    lines = b""
    _sharing: Sharing | None = None

    def __init__(self, status: int, phrase: bytes, fields: list[Field]) -> None:
        self.status = status
        self.phrase = phrase
        self.fields = fields

    @property
    def sharing(self) -> Sharing:
        """What it says of shared caches."""
        if self._sharing is None:
            self._sharing = sharing(self.caching)
        return self._sharing

    @property
    def is_event_stream(self) -> bool:
        """Whether it goes on until somebody ends it, and may be ended between any two events. Looked at seldom."""
        if self.body is _KNOWN or self.body is _NONE:
            return False
        types = [value for name, value in self.fields if name.lower() == b"content-type"]
        return any(value.partition(b";")[0].strip().lower() == b"text/event-stream" for value in types)

    def head(self) -> bytes:
        """Status line and fields, as a client gets them; the empty line is not among them."""
        return self.lines or b"HTTP/1.1 %d %b\r\n%b" % (self.status, self.phrase, written(self.fields))

    def make_known(self) -> None:
        """Write it once for all times that it will come."""
        self.lines = self.head()


class Malformed(Exception):
    """
    What the instance sent is no answer that could be passed on.

    :ivar limit: the name of the limit that acted, as in `proxy.limits.ACTING`; empty where it was none.
    """

    def __init__(self, text: str, limit: str = "") -> None:
        super().__init__(text)
        self.limit = limit


class ResponseReader:
    """
    Reads the answers of one connection to an instance, one request at a time.

    :ivar response: the answer's head, once it has come.    :ivar informational: heads of 1xx answers that came first.
    :ivar pieces: body bytes that were not fetched yet.    :ivar is_over: the answer is complete.
    :ivar has_surplus: more came than was asked for, or more may: the connection must not be used again.
    :ivar rest: what followed a 101, in the other protocol.
    """

    # Defaults of the class rather than set anew for each answer: most answers never touch most of them.
    response: Response | None = None
    informational: Sequence[Response] = ()
    trailers: Sequence[Field] = ()
    is_over = False
    has_surplus = False
    rest = b""
    _is_head_only = False
    _phrase = b""
    _is_fresh = False
    _seen = 0
    _left = 0

    def __init__(self, limits: Limits, known: Known[Response] | None = None) -> None:
        """:param known: shared by readers with the same limits."""
        self._limits = limits
        self._known = known
        self._parser = HttpResponseParser(self)
        self._fields: list[Field] = []
        self._special: list[tuple[Kind, bytes]] = []
        self.pieces: list[bytes] = []

    def expect(self, is_head_only: bool) -> None:
        """
        Be ready for the answer to the next request.

        :param is_head_only: the request was a HEAD, whose answer has no body whatever its head says.
        """
        self._is_head_only = is_head_only
        self.response = None
        self.is_over = False
        self.pieces = []
        self._seen = 0
        self._is_fresh = True
        if self.trailers:
            self.trailers = ()

    def feed(self, data: bytes) -> None:
        """
        Read on.

        :raises Malformed: this can not be passed on; what came before it still can.
        """
        if self._left:
            self._count(data)
            return
        if self._is_fresh and data:
            self._is_fresh = False
            if data[0] != _FIRST:  # llhttp also takes empty lines, and answers of RTSP and ICE
                raise Malformed("it does not begin with HTTP")
            if self._known is not None and not self._is_head_only:
                self._read_whole_head(self._known, data)
                return
        self._read(data)

    def _read_whole_head(self, known: Known[Response], data: bytes) -> None:
        """Read the first of an answer; by what is known, if it begins with a head that came before."""
        end = data.find(b"\r\n\r\n", 0, LONGEST_BYTES) + 4
        head = data[:end]
        response = known.get(head)
        if response is None:
            self._read(data)
            response = self.response
            if response is not None and end > 3 and known.is_worth(head) and self._ends_at(response, data, end):
                response.make_known()
                known.keep(head, response)
            return
        self.response = response
        if response.body is _KNOWN and response.length == len(data) - end:  # all of it, as with most answers
            self.pieces = [data[end:]] if response.length else []
            self.is_over = True
        elif response.body is _KNOWN:
            self._left = response.length
            self._count(data[end:])
        else:
            self.is_over = True
            self.has_surplus = len(data) > end

    def _ends_at(self, response: Response, data: bytes, end: int) -> bool:
        """Whether this answer's head is what comes before this place, and its body can be counted."""
        if response.status == 101 or self.informational or self.has_surplus:
            return False
        return response.body in (_NONE, _KNOWN) and b"".join(self.pieces) == data[end:]

    def _read(self, data: bytes) -> None:
        self._seen += len(data)
        try:
            self._parser.feed_data(data)
        except HttpParserUpgrade as upgrade:
            self.rest = data[upgrade.args[0] :]
        except HttpParserError as wrong:
            if not self.is_over:
                cause = wrong.__context__
                raise cause if isinstance(cause, Malformed) else Malformed(str(wrong))
            self.has_surplus = True
        if self.is_over:
            return
        if self._seen > 2 * self._limits.head_bytes:  # twice: white space that does not count is among it
            what = "head is" if self.response is None else "trailer fields are"
            raise Malformed(f"its {what} too long", "head-bytes")
        if self.response is not None and self.response.body is _KNOWN:
            # From here on the body is counted, not parsed. llhttp is left in the middle; the next answer needs another.
            self._left = self.response.length - sum(map(len, self.pieces))
            self._parser = HttpResponseParser(self)

    def _count(self, data: bytes) -> None:
        left = self._left - len(data)
        if left < 0:
            data = data[:left]
            self.has_surplus = True
        if data:
            self.pieces.append(data)
        self._left = max(left, 0)
        self.is_over = left <= 0

    # What llhttp calls

    def on_message_begin(self) -> None:
        if self.is_over:
            raise Malformed("it answers more than it was asked")
        self._phrase = b""
        self._fields = []
        self._special = []

    def on_status(self, phrase: bytes) -> None:
        self._phrase += phrase

    def on_header(self, name: bytes, value: bytes) -> None:
        kind = KINDS[name]
        if self.response is not None:
            if self.is_over:
                self.has_surplus = True  # a body behind the answer to a HEAD
            elif kind is Kind.PLAIN:
                self._read_trailer(self.response, name, value)
            return
        if kind is not Kind.PLAIN:
            self._special.append((kind, value))
            if kind in _REMOVED:
                return
        self._fields.append((name, value))

    def _read_trailer(self, response: Response, name: bytes, value: bytes) -> None:
        lower = name.lower()
        if lower in NOT_IN_TRAILERS or lower in response.nominated:
            return
        if len(self.trailers) < self._limits.head_fields:
            self.trailers = [*self.trailers, (name, value)]

    def on_headers_complete(self) -> None:
        if self._seen > self._limits.head_bytes:
            self._check_length()
        response = self._make()
        if response.status < 200 and response.status != 101:
            self.informational = [*self.informational, response]
            if len(self.informational) > self._limits.head_fields:
                raise Malformed("it sends nothing but interim answers")
            return
        self.response = response
        self._seen = 0
        if self._is_head_only:
            # llhttp does not know that the request was a HEAD, and would now wait for a body.
            response.body = _NONE
            self.is_over = True
            self._parser = HttpResponseParser(self)

    def on_body(self, piece: bytes) -> None:
        if self.is_over:
            self.has_surplus = True
        else:
            self._seen = 0
            self.pieces.append(piece)

    def on_message_complete(self) -> None:
        if self.response is not None:
            self.is_over = True

    def _check_length(self) -> None:
        """What has come is more than a head may have; but interim answers or a body may be among it."""
        if sum(len(name) + len(value) + 4 for name, value in self._fields) > self._limits.head_bytes:
            raise Malformed("its head is too long", "head-bytes")

    def _make(self) -> Response:
        status = self._parser.get_status_code()
        if status < 100:
            raise Malformed("its status is not one of HTTP")
        if len(self._fields) > self._limits.head_fields * 2:
            raise Malformed("its head has too many fields", "head-fields")
        if _NOT_IN_A_PHRASE.search(self._phrase):
            raise Malformed("its status line has control characters")
        response = Response(status, self._phrase, self._fields)
        connection: list[bytes] = []
        for kind, value in self._special:
            if kind is Kind.CONTENT_LENGTH:
                if len(value) > MOST_LENGTH_DIGITS:
                    raise Malformed("its Content-Length has too many digits")
                response.body = _KNOWN
                response.length = int(value)
            elif kind is Kind.TRANSFER_ENCODING:
                if value.strip(b" \t").lower() != b"chunked" or response.body is _CHUNKED:
                    raise Malformed("its Transfer-Encoding is not chunked")
                response.body = _CHUNKED
            elif kind is Kind.CONNECTION:
                connection += tokens(value)
            elif kind is Kind.UPGRADE:
                response.upgrade = value
            elif kind is Kind.DATE:
                response.is_dated = True
            elif kind is Kind.CACHE_CONTROL or kind is Kind.EXPIRES:
                response.caching = [*response.caching, (kind, value)]
        version = self._parser.get_http_version()
        if version == "1.1":
            response.keep_alive = b"close" not in connection
        elif version == "1.0":
            if response.body is _CHUNKED:  # RFC 9112 section 6.1: a sign of faulty framing
                raise Malformed("it has a Transfer-Encoding, which HTTP/1.0 does not know")
            response.keep_alive = b"keep-alive" in connection and b"close" not in connection
        else:
            raise Malformed("its HTTP version is neither 1.1 nor 1.0")
        if connection and (named := set(connection) - {b"close", b"keep-alive", b"upgrade"}):
            response.nominated = named - _NOT_REMOVABLE
            response.fields = without_named(self._fields, response.nominated)
        if status in (204, 304) or status < 200:
            _take_body_away(response)
            if status == 101 and (response.upgrade is None or b"upgrade" not in connection):
                raise Malformed("it changes the protocol without saying to which")
        return response


def _take_body_away(response: Response) -> None:
    """By its status it has none, whatever its fields say (RFC 9112 section 6.3)."""
    if response.status != 304:  # the length of a 304 is that of what is not sent
        # One that should have no body and speaks of one may send it, and nobody could tell it from an answer.
        if response.body is _CHUNKED or response.length:
            response.keep_alive = False
        response.fields = without_named(response.fields, _FRAMING)
    elif response.body is _CHUNKED:
        response.fields = without_named(response.fields, (b"transfer-encoding",))
    response.body = _NONE
