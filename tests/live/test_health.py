"""Instances that fail in real ways, behind the real process: nobody but them should notice."""

from __future__ import annotations

import socket
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress

import pytest

from .conftest import StartInstance, StartRouter
from .instance import Call
from .router import APP, Router, rollout, until
from .wire import get, post, reset

PROBES = "--health-path=/healthz", "--health-interval-seconds=0.2", "--health-timeout-seconds=20"


def problems(router: Router) -> dict[str, tuple[str, str]]:
    """Who is out -> the role, and how that came."""
    return {one["instance"]: (one["role"], one["state"]) for one in router.status()["health"]["problems"]}


def metric(router: Router, name: str, **labels: str) -> float:
    total = 0.0
    for line in router.metrics().splitlines():
        if line.startswith(f"rolling_router_{name}{{") and all(f'{key}="{is_}"' in line for key, is_ in labels.items()):
            total += float(line.rpartition(" ")[2])
    return total


def ill(call: Call) -> None:
    call.answer(b"ill", status="503 Service Unavailable")


def served(router: Router, count: int, raw: bytes = get("/")) -> Counter[str]:
    """Who answered so many requests, all of which must be answered well."""
    found: Counter[str] = Counter()
    for _ in range(count):
        answer = router.ask(raw)
        assert answer.status == 200, answer
        found[answer.one(b"X-Instance").decode()] += 1
    return found


def test_a_candidate_that_is_not_well_gets_nothing_until_it_is(
    start_router: StartRouter, start_instance: StartInstance
) -> None:
    stable, candidate = start_instance("1.0", "s"), start_instance("1.1", "c")
    router = start_router(rollout([stable]), *PROBES)
    candidate.on("/healthz", ill)
    router.put(rollout([stable], [candidate], 100))
    assert served(router, 20) == {"s": 20}
    until(lambda: problems(router) == {candidate.address: ("candidate", "unproven")})
    until(lambda: "candidate 1.1: new instance" in router.output())
    candidate.on("/healthz", candidate.greet)
    until(lambda: problems(router) == {})
    assert served(router, 20) == {"c": 20}
    candidate.on("/healthz", ill)
    until(lambda: problems(router) == {candidate.address: ("candidate", "down")})
    assert served(router, 10) == {"s": 10}
    said = [line for line in router.output().splitlines() if "candidate 1.1: instance" in line and "in a row" in line]
    assert len(said) == 1, "once for the change, however often it is asked"
    assert metric(router, "probes_total", result="failed") >= 3
    assert metric(router, "usable_instances", role="candidate") == 0
    assert "Factory" not in router.output().partition("routing on")[2], "no line for each probe"


def test_a_router_that_starts_asks_before_it_serves(start_router: StartRouter, start_instance: StartInstance) -> None:
    well, sick = start_instance("1.0", "well"), start_instance("1.0", "sick")
    sick.on("/healthz", ill)
    router = start_router(rollout([well, sick]), *PROBES)
    assert served(router, 30) == {"well": 30}


def test_with_nobody_well_what_there_is_is_tried(start_router: StartRouter, start_instance: StartInstance) -> None:
    sick = start_instance("1.0", "sick")
    sick.on("/healthz", ill)
    router = start_router(rollout([sick]), *PROBES)
    assert served(router, 5) == {"sick": 5}


def test_the_store_turns_probes_on_and_names_what_it_cannot_mean(
    start_router: StartRouter, start_instance: StartInstance
) -> None:
    well, sick = start_instance("1.0", "well"), start_instance("1.0", "sick")
    sick.on("/up", ill)
    router = start_router(rollout([well, sick]))
    assert set(served(router, 10)) == {"well", "sick"}
    health = {f"rolling/{APP}/health/path": "/up", f"rolling/{APP}/health/interval-seconds": "0.1"}
    router.put({**rollout([well, sick]), **health, f"rolling/{APP}/health/fall": "never"})
    until(lambda: problems(router) == {sick.address: ("stable", "down")})
    assert served(router, 10) == {"well": 10}
    named = [one["key"] for one in router.status()["snapshot"]["problems"]]
    assert named == [f"rolling/{APP}/health/fall"]
    assert "health probes: GET /up every 0.1 s, 2 s for the answer; 3 failed in a row take" in router.output()
    router.put(rollout([well, sick]))
    until(lambda: problems(router) == {})
    assert "health probes: off" in router.output()
    assert f"stable 1.0: instance {sick.address} is no longer asked, and gets traffic" in router.output()
    assert f"instance {well.address} is no longer asked" not in router.output()


# Traffic


class Rogue:
    """A server that takes connections, reads a request, and then does something rude; it counts what it read."""

    def __init__(self, version: str, name: str, rudeness: str) -> None:
        self.version, self.name = version, name
        self.rudeness = rudeness
        self.seen: list[bytes] = []
        self._open: list[socket.socket] = []
        self._listening = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.address = f"127.0.0.1:{self._listening.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                sock = self._listening.accept()[0]
                self._open.append(sock)
                threading.Thread(target=self._serve, args=(sock,), daemon=True).start()

    def _serve(self, sock: socket.socket) -> None:
        with suppress(OSError):
            sock.settimeout(30)
            got = sock.recv(65536)
            if got:
                self.seen.append(got)
            if self.rudeness == "reset":
                reset(sock)
            elif self.rudeness == "cut":
                sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf")
                reset(sock)
            elif self.rudeness == "nonsense":
                sock.sendall(b"SSH-2.0-OpenSSH_9.2\r\n\r\n")
                sock.close()
            else:
                assert self.rudeness == "silence"

    def close(self) -> None:
        self._listening.close()
        for sock in self._open:
            sock.close()


@pytest.fixture
def rogue() -> Iterator:
    made: list[Rogue] = []

    def make(*arguments: str) -> Rogue:
        made.append(Rogue(*arguments))
        return made[-1]

    yield make
    for one in made:
        one.close()


def test_no_get_fails_by_a_candidate_that_resets_and_no_post_comes_twice(
    start_router: StartRouter, start_instance: StartInstance, rogue
) -> None:
    stable = start_instance("1.0", "s")
    bad = rogue("1.1", "c", "reset")
    router = start_router(rollout([stable], [bad], 50))
    assert served(router, 20) == {"s": 20}
    assert len(bad.seen) == 10, "the blend is exact, for it is the last of its version and not left alone"
    assert metric(router, "failed_attempts_total", role="candidate", reason="reset") == 10
    assert metric(router, "retries_total", reason="reset") == 10

    before = len(stable.calls)
    statuses = Counter(router.ask(post(b"order %d" % at)).status for at in range(20))
    assert statuses == {200: 10, 502: 10}
    posts = [call for call in stable.calls[before:] if call.method == b"POST"]
    sent = [seen for seen in bad.seen if seen.startswith(b"POST")]
    assert (len(posts), len(sent)) == (10, 10)
    bodies = [call.body for call in posts] + [seen.partition(b"\r\n\r\n")[2] for seen in sent]
    assert sorted(bodies) == sorted(b"order %d" % at for at in range(20)), "each came to one instance, once"


@pytest.mark.parametrize("rudeness", ["reset", "cut", "nonsense", "silence"])
def test_an_instance_that_takes_requests_and_fails_them_is_left_alone(
    start_router: StartRouter, start_instance: StartInstance, rogue, rudeness: str
) -> None:
    good, bad = start_instance("1.0", "good"), rogue("1.0", "bad", rudeness)
    router = start_router(rollout([good, bad]), *(["--answer-seconds=2"] if rudeness == "silence" else []))

    def ask() -> None:
        with router.wire() as wire, suppress(OSError):
            wire.ask(get("/"))

    said = f"stable 1.0: instance {bad.address} is left alone for 1 s"
    for _ in range(12):
        ask()
        if said in router.output():
            break
    until(lambda: len(bad.seen) >= 3, what="it has read what it was sent")
    assert len(bad.seen) == 3
    assert metric(router, "ejections_total", role="stable") >= 1

    def is_shown() -> bool:  # that second may be over; each time it fails, it is left alone for longer
        ask()
        return problems(router).get(bad.address) == ("stable", "ejected")

    until(is_shown, what="the status shows it")


def test_a_burst_of_503_goes_elsewhere_where_that_is_chosen_and_comes_back(
    start_router: StartRouter, start_instance: StartInstance
) -> None:
    good, bursts = start_instance("1.0", "good"), start_instance("1.0", "bursts")
    chosen = "--retry-statuses=503", "--eject-statuses=503", "--slow-start-seconds=0"
    router = start_router(rollout([good, bursts]), *chosen)
    bursts.on("/", ill)
    assert served(router, 40) == {"good": 40}
    times = metric(router, "ejections_total", role="stable")  # more than one, if its time came again meanwhile
    assert len(bursts.calls) == 2 + times >= 3, "left alone after three, and after each one from then on"
    bursts.on("/", bursts.greet)
    until(lambda: served(router, 4)["bursts"] == 2, 40)
    named = f"stable 1.0: instance {bursts.address}"
    assert f"{named} is left alone for 1 s (status): it answered with status 503" in router.output()
    assert router.output().count(f"{named} answers again and gets traffic") == 1


def test_one_that_flaps_costs_nobody_a_get(start_router: StartRouter, start_instance: StartInstance) -> None:
    good, flaps = start_instance("1.0", "good"), start_instance("1.0", "flaps")
    router = start_router(rollout([good, flaps]), *PROBES, "--slow-start-seconds=0")
    found: Counter[str] = Counter()
    for _ in range(4):
        flaps.stop()
        found += served(router, 15)
        flaps.start()
        found += served(router, 15)
    assert sum(found.values()) == 120


def test_every_worker_asks_for_itself(start_router: StartRouter, start_instance: StartInstance) -> None:
    well, sick = start_instance("1.0", "well"), start_instance("1.0", "sick")
    sick.on("/healthz", ill)
    router = start_router(rollout([well, sick]), *PROBES, "--workers=2")
    assert served(router, 30) == {"well": 30}
    until(lambda: problems(router) == {sick.address: ("stable", "unproven")})


# Bounds


def test_an_instance_never_has_more_than_it_may_and_the_rest_waits_or_is_told(
    start_router: StartRouter, start_instance: StartInstance
) -> None:
    slow = start_instance("1.0", "slow")
    lock, go_on = threading.Lock(), threading.Event()
    now, most = [0], [0]

    def slowly(call: Call) -> None:
        with lock:
            now[0] += 1
            most[0] = max(most[0], now[0])
        assert go_on.wait(60)
        with lock:
            now[0] -= 1
        call.answer(b"done", *slow.marks())

    slow.on("/slow", slowly)
    bounds = "--requests-per-instance=3", "--queue-length=5", "--queue-seconds=30"
    router = start_router(rollout([slow]), *bounds)
    wires = [router.wire(60).send(get("/slow")) for _ in range(12)]
    until(lambda: metric(router, "limits_total", limit="queue-length") == 4)
    assert metric(router, "queued_requests", version="1.0") == 5
    until(lambda: now[0] == 3, what="the instance has read what it was sent")
    go_on.set()
    answers = [wire.answer() for wire in wires]
    assert Counter(answer.status for answer in answers) == {200: 8, 503: 4}
    assert all(answer.one(b"Retry-After") for answer in answers if answer.status == 503)
    assert most[0] == 3
    assert metric(router, "requests_total", reason="full") == 4
    for wire in wires:
        wire.sock.close()
