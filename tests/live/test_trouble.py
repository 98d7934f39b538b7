"""Trouble on either side: silence, resets, refusals and nonsense. Each request ends in one honest answer or a cut."""

from __future__ import annotations

import contextlib
import queue
import signal
import socket
import struct
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from .conftest import StartInstance, StartRouter
from .instance import Call, Instance
from .router import APP, Router, rollout, until
from .wire import Wire, chunked, get, post

SHORT = "--head-seconds=2", "--answer-seconds=2", "--connect-seconds=2", "--body-seconds=2"


@pytest.fixture(scope="module")
def instance(start_instance: StartInstance) -> Instance:
    return start_instance()


@pytest.fixture(scope="module")
def router(start_router: StartRouter, instance: Instance) -> Router:
    """With time for everything, and for as many second tries as there are requests."""
    return start_router(rollout([instance]), "--retry-budget=100")


@pytest.fixture(scope="module")
def hasty(start_router: StartRouter, instance: Instance) -> Router:
    """For tests of what takes too long."""
    return start_router(rollout([instance]), *SHORT)


@pytest.fixture(autouse=True)
def as_at_first(request: pytest.FixtureRequest, instance: Instance) -> Iterator[None]:
    """Every test begins with one healthy instance, and leaves nothing in flight."""
    used = [request.getfixturevalue(name) for name in ("router", "hasty") if name in request.fixturenames]
    for one in used:
        one.put(rollout([instance]))
    yield
    for one in used:
        until(lambda: in_flight(one) == 0, what="nothing is in flight")  # noqa: B023


def in_flight(router: Router) -> int:
    roles = (router.status()["snapshot"][role] for role in ("stable", "candidate"))
    return sum(one["in_flight"] for role in roles if role for one in role["instances"])


def metric(router: Router, name: str, **labels: str) -> float:
    """The sum of a metric's samples that have these labels."""
    total = 0.0
    for line in router.metrics().splitlines():
        if line.startswith(f"rolling_router_{name}{{") and all(
            f'{key}="{text}"' in line for key, text in labels.items()
        ):
            total += float(line.rpartition(" ")[2])
    return total


# Silent clients


def test_half_a_head_times_out_with_408_and_silence_without_a_word(hasty: Router) -> None:
    with hasty.wire() as half, hasty.wire() as silent:
        half.send(b"GET / HTTP/1.1\r\nHost: a\r\n")
        answer = half.answer()
        assert (answer.status, answer.one(b"Connection")) == (408, b"close")
        assert half.is_closed()
        assert silent.is_closed()


def test_a_head_that_comes_drop_by_drop_has_no_more_time_than_another(hasty: Router) -> None:
    began = time.monotonic()
    with hasty.wire() as wire:
        wire.sock.settimeout(0.1)
        wire.send(b"GET / HTTP/1.1\r\nHost: a\r\nX: ")
        while True:
            with contextlib.suppress(TimeoutError):
                answer = wire.answer()
                break
            wire.send(b"x")
            assert time.monotonic() - began < 30
    assert answer.status == 408


def test_half_a_body_times_out_with_408_and_leaves_the_instance(hasty: Router, instance: Instance) -> None:
    left = threading.Event()
    instance.on("/half", lambda call: left.set() if call.is_left() else None)
    with hasty.wire() as wire:
        wire.send(get("/half", "Content-Length: 10", method="POST") + b"half")
        assert wire.answer().status == 408
        assert wire.is_closed()
    assert left.wait(30)


def test_a_thousand_idle_clients_disturb_nobody(hasty: Router) -> None:
    with contextlib.ExitStack() as stack:
        idle = []
        for number in range(1000):
            idle.append(stack.enter_context(hasty.wire()))
            assert knocks(idle[-1].sock) == 1
            if number < 500:
                idle[-1].send(b"GET / HTTP/1.1\r\nHost: a\r\nX-Half: ")
        before = hasty.cpu_seconds()
        with hasty.wire() as busy:
            for _ in range(200):
                assert busy.ask(get()).status == 200
        computed = hasty.cpu_seconds() - before
        print(f"beside 1000 idle clients: {computed * 5:.1f} ms of computing (mean) a request")
        assert computed < 5
        assert [wire.answer().status for wire in idle[:500]] == [408] * 500
        assert all(wire.is_closed() for wire in idle)
    until(lambda: hasty.status()["counts"]["clients_open"] == 0)


def knocks(sock: socket.socket) -> int:
    """How often a client of this machine has asked for its connection: again where it had no answer in a second."""
    total_retrans: int = struct.unpack_from("I", sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 104), 100)[0]
    return 1 + total_retrans


# Clients that reset


def reset_at_once(wire: Wire, instance: Instance) -> None: ...


def reset_in_the_head(wire: Wire, instance: Instance) -> None:
    wire.send(b"GET / HTTP/1.1\r\nHo")


def reset_in_the_body(wire: Wire, instance: Instance) -> None:
    wire.send(get("/hang", "Content-Length: 100", method="POST") + b"x" * 50)
    until(lambda: instance.calls[-1].target == b"/hang")


def reset_while_waiting(wire: Wire, instance: Instance) -> None:
    wire.send(get("/hang"))
    until(lambda: instance.calls[-1].target == b"/hang")


def reset_in_the_answer(wire: Wire, instance: Instance) -> None:
    wire.send(get("/endless")).until(b"x" * 1000)


def reset_after_the_answer(wire: Wire, instance: Instance) -> None:
    wire.ask(get())


@pytest.mark.parametrize(
    "phase",
    [
        reset_at_once,
        reset_in_the_head,
        reset_in_the_body,
        reset_while_waiting,
        reset_in_the_answer,
        reset_after_the_answer,
    ],
)
def test_a_client_may_reset_at_any_time(start_instance: StartInstance, router: Router, phase: object) -> None:
    instance, left = start_instance(), threading.Event()
    router.put(rollout([instance]))
    router.ask(get())

    def endless(call: Call) -> None:
        call.send(b"HTTP/1.1 200 OK\r\n\r\n")
        with contextlib.suppress(OSError):
            while True:
                call.send(b"x" * 10_000)
        left.set()

    instance.on("/endless", endless)
    instance.on("/hang", lambda call: left.set() if call.is_left() else None)
    with router.wire() as wire:
        phase(wire, instance)  # type: ignore[operator]
        wire.reset()
    until(lambda: in_flight(router) == 0)
    if instance.calls[-1].target != b"/":
        assert left.wait(30), "the instance works on for nobody"
    assert router.ask(get()).status == 200
    assert "Traceback" not in router.output()


# Instances that reset


@pytest.mark.parametrize("ending", ["close", "reset"])
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_an_instance_that_ends_before_its_answer_is_a_502(
    router: Router, instance: Instance, ending: str, method: str
) -> None:
    instance.on("/end", lambda call: getattr(call, ending)())
    router.put(rollout([instance]))
    with router.wire() as wire:
        answer = wire.ask(get("/end", "Connection: close", method=method))
    assert answer.status == 502
    assert b"instance" in answer.body


@pytest.mark.parametrize("ending", ["close", "reset"])
def test_an_instance_that_ends_in_its_answer_s_head_is_a_502(router: Router, instance: Instance, ending: str) -> None:
    def half(call: Call) -> None:
        call.send(b"HTTP/1.1 200 OK\r\nContent-Le")
        time.sleep(0.02)  # so that the reset does not overtake it
        getattr(call, ending)()

    instance.on("/half-head", half)
    assert router.ask(get("/half-head")).status == 502


def test_an_instance_that_ends_in_the_request_s_body_is_a_502(router: Router, instance: Instance) -> None:
    def early(call: Call) -> None:
        call.file.read(10)
        call.reset()

    instance.on("/early", early)
    with router.wire() as wire:
        wire.send(get("/early", "Content-Length: 100", method="PUT") + b"x" * 10)
        assert wire.answer().status == 502
        assert wire.is_closed()


@pytest.mark.parametrize("method", ["GET", "POST", "PUT"])
@pytest.mark.parametrize("ending", ["close", "reset"])
def test_an_instance_that_ends_kept_connections_at_once_costs_no_request(
    start_instance: StartInstance, router: Router, method: str, ending: str
) -> None:
    instance = start_instance()

    gone: queue.Queue[bool] = queue.Queue()

    def rude(call: Call) -> None:
        instance.greet(call)
        getattr(call, ending)()
        gone.put(True)

    instance.on("/rude", rude)
    router.put(rollout([instance]))
    raw = get("/rude") if method == "GET" else post(b"body", target="/rude", method=method)
    with router.wire() as wire:
        for _ in range(100):
            assert wire.ask(raw).status == 200
            if method != "GET":  # which may be sent again; the others need an end that has been seen
                assert gone.get(timeout=30)


@pytest.mark.parametrize("method", ["GET", "DELETE", "POST", "PUT"])
def test_a_kept_connection_that_ends_while_a_request_is_on_its_way_costs_no_request(
    start_instance: StartInstance, router: Router, method: str
) -> None:
    instance = start_instance()
    router.put(rollout([instance]))
    raw = get(method=method) if method in ("GET", "DELETE") else post(b"body", method=method)
    with router.wire() as wire:
        for _ in range(5):
            assert wire.ask(raw).status == 200
            # The router looks away while both happen, and then finds the request first.
            router.signal(signal.SIGSTOP)
            until(lambda: is_stopped(router))
            wire.send(raw)
            instance.hang_up()
            router.signal(signal.SIGCONT)
            assert wire.answer().status == 200
    done = [call for call in instance.calls if call.body or method in ("GET", "DELETE")]
    assert len(done) == 10, "every one once, and none twice"


def is_stopped(router: Router) -> bool:
    assert router.process is not None
    return Path(f"/proc/{router.process.pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"


def test_a_post_is_never_sent_twice(router: Router, instance: Instance) -> None:
    def take_and_die(call: Call) -> None:
        call.read_body()
        call.close()

    instance.on("/order", take_and_die)
    with router.wire() as wire:
        assert wire.ask(get()).status == 200  # there is a kept connection
        assert wire.ask(post(b"one book", target="/order")).status == 502
    assert len([call for call in instance.calls if call.target == b"/order"]) == 1


# Instances that say nothing, or nonsense


def test_an_instance_that_never_answers_is_a_504(hasty: Router, instance: Instance) -> None:
    left = threading.Event()
    instance.on("/never", lambda call: left.set() if call.is_left() else None)
    began = time.monotonic()
    answer = hasty.ask(get("/never"))
    assert (answer.status, left.wait(30)) == (504, True)
    assert 0.5 < time.monotonic() - began < 30, "sooner than by default"


def test_an_instance_that_falls_silent_in_its_answer_is_cut(hasty: Router, instance: Instance) -> None:
    def stop(call: Call) -> None:
        call.send(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf")
        call.is_left()

    instance.on("/stop", stop)
    answer = hasty.ask(get("/stop"))
    assert (answer.status, answer.body, answer.is_cut) == (200, b"half", True)


def test_an_instance_that_takes_no_connection_is_a_504_after_a_while(hasty: Router) -> None:
    with contextlib.ExitStack() as stack:
        deaf = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
        for _ in range(3):  # what its backlog holds; the next one gets no answer to its SYN
            knocking = stack.enter_context(socket.socket())
            knocking.setblocking(False)
            knocking.connect_ex(deaf.getsockname())
        port = deaf.getsockname()[1]
        keys = rollout()
        keys[f"rolling/{APP}/stable/id"] = "apps/app-1.0-80/containers"
        keys["apps/app-1.0-80/containers/deaf"] = f"127.0.0.1:{port}"
        hasty.put(keys)
        assert hasty.ask(get()).status == 504


NONSENSE = [
    b"220 smtp.example ESMTP\r\n",
    b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello!",
    b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nContent-Length: no\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nBad Field: 1\r\n\r\n",
    b"HTTP/1.1 20 OK\r\n\r\n",
    b"HTTP/2.0 200 OK\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nX: " + b"x" * 200_000 + b"\r\n\r\n",
    b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 2000 + b"\r\n",
    b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nsurprise",
    b"HTTP/1.1 103 Early Hints\r\n\r\n" * 1000,
]


@pytest.mark.parametrize("raw", NONSENSE, ids=lambda raw: repr(raw)[:50])
def test_nonsense_from_an_instance_is_a_502(router: Router, instance: Instance, raw: bytes) -> None:
    def speak(call: Call) -> None:
        call.send(raw)
        call.is_left()

    instance.on("/nonsense", speak)
    answer = router.ask(get("/nonsense"))
    assert answer.status == 502, answer
    assert router.ask(get()).status == 200


def test_chunks_that_go_wrong_are_cut(router: Router, instance: Instance) -> None:
    def speak(call: Call) -> None:
        call.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\nno size\r\n")
        call.is_left()

    instance.on("/bad-chunks", speak)
    answer = router.ask(get("/bad-chunks"))
    assert (answer.status, answer.is_cut) == (200, True)


def test_an_answer_longer_than_it_said_does_not_spill_into_the_next(router: Router, instance: Instance) -> None:
    def spill(call: Call) -> None:
        call.send(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ngoodHTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nbad")

    instance.on("/spill", spill)
    with router.wire() as wire:
        for _ in range(5):
            assert wire.ask(get("/spill")).body == b"good"
            assert wire.ask(get()).body == b"1.0 a\n"


# Instances that are down


def test_a_dead_instance_costs_no_request_while_another_lives(
    start_instance: StartInstance, router: Router, instance: Instance
) -> None:
    dead = start_instance("1.0", "dead")
    dead.stop()
    router.put(rollout([instance, dead]))
    raws = [get(), post(b"body"), get("/", "Transfer-Encoding: chunked", method="POST") + chunked(b"x")]
    with router.wire() as wire:
        answers = [wire.ask(raw) for raw in raws * 20]
    assert {(answer.status, answer.one(b"X-Instance")) for answer in answers} == {(200, b"a")}

    def usable() -> dict[str, bool]:
        # It is left alone for a second, then for two, and so on: one of them may be over just now.
        assert router.ask(get()).status == 200
        return {one["address"]: one["usable"] for one in router.status()["snapshot"]["stable"]["instances"]}

    until(lambda: usable() == {instance.address: True, dead.address: False})


def test_an_instance_that_comes_back_is_used_again(start_instance: StartInstance, router: Router) -> None:
    one, other = start_instance("1.0", "one"), start_instance("1.0", "other")
    other.stop()
    router.put(rollout([one, other]))
    for _ in range(3):
        assert router.ask(get()).one(b"X-Instance") == b"one"
    other.start()
    until(lambda: router.ask(get()).one(b"X-Instance") == b"other", what="it is used again")


@pytest.mark.parametrize("host", ["localhost", "no-such-host.invalid"])
def test_an_instance_may_have_a_name(router: Router, instance: Instance, host: str) -> None:
    keys = rollout([instance])
    keys[f"apps/app-1.0-80/containers/{instance.name}"] = f"{host}:{instance.port}"
    router.put(keys)
    expected = 200 if host == "localhost" else 503
    assert [router.ask(get()).status for _ in range(3)] == [expected] * 3


def test_an_instance_may_have_an_address_of_ipv6(router: Router) -> None:
    with socket.create_server(("::1", 0), family=socket.AF_INET6) as listening:

        def answer() -> None:
            with listening.accept()[0] as one:
                one.recv(10_000)
                one.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nv6")

        threading.Thread(target=answer, daemon=True).start()
        keys = rollout()
        keys[f"rolling/{APP}/stable/id"] = "apps/app-1.0-80/containers"
        keys["apps/app-1.0-80/containers/six"] = f"[::1]:{listening.getsockname()[1]}"
        router.put(keys)
        assert router.ask(get()).body == b"v6"


def test_a_dead_candidate_s_share_goes_to_stable_and_the_metrics_show_both(
    start_instance: StartInstance, router: Router, instance: Instance
) -> None:
    dead = start_instance("1.1", "dead")
    dead.stop()
    router.put(rollout([instance], [dead], 25))
    asked = {role: metric(router, "split_asked_total", role=role) for role in ("stable", "candidate")}
    served = {role: metric(router, "split_served_total", role=role) for role in ("stable", "candidate", "none")}
    with router.wire() as wire:
        answers = [wire.ask(get()) for _ in range(100)]
    assert {(answer.status, answer.version) for answer in answers} == {(200, "1.0")}
    assert metric(router, "split_asked_total", role="candidate") - asked["candidate"] == 25
    assert metric(router, "split_asked_total", role="stable") - asked["stable"] == 75
    assert metric(router, "split_served_total", role="stable") - served["stable"] == 100
    assert metric(router, "split_served_total", role="candidate") == served["candidate"]
    assert metric(router, "split_served_total", role="none") == served["none"]
    assert metric(router, "connect_failures_total", instance=dead.address) >= 1
    assert metric(router, "requests_total", reason="candidate-down", role="stable") >= 25

    def is_left_alone() -> bool:  # for a second, then for two, and so on: one of them may be over just now
        for _ in range(4):
            assert router.ask(get()).status == 200
        return metric(router, "usable_instances", role="candidate") == 0

    until(is_left_alone)


def test_a_dead_stable_s_share_goes_to_the_candidate_only_while_it_is_shown_to_anybody(
    start_instance: StartInstance, router: Router
) -> None:
    dead, candidate = start_instance("1.0", "dead"), start_instance("1.1", "c")
    dead.stop()
    router.put(rollout([dead], [candidate], 1))
    assert {router.ask(get()).version for _ in range(10)} == {"1.1"}
    router.put(rollout([dead], [candidate], 0))
    before = metric(router, "requests_total", reason="no-instance", code="5xx", role="none")
    answer = router.ask(get())
    assert answer.status == 503
    assert int(answer.one(b"Retry-After") or 0) > 0
    assert candidate.calls[-1].target == b"/"
    assert metric(router, "requests_total", reason="no-instance", code="5xx", role="none") == before + 1


def test_all_dead_is_a_503_and_any_that_comes_back_ends_it(start_instance: StartInstance, router: Router) -> None:
    one, other = start_instance("1.0", "one"), start_instance("1.1", "other")
    one.stop()
    other.stop()
    router.put(rollout([one], [other], 50))
    assert [router.ask(get()).status for _ in range(10)] == [503] * 10
    other.start()
    # Trying one that is said to be down beats a certain error, so this holds from the first request on.
    assert [router.ask(get()).status for _ in range(10)] == [200] * 10


def test_a_slow_upload_whose_instance_dies_has_its_answer_however_long_it_sends(
    router: Router, instance: Instance
) -> None:
    instance.on("/dies", Call.reset)
    never = threading.Event()
    with router.wire(seconds=30) as wire:
        wire.send(b"PUT /dies HTTP/1.1\r\nHost: shop.test\r\nContent-Length: 1000000\r\n\r\nabc")
        for _ in range(20):  # longer than --linger-seconds, never silent for so long
            never.wait(0.25)
            wire.send(b"x" * 100)
        answer = wire.answer()
        assert (answer.status, answer.one(b"Connection")) == (502, b"close")
        assert wire.is_closed()
