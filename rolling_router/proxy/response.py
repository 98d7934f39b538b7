"""proxy.response: bytes of an instance's connection -> the answer, or the reason why not. llhttp decides. No I/O."""

from __future__ import annotations

from collections.abc import Sequence

from httptools import HttpParserError, HttpParserUpgrade, HttpResponseParser

from rolling_router.proxy.headers import KINDS, Field, Kind, tokens, without_named
from rolling_router.proxy.limits import Limits
from rolling_router.proxy.request import Body

_REMOVED = (Kind.CONNECTION, Kind.UPGRADE, Kind.DROPPED)
_FRAMING = frozenset((b"content-length", b"transfer-encoding"))
_NOT_REMOVABLE = _FRAMING | {b"set-cookie"}


class Response:
    """
    The head of an answer.

    :ivar fields: what the client gets of it, in order, without the fields of one connection.
    :ivar keep_alive: whether the instance keeps the connection.    :ivar upgrade: the protocol changed to, with 101.
    :ivar caching: what it says of being kept by caches; see `proxy.headers.sharing`.
    """

    body = Body.TO_CLOSE
    length = 0
    keep_alive = True
    upgrade: bytes | None = None
    caching: Sequence[tuple[Kind, bytes]] = ()

    def __init__(self, status: int, phrase: bytes, fields: list[Field]) -> None:
        self.status = status
        self.phrase = phrase
        self.fields = fields


class Malformed(Exception):
    """What the instance sent is no answer that could be passed on."""


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
    _seen = 0
    _left = 0

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
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
            raise Malformed("its head is too long" if self.response is None else "its trailer fields are too long")
        if self.response is not None and self.response.body is Body.KNOWN:
            # From here on the body is counted, not parsed. llhttp is left in the middle; the next answer needs another.
            self._left = self.response.length - sum(map(len, self.pieces))
            self._parser = HttpResponseParser(self)

    def _count(self, data: bytes) -> None:
        left = self._left - len(data)
        if left < 0:
            data = data[:left]
            self.has_surplus = True
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
            if kind is Kind.PLAIN and len(self.trailers) < self._limits.head_fields:
                self.trailers = [*self.trailers, (name, value)]
            return
        if kind is not Kind.PLAIN:
            self._special.append((kind, value))
            if kind in _REMOVED:
                return
        self._fields.append((name, value))

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
            response.body = Body.NONE
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
            raise Malformed("its head is too long")

    def _make(self) -> Response:
        status = self._parser.get_status_code()
        if status < 100:
            raise Malformed("its status is not one of HTTP")
        if len(self._fields) > self._limits.head_fields * 2:
            raise Malformed("its head has too many fields")
        response = Response(status, self._phrase, self._fields)
        connection: list[bytes] = []
        for kind, value in self._special:
            if kind is Kind.CONTENT_LENGTH:
                response.body = Body.KNOWN
                response.length = int(value)
            elif kind is Kind.TRANSFER_ENCODING:
                if value.strip(b" \t").lower() != b"chunked" or response.body is Body.CHUNKED:
                    raise Malformed("its Transfer-Encoding is not chunked")
                response.body = Body.CHUNKED
            elif kind is Kind.CONNECTION:
                connection += tokens(value)
            elif kind is Kind.UPGRADE:
                response.upgrade = value
            elif kind is Kind.CACHE_CONTROL or kind is Kind.EXPIRES:
                response.caching = [*response.caching, (kind, value)]
        version = self._parser.get_http_version()
        if version == "1.1":
            response.keep_alive = b"close" not in connection
        elif version == "1.0":
            response.keep_alive = b"keep-alive" in connection and b"close" not in connection
        else:
            raise Malformed("its HTTP version is neither 1.1 nor 1.0")
        if connection and (named := set(connection) - {b"close", b"keep-alive", b"upgrade"}):
            response.fields = without_named(self._fields, named - _NOT_REMOVABLE)
        if status in (204, 304) or status < 200:
            response.body = Body.NONE  # RFC 9112 section 6.3, whatever the fields say
            if status != 304:  # the length of a 304 is that of what is not sent
                response.fields = without_named(response.fields, _FRAMING)
            if status == 101 and (response.upgrade is None or b"upgrade" not in connection):
                raise Malformed("it changes the protocol without saying to which")
        return response
