"""bench.measure: one measurement of one peer, as a `Sample`."""

from __future__ import annotations

import contextlib
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import attrs

from bench.cpu import cpu_seconds, memory_bytes
from bench.idle import idle_clients
from bench.load import Workload, run_wrk
from bench.origin import verify
from bench.peers import Peer, Place, environ, find_program
from bench.running import Cores, Running, free_port, running

IDLE = "idle"
IDLE_CLIENTS = 10_000


@attrs.frozen
class Sample:
    """
    What one measurement gave.

    :ivar row: who was measured: a peer's name, or that and how its clients behaved.
    :ivar numbers: `rate` (requests a second), `cpu_us` (a request), `busy` (share of one core), `p50_ms`, `p99_ms`;
        or `memory_mb` (of the tree, all clients connected), `client_kb` (what each client added).
    :ivar failed: requests without a good answer, or idle clients that were cut off. Should be 0.
    """

    round: int
    workload: str
    row: str
    numbers: Mapping[str, float]
    failed: int


@contextlib.contextmanager
def started(peer: Peer, origin: int, cores: Cores) -> Iterator[Running]:
    """
    Start a peer in a temporary directory, see that it answers as the origin does, and end it afterwards.

    :raises Trouble: it is not there, does not start, or spoils an answer.
    """
    with tempfile.TemporaryDirectory(prefix=f"bench-{peer.name}-") as name:
        place = Place(Path(name), free_port(), origin)
        program, *rest = peer.prepare(place)
        argv = [find_program(program), *rest]
        with running(argv, place.port, place.directory, cores.proxy, environ(place.directory)) as proxy:
            verify(proxy.port)
            yield proxy


Measured = tuple[dict[str, float], int]
"""The numbers and the count of failures of a `Sample`."""


def under_load(proxy: Running, workload: Workload, seconds: int, headers: Sequence[str]) -> Measured:
    """
    Measure requests.

    :raises Trouble: wrk failed, or the peer has ended.
    """
    cpu, began = cpu_seconds(proxy.pid), time.monotonic()
    load = run_wrk(workload, proxy.port, seconds, headers, proxy.log.parent)
    used, took = cpu_seconds(proxy.pid) - cpu, time.monotonic() - began
    proxy.check()
    numbers = {
        "rate": load.rate,
        "cpu_us": used / load.requests * 1e6 if load.requests else float("inf"),
        "busy": used / took,
        "p50_ms": load.p50_ms,
        "p99_ms": load.p99_ms,
    }
    return numbers, load.failed or int(not load.requests)


def with_idle_clients(proxy: Running, count: int = IDLE_CLIENTS) -> Measured:
    """
    Measure memory, of a peer just started.

    :raises Trouble: not all clients were served, or the peer has ended.
    """
    before = memory_bytes(proxy.pid)
    with idle_clients(proxy.port, count) as dismiss:
        after = memory_bytes(proxy.pid)
        lost = dismiss()
    proxy.check()
    return {"memory_mb": after / 2**20, "client_kb": (after - before) / count / 1024}, lost
