"""
proxy.methods: which methods are served, and those that llhttp does not know. Pure; asked by `reader`.

llhttp knows a list of methods, HTTP does not (RFC 9110 section 9.1): `reader` lets it read ``POST`` in the place of one
that it does not know, which means the same to it.
"""

from __future__ import annotations

import re

from rolling_router.proxy.refusal import Refusal

# The methods that llhttp knows. It also parses RTSP and ICE, and does not tell which it was; the second set is theirs.
_KNOWN = frozenset(
    b"DELETE GET HEAD POST PUT CONNECT OPTIONS TRACE COPY LOCK MKCOL MOVE PROPFIND PROPPATCH SEARCH UNLOCK BIND REBIND "
    b"UNBIND ACL REPORT MKACTIVITY CHECKOUT MERGE M-SEARCH NOTIFY SUBSCRIBE UNSUBSCRIBE PATCH PURGE MKCALENDAR LINK "
    b"UNLINK QUERY".split()
)
_NOT_HTTP = frozenset(
    b"PRI SOURCE DESCRIBE ANNOUNCE SETUP PLAY PAUSE TEARDOWN GET_PARAMETER SET_PARAMETER REDIRECT RECORD FLUSH".split()
)
_TOKEN = re.compile(rb"[A-Za-z0-9!#$%&'*+.^_`|~-]*")
_MOST_BYTES = 32

REFUSED = _NOT_HTTP | {b"CONNECT", b"TRACE"}
"""Of those that llhttp knows."""


def refusal_of(method: bytes) -> Refusal:
    """:param method: one of `REFUSED`."""
    if method == b"CONNECT":
        return Refusal(405, "This is no forward proxy: CONNECT is not served here.")
    if method == b"TRACE":  # it would show the client what proxies on the way have added
        return Refusal(405, "TRACE is not served here.")
    return Refusal(501, "The request's method is not one of HTTP.")


def read_unknown(line: bytes) -> bytes:
    """
    Read a method that llhttp stopped at.

    :param line: a first line from its start, as far as it has come.
    :returns: the method; nothing where its end has not come yet.
    :raises Refusal: it is none.
    """
    token = _TOKEN.match(line)
    assert token is not None
    method, blank = token[0], line[token.end() : token.end() + 1]
    if len(method) > _MOST_BYTES:
        raise Refusal(501, f"The request's method is longer than {_MOST_BYTES} bytes.")
    if not method or blank not in (b"", b" "):
        raise Refusal(400, "The request is not well-formed HTTP: its method is not a token.")
    if not blank:
        return b""
    if method.upper() in _KNOWN | _NOT_HTTP:
        # Methods are case-sensitive, and not everybody knows.
        raise Refusal(400, "The request's method is a known one, but not in upper case.")
    return method
