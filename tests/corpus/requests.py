"""
Streams of requests as attackers send them, and what must become of each: the statuses that the client is to get.

200 is the answer of an instance: the request was passed on. Whatever ends in another status reaches no instance. The
families are those of published work on request smuggling: the RFCs' own warnings (RFC 9112 section 11), "HTTP Desync
Attacks" (2019) and its successors (CL.0, TE.0, pause-based and chunk-extension variants), "HTTP Garden" (2024), and the
test lists of other proxies. Written down from what they describe.
"""

from __future__ import annotations

HOST = b"Host: a.test\r\n"
END = b"\r\n"
SMUGGLED = b"GET /smuggled HTTP/1.1\r\nHost: a.test\r\n\r\n"
GET = b"GET / HTTP/1.1\r\nHost: a.test\r\n\r\n"


def post(fields: bytes, body: bytes = b"", version: bytes = b"1.1", method: bytes = b"POST") -> bytes:
    return b"%b / HTTP/%b\r\n%b%b\r\n%b" % (method, version, HOST, fields, body)


def te(value: bytes, name: bytes = b"Transfer-Encoding", body: bytes = b"0\r\n\r\n" + SMUGGLED) -> bytes:
    """Transfer-Encoding said in some odd way, and Content-Length beside it."""
    return post(b"Content-Length: 4\r\n%b:%b\r\n" % (name, value), body)


def chunks(coded: bytes) -> bytes:
    return post(b"Transfer-Encoding: chunked\r\n", coded) + SMUGGLED


Case = tuple[bytes, list[int]]

CASES: dict[str, Case] = {
    # Well-formed: the mutations begin here
    "get": (GET, [200]),
    "two": (GET + GET, [200, 200]),
    "body": (post(b"Content-Length: 5\r\n", b"hello") + GET, [200, 200]),
    "chunked": (post(b"Transfer-Encoding: chunked\r\n", b"5\r\nhello\r\n0\r\n\r\n") + GET, [200, 200]),
    "chunk extensions": (post(b"Transfer-Encoding: chunked\r\n", b'5;a=b;c="d\\"e"\r\nhello\r\n0;x\r\n\r\n'), [200]),
    "trailers": (post(b"Transfer-Encoding: chunked\r\n", b"1\r\nx\r\n0\r\nX-Sum: 1\r\n\r\n") + GET, [200, 200]),
    "put": (post(b"Content-Length: 1\r\n", b"x", method=b"PUT") + GET, [200, 200]),
    "frob": (post(b"Content-Length: 1\r\n", b"x", method=b"FROB") + GET, [200, 200]),
    "empty lines before": (b"\r\n\r\n" + GET, [200]),
    "a body of GET": (post(b"Content-Length: %d\r\n" % len(SMUGGLED), SMUGGLED), [200]),
    "GET with a body": (post(b"Content-Length: %d\r\n" % len(SMUGGLED), SMUGGLED, method=b"GET"), [200]),
    "absolute": (b"GET http://a.test/x HTTP/1.1\r\nHost: a.test\r\n\r\n", [200]),
    # Both lengths
    "CL.TE": (te(b" chunked"), [400]),
    "TE.CL": (post(b"Transfer-Encoding: chunked\r\nContent-Length: 4\r\n", b"5c\r\n" + SMUGGLED), [400]),
    "CL.TE in HTTP/1.0": (post(b"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n", b"0\r\n\r\n", b"1.0"), [400]),
    "TE in HTTP/1.0": (post(b"Transfer-Encoding: chunked\r\n", b"0\r\n\r\n", b"1.0"), [400]),
    "TE in HTTP/1.0, kept": (
        post(b"Connection: keep-alive\r\nTransfer-Encoding: chunked\r\n", b"0\r\n\r\n", b"1.0"),
        [400],
    ),
    # Transfer-Encoding, said so that one hears it and the other does not
    "TE: xchunked": (te(b" xchunked"), [400]),
    "TE behind a tab": (te(b"\tchunked"), [400]),
    "TE with a vertical tab": (te(b" \x0bchunked"), [400]),
    "TE with a form feed": (te(b" \x0cchunked"), [400]),
    "TE with NUL": (te(b" chunked\x00"), [400]),
    "TE with a no-break space": (te(b" chunked\xa0"), [400]),
    "TE in quotes": (te(b' "chunked"'), [400]),
    "TE in single quotes": (te(b" 'chunked'"), [400]),
    "TE with a parameter": (te(b" chunked; foo=bar"), [400]),
    "TE in upper case": (te(b" CHUNKED"), [400]),
    "TE blank before colon": (te(b" chunked", b"Transfer-Encoding "), [400]),
    "TE tab before colon": (te(b" chunked", b"Transfer-Encoding\t"), [400]),
    "TE behind a blank": (te(b" chunked", b" Transfer-Encoding"), [400]),
    "TE behind a CR": (te(b" chunked", b"X: y\rTransfer-Encoding"), [400]),
    "TE behind an LF": (te(b" chunked", b"X: y\nTransfer-Encoding"), [400]),
    "TE folded": (te(b"\r\n chunked"), [400]),
    "TE folded by a tab": (te(b"\r\n\tchunked"), [400]),
    "TE in a fold": (te(b" chunked", b"X: y\r\n Transfer-Encoding"), [400]),
    "TE underscored": (post(b"Content-Length: 5\r\nTransfer_Encoding: chunked\r\n", b"hello"), [200]),
    "TE with a point": (post(b"Content-Length: 5\r\nTransfer.Encoding: chunked\r\n", b"hello"), [200]),
    "TE with an eighth bit": (te(b" chunked", b"Transfer-Encod\xefng"), [400]),
    "TE: chunked, identity": (te(b" chunked, identity"), [400]),
    "TE: identity, chunked": (te(b" identity, chunked"), [400]),
    "TE: chunked, chunked": (post(b"Transfer-Encoding: chunked, chunked\r\n", b"0\r\n\r\n"), [400]),
    "TE: gzip, chunked": (post(b"Transfer-Encoding: gzip, chunked\r\n", b"0\r\n\r\n"), [501]),
    "TE: cow": (post(b"Transfer-Encoding: cow\r\n", b"0\r\n\r\n"), [501]),
    "TE: chunked, cow": (post(b"Transfer-Encoding: chunked\r\nTransfer-Encoding: cow\r\n", b"0\r\n\r\n"), [400]),
    "TE: cow, chunked": (post(b"Transfer-Encoding: cow\r\nTransfer-Encoding: chunked\r\n", b"0\r\n\r\n"), [501]),
    "TE: (comma) chunked": (post(b"Transfer-Encoding: , chunked\r\n", b"0\r\n\r\n"), [501]),
    "TE: nothing": (post(b"Transfer-Encoding:\r\nContent-Length: 4\r\n", b"0\r\n\r\n"), [400]),
    "TE: identity": (post(b"Transfer-Encoding: identity\r\nContent-Length: 4\r\n", b"0\r\n\r\n"), [400]),
    # Content-Length
    "CL twice": (post(b"Content-Length: 0\r\nContent-Length: 44\r\n", SMUGGLED), [400]),
    "CL twice the same": (post(b"Content-Length: 5\r\nContent-Length: 5\r\n", b"hello"), [400]),
    "CL list": (post(b"Content-Length: 0, 44\r\n", SMUGGLED), [400]),
    "CL +": (post(b"Content-Length: +5\r\n", b"hello"), [400]),
    "CL -": (post(b"Content-Length: -5\r\n", b"hello"), [400]),
    "CL -0": (post(b"Content-Length: -0\r\n"), [400]),
    "CL 0x": (post(b"Content-Length: 0x5\r\n", b"hello"), [400]),
    "CL 5 behind a vertical tab": (post(b"Content-Length: \x0b5\r\n", b"hello"), [400]),
    "CL 5e0": (post(b"Content-Length: 5e0\r\n", b"hello"), [400]),
    "CL 5.0": (post(b"Content-Length: 5.0\r\n", b"hello"), [400]),
    "CL 0_5": (post(b"Content-Length: 0_5\r\n", b"hello"), [400]),
    "CL 5 5": (post(b"Content-Length: 5 5\r\n", b"hello"), [400]),
    "CL empty": (post(b"Content-Length:\r\n", SMUGGLED), [400]),
    "CL in quotes": (post(b'Content-Length: "5"\r\n', b"hello"), [400]),
    "CL beyond 32 bits": (post(b"Content-Length: 4294967301x\r\n", b"hello"), [400]),
    "CL beyond 64 bits": (post(b"Content-Length: 18446744073709551621\r\n", b"hello"), [400]),
    "CL of full-width digits": (post("Content-Length: \uff15\r\n".encode(), b"hello"), [400]),
    "CL with NUL": (post(b"Content-Length: 5\x00\r\n", b"hello"), [400]),
    "CL blank before colon": (post(b"Content-Length : 5\r\n", b"hello"), [400]),
    "CL folded": (post(b"Content-Length:\r\n 5\r\n", b"hello"), [400]),
    "CL in a fold": (post(b"X: y\r\n Content-Length: 44\r\n", SMUGGLED), [400]),
    "CL underscored": (post(b"Content_Length: 44\r\n") + GET, [200, 200]),
    "CL in Connection": (post(b"Connection: content-length\r\nContent-Length: 5\r\n", b"hello"), [400]),
    "TE in Connection": (post(b"Connection: Transfer-Encoding\r\nTransfer-Encoding: chunked\r\n", b"0\r\n\r\n"), [400]),
    "CL.0": (post(b"Connection: close\r\nContent-Length: %d\r\n" % len(SMUGGLED), SMUGGLED), [200]),
    "0.CL": (b"GET / HTTP/1.1\r\nHost: a.test\r\nContent-Length:\r\n 7\r\n\r\n" + SMUGGLED, [400]),
    "Expect twice": (post(b"Expect: y 100-continue\r\nContent-Length: 5\r\n", b"hello"), [417]),
    # Chunks
    "chunk 0x": (chunks(b"0x5\r\nhello\r\n0\r\n\r\n"), [400]),
    "chunk +": (chunks(b"+5\r\nhello\r\n0\r\n\r\n"), [400]),
    "chunk -": (chunks(b"-5\r\nhello\r\n0\r\n\r\n"), [400]),
    "chunk 5_": (chunks(b"5_\r\nhello\r\n0\r\n\r\n"), [400]),
    "chunk behind a blank": (chunks(b" 5\r\nhello\r\n0\r\n\r\n"), [400]),
    "chunk before a blank": (chunks(b"5 \r\nhello\r\n0\r\n\r\n"), [400]),
    "chunk before a tab": (chunks(b"5\t\r\nhello\r\n0\r\n\r\n"), [400]),
    "chunk of 17 digits": (chunks(b"10000000000000005\r\nhello\r\n0\r\n\r\n"), [400]),
    "chunk of 2^64": (chunks(b"ffffffffffffffff5\r\nhello\r\n0\r\n\r\n"), [400]),
    "chunk of nothing": (chunks(b"\r\nhello\r\n0\r\n\r\n"), [400]),
    "chunk LF": (chunks(b"5\nhello\n0\n\n"), [400]),
    "chunk CR": (chunks(b"5\rhello\r0\r\r"), [400]),
    "chunk LF behind data": (chunks(b"5\r\nhello\n0\r\n\r\n"), [400]),
    "chunk other bytes for CRLF behind data": (chunks(b"5\r\nhelloXX0\r\n\r\n"), [400]),
    "chunk too short": (chunks(b"4\r\nhello\r\n0\r\n\r\n"), [400]),
    "chunk too long": (chunks(b"6\r\nhello\r\n0\r\n\r\n"), [400]),
    "chunk extension with LF": (chunks(b"5;\nhello\r\n0\r\n\r\n"), [400]),
    "chunk extension with CR": (chunks(b"5;a\rb\r\nhello\r\n0\r\n\r\n"), [400]),
    "chunk extension with NUL": (chunks(b"5;\x00\r\nhello\r\n0\r\n\r\n"), [400]),
    "chunk extension in open quotes": (chunks(b'5;a="\r\nhello\r\n0\r\n\r\n'), [400]),
    "last chunk 00x": (chunks(b"00x\r\n\r\n"), [400]),
    "last chunk of many noughts": (chunks(b"0000\r\n\r\n"), [200, 200]),
    "trailer LF": (chunks(b"0\r\nX: y\n\r\n"), [400]),
    "trailer without colon": (chunks(b"0\r\nX\r\n\r\n"), [400]),
    "trailer CL": (chunks(b"0\r\nContent-Length: 44\r\n\r\n"), [400]),
    "trailer TE": (chunks(b"0\r\nTransfer-Encoding: chunked\r\n\r\n"), [400]),
    "trailer folded": (chunks(b"0\r\nX: y\r\n z\r\n\r\n"), [400]),
    "end LF": (chunks(b"0\r\n\n"), [400]),
    # Lines
    "LF alone": (b"GET / HTTP/1.1\nHost: a.test\n\n", [400]),
    "CR alone": (b"GET / HTTP/1.1\rHost: a.test\r\r", [400]),
    "LF at the end of the head": (b"GET / HTTP/1.1\r\nHost: a.test\r\n\n", [400]),
    "CR in a value": (b"GET / HTTP/1.1\r\nHost: a.test\r\nX: a\rb\r\n\r\n", [400]),
    "CR CR LF": (b"GET / HTTP/1.1\r\r\nHost: a.test\r\n\r\n", [400]),
    "LF CR": (b"GET / HTTP/1.1\n\rHost: a.test\n\r\n\r", [400]),
    "NUL in a name": (b"GET / HTTP/1.1\r\nHost: a.test\r\nX\x00Y: a\r\n\r\n", [400]),
    "NUL in a value": (b"GET / HTTP/1.1\r\nHost: a.test\r\nX: a\x00\r\n\r\n", [400]),
    "NUL in the target": (b"GET /\x00 HTTP/1.1\r\nHost: a.test\r\n\r\n", [400]),
    "no colon": (b"GET / HTTP/1.1\r\nHost: a.test\r\nX\r\n\r\n", [400]),
    "no name": (b"GET / HTTP/1.1\r\nHost: a.test\r\n: a\r\n\r\n", [400]),
    "fold at the start": (b"GET / HTTP/1.1\r\n Host: a.test\r\n\r\n", [400]),
    "fold": (b"GET / HTTP/1.1\r\nHost: a.test\r\nX: a\r\n b\r\n\r\n", [400]),
    "obs-text": (b"GET / HTTP/1.1\r\nHost: a.test\r\nX: caf\xe9\r\n\r\n", [200]),
    "LF before": (b"\n" + GET, [400]),
    "CR before": (b"\r" + GET, [400]),
    # Request line
    "two blanks": (b"GET  / HTTP/1.1\r\nHost: a.test\r\n\r\n", [400]),
    "blank before": (b" GET / HTTP/1.1\r\nHost: a.test\r\n\r\n", [400]),
    "blank behind": (b"GET / HTTP/1.1 \r\nHost: a.test\r\n\r\n", [400]),
    "tabs": (b"GET\t/\tHTTP/1.1\r\nHost: a.test\r\n\r\n", [400]),
    "blank in the target": (b"GET /a b HTTP/1.1\r\nHost: a.test\r\n\r\n", [400]),
    "version twice": (b"GET / HTTP/1.1 HTTP/1.1\r\nHost: a.test\r\n\r\n", [400]),
    "HTTP/0.9": (b"GET /\r\n\r\n", [505]),
    "HTTP/0.9 by name": (b"GET / HTTP/0.9\r\nHost: a.test\r\n\r\n", [505]),
    "HTTP/1.2": (b"GET / HTTP/1.2\r\nHost: a.test\r\n\r\n", [400]),
    "HTTP/1.10": (b"GET / HTTP/1.10\r\nHost: a.test\r\n\r\n", [400]),
    "HTTP/2.0": (b"GET / HTTP/2.0\r\nHost: a.test\r\n\r\n", [505]),
    "hTTP/1.1": (b"GET / hTTP/1.1\r\nHost: a.test\r\n\r\n", [400]),
    "HTTP /1.1": (b"GET / HTTP /1.1\r\nHost: a.test\r\n\r\n", [400]),
    "preface of HTTP/2": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", [400]),
    "preface behind a request": (GET + b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", [200, 400]),
    "lower case": (b"get / HTTP/1.1\r\nHost: a.test\r\n\r\n", [400]),
    "method of no token": (b"G@T / HTTP/1.1\r\nHost: a.test\r\n\r\n", [400]),
    "CONNECT": (b"CONNECT a.test:80 HTTP/1.1\r\nHost: a.test:80\r\n\r\n", [405]),
    "TRACE": (b"TRACE / HTTP/1.1\r\nHost: a.test\r\n\r\n", [405]),
    "fragment": (b"GET /#x HTTP/1.1\r\nHost: a.test\r\n\r\n", [400]),
    "eighth bit": (b"GET /\xff HTTP/1.1\r\nHost: a.test\r\n\r\n", [400]),
    "asterisk for GET": (b"GET * HTTP/1.1\r\nHost: a.test\r\n\r\n", [400]),
    "asterisk for OPTIONS": (b"OPTIONS * HTTP/1.1\r\nHost: a.test\r\n\r\n", [200]),
    # Host
    "no host": (b"GET / HTTP/1.1\r\n\r\n", [400]),
    "two hosts": (b"GET / HTTP/1.1\r\nHost: a.test\r\nHost: b.test\r\n\r\n", [400]),
    "two hosts, one by a blank": (b"GET / HTTP/1.1\r\nHost: a.test\r\n Host: b.test\r\n\r\n", [400]),
    "host list": (b"GET / HTTP/1.1\r\nHost: a.test, b.test\r\n\r\n", [400]),
    "host with a path": (b"GET / HTTP/1.1\r\nHost: a.test/x\r\n\r\n", [400]),
    "host with a user": (b"GET / HTTP/1.1\r\nHost: b.test@a.test\r\n\r\n", [400]),
    "host with a blank": (b"GET / HTTP/1.1\r\nHost: a.test b.test\r\n\r\n", [400]),
    "host with NUL": (b"GET / HTTP/1.1\r\nHost: a.test\x00.b.test\r\n\r\n", [400]),
    "host with a backslash": (b"GET / HTTP/1.1\r\nHost: a.test\\b.test\r\n\r\n", [400]),
    "another host in the target": (b"GET http://b.test/ HTTP/1.1\r\nHost: a.test\r\n\r\n", [400]),
    "user in the target": (b"GET http://a.test@b.test/ HTTP/1.1\r\nHost: a.test\r\n\r\n", [400]),
    "another scheme": (b"GET ftp://a.test/ HTTP/1.1\r\nHost: a.test\r\n\r\n", [400]),
    "https in plain": (b"GET https://a.test/ HTTP/1.1\r\nHost: a.test\r\n\r\n", [421]),
    "target without a slash": (b"GET x HTTP/1.1\r\nHost: a.test\r\n\r\n", [400]),
    "authority": (b"GET a.test:80 HTTP/1.1\r\nHost: a.test\r\n\r\n", [400]),
    # Hop by hop
    "Connection: host": (b"GET / HTTP/1.1\r\nHost: a.test\r\nConnection: host\r\n\r\n", [400]),
    "Connection: cookie": (b"GET / HTTP/1.1\r\nHost: a.test\r\nConnection: close, Cookie\r\n\r\n", [400]),
    "Connection: x-forwarded-for": (b"GET / HTTP/1.1\r\nHost: a.test\r\nConnection: X-Forwarded-For\r\n\r\n", [400]),
    "Connection: x-real-ip": (b"GET / HTTP/1.1\r\nHost: a.test\r\nConnection: x-real-ip\r\n\r\n", [400]),
    "Connection: authorization": (b"GET / HTTP/1.1\r\nHost: a.test\r\nConnection: authorization\r\n\r\n", [400]),
    "h2c": (
        post(b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: \r\n", method=b"GET") + GET,
        [200, 200],
    ),
    "h2c and a body": (
        post(b"Connection: Upgrade\r\nUpgrade: h2c\r\nContent-Length: %d\r\n" % len(SMUGGLED), SMUGGLED) + GET,
        [200, 200],
    ),
    "websocket and a body": (
        post(b"Connection: Upgrade\r\nUpgrade: websocket\r\nContent-Length: %d\r\n" % len(SMUGGLED), SMUGGLED) + GET,
        [200, 200],
    ),
    "websocket, declined": (post(b"Connection: Upgrade\r\nUpgrade: websocket\r\n") + GET, [200, 200]),
}
