"""Clients of HTTP/2 that read nothing, send nothing, or ask without end: what they cost, and that it has an end."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import threading
from collections.abc import Callable
from contextlib import ExitStack

import pytest
from hyperframe.frame import DataFrame

from tests.ports import free_port

from .authority import Authority
from .conftest import StartInstance, StartRouter
from .http2 import Http2
from .instance import Call, Instance
from .router import Router, rollout, until

MOST = 2**31 - 1
Client = Callable[..., Http2]


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    made = Authority(tmp_path_factory.mktemp("authority"))
    made.write(made.directory / "shop.pem", "shop.example")
    return made


@pytest.fixture(scope="module")
def instance(start_instance: StartInstance) -> Instance:
    return start_instance()


@pytest.fixture(scope="module")
def start(start_router: StartRouter, instance: Instance, authority: Authority) -> Callable[..., Router]:
    def started(*options: str) -> Router:
        port = free_port()
        listen = f"tls:{port}:cert={authority.directory / 'shop.pem'}"
        router = start_router(rollout([instance]), "--listen", f"tcp:{free_port()}", *options, listen=listen)
        router.port = port
        return router

    return started


@pytest.fixture(scope="module")
def shop(start: Callable[..., Router]) -> Router:
    return start()


@pytest.fixture
def client(authority: Authority) -> Client:
    return lambda router, **more: Http2(router.port, str(authority.path), **more)


def in_flight(router: Router) -> float:
    gauges = [line for line in router.metrics().splitlines() if line.startswith("rolling_router_in_flight_requests{")]
    assert gauges
    return sum(float(line.rpartition(" ")[2]) for line in gauges)


def descriptors(router: Router) -> int:
    assert router.process is not None
    return len(os.listdir(f"/proc/{router.process.pid}/fd"))


def limited(router: Router, limit: str) -> int:
    return int(router.metrics().partition(f'limits_total{{app="shop",limit="{limit}"}} ')[2].partition(".")[0])


class Flood:
    """An answer that is sent as fast as it is taken; says when it is not taken any more."""

    def __init__(self, instance: Instance, path: str, size: int) -> None:
        self.sent = 0
        self.size = size
        self.is_held = threading.Event()
        instance.on(path, self._answer)

    def _answer(self, call: Call) -> None:
        call.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % self.size)
        piece = bytes(range(256)) * 256
        while self.sent < self.size:
            rest = memoryview(piece)[: self.size - self.sent]
            while rest:
                call.sock.settimeout(30 if self.is_held.is_set() else 3)
                try:
                    count = call.sock.send(rest)
                except TimeoutError:
                    self.is_held.set()
                    continue
                self.sent += count
                rest = rest[count:]


def test_a_client_that_reads_nothing_is_not_queued_for_without_end(
    shop: Router, instance: Instance, client: Client
) -> None:
    flood = Flood(instance, "/flood", 64 << 20)
    with client(shop, settings={4: MOST}, rcvbuf=16384) as reader:
        reader.take(None, MOST - 65535)
        stream = reader.ask("/flood")
        until(lambda: flood.is_held.is_set() or flood.sent == flood.size, 60)
        assert flood.is_held.is_set(), "the instance could send all of it"
        other = reader.ask("/")  # one that is asked for while nothing moves is answered as well
        reader.until(lambda: stream.is_over and other.is_over, "the whole answer", seconds=90)
        assert (stream.status, len(stream.body)) == (200, flood.size)
        assert bytes(stream.body) == bytes(range(256)) * (flood.size // 256)
        assert other.status == 200


@pytest.mark.parametrize("has_begun", [True, False])
def test_a_client_that_cancels_a_request_leaves_nothing_in_flight(
    shop: Router, instance: Instance, client: Client, has_begun: bool
) -> None:
    came, left = threading.Event(), threading.Event()

    def answer(call: Call) -> None:
        if has_begun:
            call.send(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n" + bytes(10))
        came.set()
        if call.is_left():
            left.set()

    instance.on("/cancelled", answer)
    with client(shop) as fickle:
        stream = fickle.ask("/cancelled")
        fickle.until(lambda: len(stream.body) == 10 if has_begun else came.is_set())
        fickle.conn.reset_stream(1, 8)
        fickle.flush()
        assert left.wait(30), "the instance is let go"
        until(lambda: in_flight(shop) == 0)


@pytest.mark.parametrize("by", ["its window", "the settings", "the connection's window"])
def test_a_stream_without_a_window_costs_nothing_and_goes_on_with_one(
    shop: Router, instance: Instance, client: Client, by: str
) -> None:
    body = bytes(range(256)) * 1200
    instance.on("/body", lambda call: call.answer(body))
    with client(shop, settings={4: MOST if by == "the connection's window" else 1000}) as reader:
        reader.acknowledges = False
        stream = reader.ask("/body")
        taken = 65535 if by == "the connection's window" else 1000
        reader.until(lambda: len(stream.body) == taken, "as much as the window takes")
        before = shop.cpu_seconds()
        reader.read(2.0)
        assert shop.cpu_seconds() - before < 1.0, "it looks for a window over and over"
        if by == "the settings":
            reader.conn.update_settings({4: 1 << 20})
            reader.take(None, 1 << 20)
        else:
            reader.take(None, 1 << 20)
            if by == "its window":
                reader.take(stream, 1 << 20)
        reader.until(lambda: stream.is_over, "the rest")
        assert bytes(stream.body) == body


@pytest.mark.parametrize("path", ["/a b", "/a HTTP/1.1", "/a\tb", "http://other.example/"])
def test_an_address_that_http_1_1_cannot_have_is_refused(
    shop: Router, instance: Instance, client: Client, path: str
) -> None:
    asked = len(instance.calls)
    with client(shop) as reader:
        stream, other = reader.ask(path), reader.ask("/fine")
        reader.until(lambda: stream.is_over and other.is_over, "two answers")
        assert (stream.status, other.status) == (400, 200)
    assert [call.target for call in instance.calls[asked:]] == [b"/fine"]


def test_uploads_that_fall_silent_end_and_have_no_descriptor(
    start: Callable[..., Router], instance: Instance, client: Client
) -> None:
    router = start("--body-seconds=2", "--idle-seconds=60")
    asked = len(instance.calls)
    with client(router) as silent:
        before = descriptors(router)
        uploads = [silent.ask("/", "POST", ends=False) for _ in range(50)]
        for upload in uploads:
            silent.send(upload, b"x" * 500)
        silent.ask("/", "GET", ends=False)  # no length, no body, and no end either
        fine = silent.ask("/fine")
        silent.until(lambda: fine.is_over, "an answer to one of them, after the others had come")
        assert descriptors(router) <= before + 2, "an instance, and a reader of ours; none for an upload"
        silent.until(lambda: all(one.is_done for one in silent.streams.values()), "they end", pings=True)
        assert [one.status for one in uploads] == [408] * 50
        assert b"fell silent for 2 seconds" in uploads[0].body
        assert limited(router, "body-seconds") == 51
        # Data that was under way: it must end nothing, and be given back to the connection's window.
        for _ in range(20):
            frame = DataFrame(1, b"x" * 16000)
            silent.sock.sendall(frame.serialize())
        last = silent.ask("/fine")
        silent.until(lambda: last.is_over, "the connection goes on")
        assert last.status == 200
    assert [call.target for call in instance.calls[asked:]] == [b"/fine", b"/fine"]


def test_an_upload_that_moves_is_waited_for(start: Callable[..., Router], instance: Instance, client: Client) -> None:
    router = start("--body-seconds=5")
    with client(router) as slow:
        upload = slow.ask("/", "POST", ends=False)
        for _ in range(14):
            slow.send(upload, b"x")
            slow.read(0.5)
        slow.send(upload, b"x" * 1000, ends=True)
        slow.until(lambda: upload.is_over)
        assert dict(upload.fields)[b"x-length"] == b"1014"


@pytest.mark.parametrize(("window", "sent"), [(0, 200_000), (1000, 1000), (1000, 200_000)])
def test_a_client_that_opens_no_window_is_reset(
    start: Callable[..., Router], instance: Instance, client: Client, window: int, sent: int
) -> None:
    router = start("--body-seconds=2")
    left = threading.Event()

    def answer(call: Call) -> None:
        call.send(b"HTTP/1.1 200 OK\r\nContent-Length: 10000000\r\n\r\n" + bytes(sent))
        if call.is_left():
            left.set()

    instance.on("/long", answer)
    with client(router, settings={4: window}) as idle:
        idle.acknowledges = False
        streams = [idle.ask("/long"), idle.ask("/")]
        idle.until(lambda: all(one.reset is not None for one in streams[: 2 if not window else 1]), "", pings=True)
        assert streams[0].reset == 2, "half an answer must not look like a whole one"
        assert left.wait(30), "the instance is let go"
        until(lambda: in_flight(router) == 0)
        assert limited(router, "body-seconds") == (1 if window else 2)
        assert not idle.is_closed


def test_a_client_whose_socket_takes_nothing_is_cut(
    start: Callable[..., Router], instance: Instance, client: Client
) -> None:
    router = start("--body-seconds=2")
    flood = Flood(instance, "/endless", 1 << 40)
    with client(router, settings={4: MOST}, rcvbuf=16384) as reader:
        reader.take(None, MOST - 65535)
        reader.ask("/endless")
        until(lambda: limited(router, "body-seconds") == 1, 60)
        until(lambda: in_flight(router) == 0)
    assert flood.sent < flood.size


@pytest.mark.parametrize("left", [0, 10])
def test_without_a_descriptor_a_long_body_is_refused_and_a_short_one_served(
    start: Callable[..., Router], instance: Instance, client: Client, left: int
) -> None:
    router = start()
    assert router.process is not None
    with client(router) as reader:
        first = reader.ask("/")  # so that there is a connection to the instance
        reader.until(lambda: first.is_over)
        descriptors_now = max(int(one) for one in os.listdir(f"/proc/{router.process.pid}/fd")) + 1
        _, hard = resource.prlimit(router.process.pid, resource.RLIMIT_NOFILE)
        resource.prlimit(router.process.pid, resource.RLIMIT_NOFILE, (descriptors_now + left, hard))
        long, short = reader.ask("/", "PUT", ends=False), reader.ask("/", "PUT", ends=False)
        for _ in range(10):
            reader.send(long, b"x" * 10000)
            reader.until(lambda: reader.conn.local_flow_control_window(3) > 10000)
        reader.send(long, b"", ends=True)
        reader.send(short, b"x" * 1000, ends=True)
        reader.until(lambda: long.is_over and short.is_over)
        resource.prlimit(router.process.pid, resource.RLIMIT_NOFILE, (hard, hard))
        assert (long.status, short.status) == (503, 200)
        assert limited(router, "descriptors") == 1


def test_an_answer_is_waited_for_and_idle_is_who_has_no_stream(
    start: Callable[..., Router], instance: Instance, client: Client
) -> None:
    router = start("--idle-seconds=4", "--head-seconds=5")
    may_answer = threading.Event()

    def answer(call: Call) -> None:
        may_answer.wait(60)
        call.answer(b"late")

    instance.on("/late", answer)
    with ExitStack() as stack:
        patient = stack.enter_context(client(router))
        late = patient.ask("/late")
        mute = stack.enter_context(client(router))
        mute.until(lambda: mute.is_closed, "who asks nothing has --head-seconds", pings=True)
        assert mute.gone == [0]
        until(lambda: limited(router, "head-seconds") == 1)
        patient.read(0.5)
        may_answer.set()
        patient.until(lambda: late.is_done, "the answer")
        assert (late.status, bytes(late.body), patient.gone) == (200, b"late", [])
        patient.until(lambda: patient.is_closed, "nothing is asked any more", pings=True)
        assert patient.gone == [1]
        assert limited(router, "idle-seconds") == 1


def test_a_connection_ends_after_so_many_requests(
    start: Callable[..., Router], instance: Instance, client: Client
) -> None:
    router = start("--requests-per-connection=5")
    may_answer = threading.Event()

    def answer(call: Call) -> None:
        may_answer.wait(60)
        call.answer(b"last")

    instance.on("/last", answer)
    with client(router) as eager:
        for _ in range(4):
            stream = eager.ask("/")
            eager.until(lambda: stream.is_done)  # noqa: B023 (asked in this turn of the loop alone)
            assert (stream.status, eager.gone) == (200, [])
        last = eager.ask("/last")
        eager.until(lambda: eager.gone == [MOST, 9], "it is told to ask for no more, and then what is served")
        refused = eager.ask("/")
        eager.until(lambda: refused.reset == 7, "one that is asked for all the same")
        may_answer.set()
        eager.until(lambda: last.is_done)
        assert (last.status, bytes(last.body)) == (200, b"last")
        eager.until(lambda: eager.is_closed, "the end")
    assert limited(router, "requests-per-connection") == 1


def test_who_reads_slowly_while_the_router_stops_has_the_whole_answer(
    start: Callable[..., Router], instance: Instance, client: Client
) -> None:
    body = bytes(range(256)) * 512
    came = threading.Event()

    def answer(call: Call) -> None:
        came.set()
        call.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body)

    instance.on("/unhurried", answer)
    router = start("--drain-seconds=30", "--linger-seconds=0.5")
    with client(router, settings={4: MOST}, rcvbuf=16384) as reader:
        reader.take(None, MOST - 65535)
        stream = reader.ask("/unhurried")
        assert came.wait(30), "it is asked for"
        until(lambda: not in_flight(router), 30, "all of it is sent")
        router.signal(signal.SIGTERM)
        with pytest.raises(subprocess.TimeoutExpired):
            router.wait(5)
        reader.until(lambda: stream.is_over, "the whole answer")
    assert bytes(stream.body) == body
    assert router.wait() == 0


def test_a_name_that_is_no_token_ends_its_stream_alone(shop: Router, instance: Instance, client: Client) -> None:
    asked = len(instance.calls)
    with client(shop) as odd:
        streams = [odd.ask("/", fields=[(name, "x")]) for name in ("a(b", 'a"b', "a/b", "a,b")]
        fine = odd.ask("/", fields=[("a!#$%&'*+-.^_`|~1", "x")])
        odd.until(lambda: all(one.is_done for one in (*streams, fine)))
        assert ([one.reset for one in streams], fine.status) == ([1] * 4, 200)
    assert len(instance.calls) == asked + 1
    assert "Traceback" not in shop.output()


def test_a_client_that_breaks_the_protocol_is_closed(shop: Router, client: Client) -> None:
    with client(shop) as broken:
        first = broken.ask("/")
        broken.until(lambda: first.is_over)
        broken.sock.sendall(DataFrame(2, b"x").serialize())
        broken.until(lambda: broken.is_closed)
        assert broken.gone
