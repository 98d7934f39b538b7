"""
hello_world: the demo application of the tutorial, as one file and with the standard library alone: the emulator starts
one process for each container, often many at a time. Run as a program; imports nothing of the project.

`hello_world.py VERSION`, with PORT and perhaps HOST, VERSION and COLOUR in the environment.
"""

from __future__ import annotations

import html
import os
import secrets
import signal
import socket
import sys
import threading
import time
import zlib
from collections import OrderedDict
from http.cookies import CookieError, SimpleCookie
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs

COLOURS = {"1.0.0": "yellow", "1.0.1": "green", "1.0.2": "orange"}
OTHERS = ("lightblue", "pink", "lightgreen", "khaki", "plum", "salmon", "turquoise", "wheat")
COOKIE = "hello_session"
SESSIONS_KEPT = 10_000

PAGE = """\
<!doctype html>
<html lang="en">
<head><meta charset="utf-8"><title>Hello World {version}</title></head>
<body style="background: {colour}; font-family: sans-serif; text-align: center; padding-top: 20vh">
<h1>Running Hello World v. {version}</h1>
<p>Visits in this session: {visits}</p>
</body>
</html>
"""


def colour(version: str) -> str:
    """The tutorial's for its versions, else one that stays the same for the version."""
    return COLOURS.get(version) or OTHERS[zlib.crc32(version.encode()) % len(OTHERS)]


class HelloWorld(ThreadingHTTPServer):
    """
    Serves the page at every path, `/healthz`, and `/slow?seconds=2`, which is the page a little later.

    Sessions are in memory: another container does not know them.
    """

    daemon_threads = False
    request_queue_size = 1024

    def __init__(self, address: tuple[str, int], version: str, background: str) -> None:
        self.version = version
        self.background = background
        self._visits: OrderedDict[str, int] = OrderedDict()
        self._open: set[socket.socket] = set()
        self.is_ending = False
        self._lock = threading.Lock()
        self.address_family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        super().__init__(address, Answers)

    def count(self, session: str | None) -> tuple[str, int]:
        """One visit more. An unknown session gets a new name: to adopt a client's own would let others choose it."""
        with self._lock:
            if session is None or session not in self._visits:
                session = secrets.token_hex(16)
            self._visits[session] = self._visits.pop(session, 0) + 1
            while len(self._visits) > SESSIONS_KEPT:
                self._visits.popitem(last=False)
            return session, self._visits[session]

    def opened(self, connection: socket.socket) -> None:
        with self._lock:
            self._open.add(connection)
            if self.is_ending:
                _stop_reading(connection)

    def closed(self, connection: socket.socket) -> None:
        with self._lock:
            self._open.discard(connection)

    def end(self) -> None:
        """Accept no more, let what has been asked be answered, and close what is idle."""
        self.shutdown()
        self.socket.close()
        with self._lock:
            self.is_ending = True
            for connection in self._open:
                _stop_reading(connection)
        self.server_close()


class Answers(BaseHTTPRequestHandler):
    """One connection."""

    protocol_version = "HTTP/1.1"
    wbufsize = -1  # one write for head and body
    disable_nagle_algorithm = True
    timeout = 120
    server: HelloWorld

    def setup(self) -> None:
        super().setup()
        self.server.opened(self.connection)

    def finish(self) -> None:
        self.server.closed(self.connection)
        try:
            super().finish()
        except OSError:
            pass  # the client has left

    def do_GET(self) -> None:
        path, _, query = self.path.partition("?")
        if path == "/healthz":
            return self._send("ok\n", "text/plain; charset=utf-8")
        if path == "/slow":
            time.sleep(_seconds(query))
        sent = self._session()
        session, visits = self.server.count(sent)
        told = {"version": html.escape(self.server.version), "colour": html.escape(self.server.background)}
        cookie = None if session == sent else f"{COOKIE}={session}; Path=/; HttpOnly; SameSite=Lax"
        self._send(PAGE.format(visits=visits, **told), "text/html; charset=utf-8", cookie)

    do_HEAD = do_GET

    def _session(self) -> str | None:
        try:
            cookies = SimpleCookie(self.headers.get("Cookie", ""))
        except CookieError:
            return None
        return cookies[COOKIE].value if COOKIE in cookies else None

    def _send(self, text: str, content_type: str, cookie: str | None = None) -> None:
        body = text.encode("utf-8")
        self.send_response(200)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Cache-Control", "no-store")
        self.send_header("X-Version", self.server.version)
        if self.server.is_ending:
            self.send_header("Connection", "close")  # which also ends it here
        if cookie is not None:
            self.send_header("Set-Cookie", cookie)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, *arguments: object) -> None:
        """Nothing: what was asked is the router's to log."""


def _stop_reading(connection: socket.socket) -> None:
    try:
        connection.shutdown(socket.SHUT_RD)
    except OSError:
        pass  # its client was quicker


def _seconds(query: str) -> float:
    """How long to wait: 2 unless the query has a better number, and at most a minute."""
    try:
        return min(60.0, max(0.0, float(parse_qs(query)["seconds"][-1])))
    except (KeyError, ValueError):
        return 2.0


def main() -> None:
    """Serve until a signal comes."""
    version = os.environ.get("VERSION") or (sys.argv[1] if len(sys.argv) > 1 else "1.0.0")
    address = (os.environ.get("HOST") or "127.0.0.1", int(os.environ.get("PORT") or 3000))
    server = HelloWorld(address, version, os.environ.get("COLOUR") or colour(version))
    told = threading.Event()
    for sign in (signal.SIGTERM, signal.SIGINT):
        signal.signal(sign, lambda *_: told.set())
    threading.Thread(target=server.serve_forever, args=(0.1,), daemon=True).start()
    host = f"[{address[0]}]" if ":" in address[0] else address[0]
    print(f"Hello World {version} answers at http://{host}:{address[1]}/", flush=True)
    told.wait()
    server.end()


if __name__ == "__main__":
    main()
