"""proxy.knowing: a `RequestReader` that does not read again what it knows. One for each client connection. No I/O."""

from __future__ import annotations

import re

from rolling_router.proxy.headers import Kind
from rolling_router.proxy.known import LONGEST_BYTES, Known
from rolling_router.proxy.limits import Limits
from rolling_router.proxy.reader import RequestReader
from rolling_router.proxy.request import KnownFields, Request, new_request_id
from rolling_router.proxy.trust import Peer, Trust

# A first line about which there can be no doubt: whatever `reader` or `heads` refuse because of it must not match here.
# With all that match, fields mean the same, and doing them twice is as good as once; `dispatch` relies on that.
_PLAIN_LINE = re.compile(rb"(GET|HEAD|DELETE) (/[A-Za-z0-9._~!$&'()*+,;=:@/?%-]*) HTTP/1\.1\r\n")

# Fields with which a head is read anew each time.
_SPECIAL = (Kind.CONTENT_LENGTH, Kind.TRANSFER_ENCODING, Kind.EXPECT, Kind.UPGRADE, Kind.MAX_FORWARDS)


class KnowingReader(RequestReader):
    """
    Reads one client connection.

    Where a read begins with a request and its first line is a plain one, what is behind that line is looked up. What is
    known was read before, by `RequestReader` and so by llhttp, to the end of a head without a body.
    """

    __slots__ = ("_known", "_may_know")

    def __init__(
        self,
        peer: Peer,
        trust: Trust,
        limits: Limits,
        private_cookies: frozenset[bytes],
        known: Known[KnownFields],
        via: bytes = b"",
    ) -> None:
        """:param known: shared by readers with the same limits, private cookies and name for ``Via``."""
        super().__init__(peer, trust, limits, private_cookies, via)
        self._known = known
        # What a trusted peer says of its client differs with each of its requests.
        self._may_know = not peer.is_trusted

    def feed(self, data: bytes) -> None:
        rest = b""
        if self._is_fresh and self._may_know and len(data) <= LONGEST_BYTES:
            line = _PLAIN_LINE.match(data)
            if line is not None:
                method, target = line.groups()
                rest = data[line.end() :]
                fields = self._known.get(rest)
                if fields is not None and len(target) <= self._limits.line_bytes:
                    self.waiting.append(self._request_of(method, target, fields))
                    return
        before = len(self.waiting)
        super().feed(data)
        if rest and self._is_fresh and len(self.waiting) == before + 1 and self._known.is_worth(rest):
            assert self._request is not None
            self._learn(self._request, rest)

    def _request_of(self, method: bytes, target: bytes, fields: KnownFields) -> Request:
        heads = self._heads
        if fields.host != heads.host:
            heads.take_host(fields.host)
        request = Request(self.peer)
        request.method = method
        request.target = target
        request.known = fields
        request.fields = fields.fields
        request.host = fields.host
        request.raw_cookies = fields.raw_cookies
        request.forwarded = heads.forwarded
        request.id = new_request_id()
        request.is_complete = True
        self._requests_left -= 1
        if not self._requests_left:
            self._end_with(request)
            self._is_fresh, self._over = False, True
        return request

    def _learn(self, request: Request, rest: bytes) -> None:
        """Keep what was read in a request, if nothing but the end of its head was behind its first line."""
        is_plain = request.keep_alive and bool(request.host) and request.upgrade is None
        is_alone = rest.find(b"\r\n\r\n") == len(rest) - 4
        if is_plain and is_alone and not any(kind in _SPECIAL for kind, _, _ in self._special):
            self._known.keep(rest, KnownFields(request.fields, request.host, request.raw_cookies))
