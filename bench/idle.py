"""
bench.idle: clients that came once and stay connected. A process of their own, because each holds a descriptor:
``python -m bench.idle PORT COUNT`` says when it has them all, waits for the end of its input, says how many it lost.
"""

from __future__ import annotations

import contextlib
import json
import select
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator

from bench.running import ROOT, Trouble

_REQUEST = b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
_SECONDS = 120


@contextlib.contextmanager
def idle_clients(port: int, count: int) -> Iterator[Callable[[], int]]:
    """
    Hold `count` connections, each after one good answer.

    :returns: a function that ends the clients and says how many had been cut off meanwhile.
    :raises Trouble: not all of them were served.
    """
    argv = [sys.executable, "-m", "bench.idle", str(port), str(count)]
    process = subprocess.Popen(
        argv, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    try:
        told = _line(process)
        if told != {"held": count}:
            raise Trouble(f"{count} idle clients were to be served: {told}")
        yield lambda: _dismiss(process)
    finally:
        process.kill()
        process.wait()
        process.stdin.close()
        process.stdout.close()


def _dismiss(process: subprocess.Popen[str]) -> int:
    process.stdin.close()
    return int(_line(process)["lost"])


def _line(process: subprocess.Popen[str]) -> dict:
    readable, _, _ = select.select([process.stdout], [], [], _SECONDS)
    if not readable:
        raise Trouble(f"the idle clients did not come about within {_SECONDS} seconds")
    line = process.stdout.readline()
    if not line:
        raise Trouble("the idle clients' process has ended")
    return json.loads(line)


def main(port: int, count: int) -> None:
    """The clients' process."""
    clients: list[socket.socket] = []
    try:
        while len(clients) < count:
            clients.append(_visit(port))
    except OSError as wrong:
        print(json.dumps({"held": len(clients), "then": str(wrong)}), flush=True)
        return
    print(json.dumps({"held": len(clients)}), flush=True)
    sys.stdin.read()
    print(json.dumps({"lost": sum(map(_is_lost, clients))}), flush=True)


def _visit(port: int) -> socket.socket:
    client = socket.create_connection(("127.0.0.1", port), timeout=20)
    client.sendall(_REQUEST)
    head, _, body = _receive_until(client, lambda seen: b"\r\n\r\n" in seen).partition(b"\r\n\r\n")
    if not head.startswith(b"HTTP/1.1 200"):
        raise OSError(f"the answer was {head[:60]!r}")
    _read_body(client, head.lower(), body)
    return client


def _read_body(client: socket.socket, head: bytes, body: bytes) -> None:
    if b"transfer-encoding: chunked" in head:
        _receive_until(client, lambda seen: seen.endswith(b"0\r\n\r\n"), body)
        return
    length = int(head.partition(b"content-length:")[2].split(b"\r\n")[0])
    _receive_until(client, lambda seen: len(seen) >= length, body)


def _receive_until(client: socket.socket, is_enough: Callable[[bytes], bool], seen: bytes = b"") -> bytes:
    while not is_enough(seen):
        more = client.recv(65536)
        if not more:
            raise OSError("the connection was closed inside the answer")
        seen += more
    return seen


def _is_lost(client: socket.socket) -> bool:
    """Nothing was asked, so anything that is there to read is the end."""
    client.setblocking(False)
    try:
        client.recv(1)
    except BlockingIOError:
        return False
    except OSError:
        return True
    return True


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
