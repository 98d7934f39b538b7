"""An instance that a test holds by the hand: it keeps what reached it, and answers well, badly or not at all."""

from __future__ import annotations

import hashlib
import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import attrs

from tests.ports import free_port

from .wire import Fields, chunked, reset

SECONDS = 30.0


class Gone(Exception):
    """The router ended the connection."""


@attrs.define(eq=False)
class Call:
    """
    One request that reached the instance, and the means to answer it.

    :ivar head: its bytes, to the empty line.    :ivar connection: which of the instance's connections it came on.
    """

    sock: socket.socket
    file: Any
    connection: int
    head: bytes
    body: bytes = b""
    trailers: Fields = attrs.field(factory=list)
    keeps: bool = True

    @property
    def method(self) -> bytes:
        return self.head.split(b" ", 1)[0]

    @property
    def target(self) -> bytes:
        return self.head.split(b" ", 2)[1]

    @property
    def fields(self) -> Fields:
        lines = self.head[:-4].split(b"\r\n")[1:]
        return [(name, value[1:]) for name, _, value in (line.partition(b":") for line in lines)]

    def all(self, name: bytes) -> list[bytes]:
        return [value for key, value in self.fields if key.lower() == name.lower()]

    def one(self, name: bytes) -> bytes | None:
        values = self.all(name)
        assert len(values) < 2, (name, values)
        return values[0] if values else None

    # Reading

    def read_body(self) -> bytes:
        """The whole of it."""
        if self.one(b"Transfer-Encoding") is not None:
            pieces = []
            while size := int(self.file.readline().partition(b";")[0] or b"-", 16):
                pieces.append(self._exactly(size))
                self._exactly(2)
            while (line := self.file.readline()) not in (b"\r\n", b""):
                name, _, value = line.partition(b":")
                self.trailers.append((name, value.strip()))
            self.body = b"".join(pieces)
        else:
            self.body = self._exactly(int(self.one(b"Content-Length") or 0))
        return self.body

    def _exactly(self, count: int) -> bytes:
        data = self.file.read(count)
        if len(data) < count:
            raise Gone
        return bytes(data)

    # Answering

    def send(self, data: bytes) -> None:
        self.sock.sendall(data)

    def answer(self, body: bytes = b"", *fields: str, status: str = "200 OK") -> None:
        """A whole answer of known length."""
        lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *fields, "", ""]
        self.send("\r\n".join(lines).encode("latin-1") + (b"" if self.method == b"HEAD" else body))

    def answer_chunked(self, *pieces: bytes, fields: str = "", trailers: bytes = b"") -> None:
        self.send(f"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n{fields}\r\n".encode())
        self.send(chunked(*pieces, trailers=trailers))

    def close(self) -> None:
        """End the connection in good order."""
        self.keeps = False
        with suppress(OSError):
            self.sock.shutdown(socket.SHUT_RDWR)

    def reset(self) -> None:
        self.keeps = False
        self.file.close()
        reset(self.sock)

    def is_left(self) -> bool:
        """Wait until the router ends the connection, and read all that comes before."""
        self.keeps = False
        with suppress(OSError):
            while self.file.read1(1 << 16):
                pass
        return True


Behaviour = Callable[[Call], None]


class Instance:
    """
    One running copy of a version.

    :ivar calls: every request whose head came, in order.    :ivar connections: how many were made to it.
    """

    def __init__(self, version: str = "1.0", name: str = "a", port: int | None = None) -> None:
        self.version = version
        self.name = name
        self.calls: list[Call] = []
        self.connections = 0
        self.failures: list[BaseException] = []
        self._behaviours: dict[str, Behaviour] = {}
        self._open: set[socket.socket] = set()
        self._lock = threading.Lock()
        self.port = port or free_port()  # nobody else gets it while this one is away
        self.start()

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    def on(self, path: str, behave: Behaviour) -> None:
        """Behave so for requests of this path (without its query), from now on."""
        self._behaviours[path] = behave

    def start(self) -> None:
        """Listen, also once more."""
        self._listening = socket.create_server(("127.0.0.1", self.port), backlog=1024)
        threading.Thread(target=self._accept, args=(self._listening,), daemon=True).start()

    def stop(self) -> None:
        """Die: no new connections, and the open ones end by RST."""
        with suppress(OSError):
            self._listening.shutdown(socket.SHUT_RDWR)  # wakes the thread that accepts
        with self._lock:
            self._listening.close()
        self.hang_up()

    def hang_up(self) -> None:
        """End all connections in good order."""
        with self._lock:
            for sock in self._open:
                with suppress(OSError):
                    sock.shutdown(socket.SHUT_RDWR)

    def _accept(self, listening: socket.socket) -> None:
        with suppress(OSError):
            while True:
                sock = listening.accept()[0]
                with self._lock:
                    if listening.fileno() == -1:  # it came when we had stopped
                        sock.close()
                        return
                    self._open.add(sock)
                self.connections += 1
                threading.Thread(target=self._serve, args=(sock, self.connections), daemon=True).start()

    def _serve(self, sock: socket.socket, number: int) -> None:
        sock.settimeout(SECONDS)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        file = sock.makefile("rb", buffering=1 << 16)
        try:
            while self._serve_one(sock, file, number):
                pass
        except (OSError, Gone, ValueError):
            pass  # the router's side of the test says what it makes of that
        except BaseException as failure:
            self.failures.append(failure)
        finally:
            with self._lock:
                self._open.discard(sock)
            with suppress(OSError):
                file.close()
            sock.close()

    def _serve_one(self, sock: socket.socket, file: Any, number: int) -> bool:
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            line = file.readline()
            if not line:
                return False
            head += line
        call = Call(sock, file, number, head)
        self.calls.append(call)
        path = call.target.decode("latin-1").partition("?")[0]
        self._behaviours.get(path, self.greet)(call)
        return call.keeps

    def marks(self) -> tuple[str, str]:
        """The fields by which a client knows who answered."""
        return f"X-Version: {self.version}", f"X-Instance: {self.name}"

    def greet(self, call: Call) -> None:
        """What it does unless told otherwise: say who it is, and what came."""
        body = call.read_body()
        digest = f"X-Sha256: {hashlib.sha256(body).hexdigest()}"
        call.answer(f"{self.version} {self.name}\n".encode(), *self.marks(), digest, f"X-Length: {len(body)}")
