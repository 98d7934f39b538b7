"""
bench.pages: what open settings pages cost the proxy. ``python -m bench.pages`` measures the CPU of a request with none
and with `PAGES` pages listening, in turn, on one router, and prints the median of the rounds' ratios.

The pages are a process of their own: ``python -m bench.pages PORT COUNT`` listens to the live events, as browsers do.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import selectors
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import attrs

from bench import origin
from bench.load import WORKLOADS
from bench.measure import started, under_load
from bench.peers import OURS, PEERS, Peer, Place, environ, find_program, ours
from bench.running import ROOT, Cores, Running, Trouble, free_port, running

PAGES = 50
TOKEN = "rrt_of-the-benchmark-and-nobody-else"
_HEAD = (
    "GET /api/v1/events HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {}\r\nAccept: text/event-stream\r\n\r\n"
)


@contextlib.contextmanager
def pages(port: int, count: int) -> Iterator[None]:
    """
    Have so many pages open.

    :param port: the settings port.    :raises Trouble: they are not told anything.
    """
    if not count:
        yield
        return
    argv = [sys.executable, "-m", "bench.pages", str(port), str(count)]
    process = subprocess.Popen(argv, cwd=ROOT, stdout=subprocess.PIPE, text=True, start_new_session=True)
    assert process.stdout is not None
    try:
        if (line := process.stdout.readline().strip()) != "all":
            raise Trouble(f"{count} pages were to be told what happens: {line or 'they ended'}")
        yield
        if process.poll() is not None:
            raise Trouble("the pages have ended")
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def listen(port: int, count: int) -> None:
    """The pages' process: read all events of all streams, for ever; say so once each has had a sample."""
    waiting = selectors.DefaultSelector()
    told: set[int] = set()
    for number in range(count):
        page = socket.create_connection(("127.0.0.1", port), timeout=20)
        page.sendall(_HEAD.format(TOKEN).encode("ascii"))
        waiting.register(page, selectors.EVENT_READ, number)
    while True:
        for key, _ in waiting.select():
            piece = key.fileobj.recv(1 << 16)  # type: ignore[union-attr]  # all are sockets
            if not piece:
                print("the router has ended a stream", flush=True)
                return
            if b"event: sample" in piece and key.data not in told:
                told.add(key.data)
                if len(told) == count:
                    print("all", flush=True)


@attrs.define
class Pairs:
    """Rounds, each with and without pages: the CPU of a request in µs."""

    rounds: int
    seconds: int
    without: list[float] = attrs.field(factory=list)
    with_: list[float] = attrs.field(factory=list)
    failed: int = 0

    def measure(self, proxy: Running, admin: int) -> None:
        under_load(proxy, WORKLOADS[0], 1, ())  # warm
        for number in range(1, self.rounds + 1):
            # Which comes first changes, so that a machine that slows down does not look like a cost.
            for count in (0, PAGES) if number % 2 else (PAGES, 0):
                with pages(admin, count):
                    numbers, failed = under_load(proxy, WORKLOADS[0], self.seconds, ())
                (self.with_ if count else self.without).append(numbers["cpu_us"])
                self.failed += failed
                said = f"round {number}/{self.rounds}  {count:2} pages  {numbers['cpu_us']:.1f} µs/req"
                print(f"{said}  {numbers['rate']:,.0f} req/s", file=sys.stderr, flush=True)

    def result(self) -> dict[str, float]:
        ratios = [one / other for one, other in zip(self.with_, self.without, strict=True)]
        return {
            "pages": PAGES,
            "cpu_us_without": round(statistics.median(self.without), 2),
            "cpu_us_with": round(statistics.median(self.with_), 2),
            "ratio": round(statistics.median(ratios), 3),
            "failed": self.failed,
        }


def main() -> int:
    """:returns: 0 when all requests and pages were served."""
    parser = argparse.ArgumentParser(prog="python -m bench.pages", description=(__doc__ or "").split(". ", 1)[1])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=int, default=3)
    parser.add_argument("listen", nargs="*", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.listen:
        listen(*options.listen)
        return 1
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # unwinds, and thereby ends what was started
    cores = Cores.share_out(sorted(os.sched_getaffinity(0)))
    os.sched_setaffinity(0, cores.rest)
    os.environ["ROLLING_ROUTER_TOKEN"] = TOKEN  # for the router, which inherits it
    pairs, admin = Pairs(options.rounds, options.seconds), free_port()
    try:
        with contextlib.ExitStack() as stack:
            directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-pages-")))
            behind = free_port()
            program, *rest = origin.prepare(directory, behind)
            stack.enter_context(
                running([find_program(program), *rest], behind, directory, cores.rest, environ(directory))
            )
            pairs.measure(stack.enter_context(started(_router(admin), behind, cores)), admin)
    except Trouble as trouble:
        print(f"TROUBLE: {trouble}", file=sys.stderr)
        return 1
    print(json.dumps(pairs.result()))
    return 1 if pairs.failed else 0


def _router(admin: int) -> Peer:
    """Our peer, with a settings port that is known."""
    usual = next(peer for peer in PEERS if peer.name == OURS)

    def prepare(place: Place) -> list[str]:
        argv = ours(place)
        argv[argv.index("--admin") + 1] = f"tcp:{admin}:interface=127.0.0.1"
        return argv

    return attrs.evolve(usual, prepare=prepare)


if __name__ == "__main__":
    sys.exit(main())
