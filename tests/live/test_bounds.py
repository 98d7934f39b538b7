"""Clients that are slow, silent or too many, and descriptors that run out: others do not notice, and all of it ends."""

from __future__ import annotations

import re
import resource
import socket
import statistics
import threading
import time
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest

from .conftest import StartInstance, StartRouter
from .instance import Call, Instance
from .router import Router, rollout, until
from .wire import get

MUCH = b"x" * 12_000_000
"""More than the kernel takes of an answer on both sides together."""
PATIENT = ("--head-seconds", "600")
"""With clients that say nothing for as long as the test takes."""


@pytest.fixture(scope="module")
def instance(start_instance: StartInstance) -> Instance:
    def much(call: Call) -> None:
        call.answer(MUCH)

    made = start_instance()
    made.on("/much", much)
    made.on("/some", lambda call: call.answer(MUCH[:1_000_000]))
    return made


@pytest.fixture(autouse=True)
def descriptors() -> None:
    """As many as the test's own process may have."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def limits(router: Router) -> dict[str, int]:
    """How often each limit acted."""
    found = re.findall(r'_limits_total{.*limit="([^"]+)"} (\S+)', router.metrics())
    return {name: int(float(number)) for name, number in found}


def connect(router: Router, count: int, stack: ExitStack, receives: int = 0) -> list[socket.socket]:
    made = []
    for _ in range(count):
        sock = stack.enter_context(socket.socket())
        if receives:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receives)
        sock.settimeout(30)
        with suppress(ConnectionResetError):  # turned away before we could look
            sock.connect(("127.0.0.1", router.port))
        made.append(sock)
    return made


def is_ended(sock: socket.socket) -> bool:
    try:
        return sock.recv(1) == b""
    except TimeoutError:
        raise
    except OSError:
        return True


def cpu_seconds(router: Router) -> float:
    assert router.process is not None
    fields = Path(f"/proc/{router.process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / 100


def seconds_of(router: Router, clients: int = 32, requests: int = 30) -> list[float]:
    """How long each request of these clients took, the longest last."""
    taken: list[float] = []

    def ask() -> None:
        with router.wire(60) as wire:
            for _ in range(requests):
                began = time.perf_counter()
                assert wire.ask(get()).status == 200
                taken.append(time.perf_counter() - began)

    threads = [threading.Thread(target=ask) for _ in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(taken) == clients * requests
    return sorted(taken)


def told(taken: list[float]) -> str:
    """For people; what is asserted is the median, which stays where it is when the machine halts for a moment."""
    return f"{statistics.median(taken) * 1000:.1f} ms (p99 {taken[len(taken) * 99 // 100] * 1000:.1f} ms)"


def test_a_thousand_slow_clients_do_not_slow_the_others(start_router: StartRouter, instance: Instance) -> None:
    router = start_router(rollout([instance]), *PATIENT)
    seconds_of(router)
    before = seconds_of(router)
    with ExitStack() as stack:
        lorises = connect(router, 900, stack)
        readers = connect(router, 100, stack, receives=4096)
        for sock in readers:
            sock.sendall(get("/some"))
        over = threading.Event()

        def drip() -> None:
            while not over.wait(0.5):
                for sock in lorises:
                    sock.sendall(b"x")
                for sock in readers:
                    sock.recv(100)

        for sock in lorises:
            sock.sendall(b"GET / HTTP/1.1\r\nX: ")
        dripping = threading.Thread(target=drip)
        dripping.start()
        try:
            until(lambda: _is_calm(router), 60, "the answers have gone as far as they go")
            during = seconds_of(router)
        finally:
            over.set()
            dripping.join()
        print(f"32 clients: {told(before)} alone, {told(during)} among 1,000 slow ones")
        assert statistics.median(during) < max(10 * statistics.median(before), 2.0)
        assert lorises[0].send(b"x") == 1


def _is_calm(router: Router) -> bool:
    before = cpu_seconds(router)
    time.sleep(0.5)
    return cpu_seconds(router) - before < 0.2


def test_slow_heads_and_slow_readers_end(start_router: StartRouter, instance: Instance) -> None:
    # One for each: who is to read slowly may be slow to ask, too, on a busy machine.
    heads = start_router(rollout([instance]), "--head-seconds", "1")
    bodies = start_router(rollout([instance]), "--body-seconds", "1")
    with ExitStack() as stack:
        (loris,) = connect(heads, 1, stack)
        (reader,) = connect(bodies, 1, stack, receives=4096)
        reader.sendall(get("/much"))
        with suppress(OSError):
            loris.sendall(b"GET / HTTP/1.1\r\n")
        until(lambda: _send(loris, b"X") is False, 90, "the head that trickles is refused, and its lingering ended")
        until(lambda: limits(bodies)["body-seconds"] >= 1, 60, "the reader that does not read is let go")
        assert limits(heads)["head-seconds"] == 1


def _send(sock: socket.socket, data: bytes) -> bool:
    time.sleep(0.05)
    with suppress(OSError):
        sock.sendall(data)
        return True
    return False


def test_ten_thousand_idle_clients_do_not_disturb_the_others(start_router: StartRouter, instance: Instance) -> None:
    count = min(10_000, resource.getrlimit(resource.RLIMIT_NOFILE)[1] - 1000)
    router = start_router(rollout([instance]), "--connections-most", "12000", *PATIENT)
    empty = router.rss()
    with ExitStack() as stack:
        idle = connect(router, count, stack)
        until(lambda: router.status()["counts"]["clients_open"] >= count, 180, "all of them are in")
        during, size = seconds_of(router, clients=8), (router.rss() - empty) // count
        print(f"8 clients among {count} idle ones: {told(during)}; {size} bytes each")
        assert statistics.median(during) < 2.0
        idle[-1].sendall(get())
        assert idle[-1].recv(12) == b"HTTP/1.1 200"
    until(lambda: router.status()["counts"]["clients_open"] == 0, 180, "all of them are gone")
    assert limits(router)["connections-most"] == 0


def test_clients_beyond_the_most_are_reset_and_the_others_served(start_router: StartRouter, instance: Instance) -> None:
    router = start_router(rollout([instance]), "--connections-most", "20", *PATIENT)
    with ExitStack() as stack:
        first = connect(router, 20, stack)
        until(lambda: router.status()["counts"]["clients_open"] == 20)
        assert all(map(is_ended, connect(router, 10, stack)))
        assert limits(router)["connections-most"] == 10
        first[0].sendall(get())
        assert first[0].recv(12) == b"HTTP/1.1 200"
        first[1].close()
        until(lambda: router.status()["counts"]["clients_open"] == 19)
        assert router.ask(get()).status == 200


def test_one_address_has_so_many_connections(start_router: StartRouter, instance: Instance) -> None:
    router = start_router(rollout([instance]), "--connections-per-client", "3", *PATIENT)
    with ExitStack() as stack:
        connect(router, 3, stack)
        until(lambda: router.status()["counts"]["clients_open"] == 3)
        assert is_ended(connect(router, 1, stack)[0])
        assert limits(router)["connections-per-client"] == 1


def test_out_of_descriptors_it_sheds_and_recovers_and_never_spins(
    start_router: StartRouter, instance: Instance
) -> None:
    router = start_router(rollout([instance]), "--connections-most", "100000", *PATIENT)
    assert router.process is not None
    with router.wire() as kept, ExitStack() as stack:
        assert kept.ask(get()).status == 200  # it has its connection to the instance, and keeps it for a while
        whole = resource.prlimit(router.process.pid, resource.RLIMIT_NOFILE)
        resource.prlimit(router.process.pid, resource.RLIMIT_NOFILE, (120, whole[1]))
        crowd = connect(router, 300, stack)
        time_began, cpu_began = time.monotonic(), cpu_seconds(router)
        until(lambda: kept.ask(get()).status in (200, 503), 20, "who is in is answered")
        until(lambda: time.monotonic() - time_began > 2, 20)
        assert cpu_seconds(router) - cpu_began < 1.0, "it spins"
        assert any(map(is_ended, crowd[-50:]))
        for sock in crowd:
            sock.close()
        # Those that were waiting in the kernel come, and go.
        until(lambda: _answers(router), 30, "new clients are served again")
        assert kept.ask(get()).status == 200
        resource.prlimit(router.process.pid, resource.RLIMIT_NOFILE, whole)
    assert router.status()["snapshot"]["stable"]["instances"][0]["usable"], "it was none of the instance's fault"


def _answers(router: Router) -> bool:
    with suppress(OSError, AssertionError, ValueError):
        return bool(router.ask(get(), 2).status == 200)
    return False
