"""The service as an operator meets it: how it starts, where it listens, what it refuses, and how it ends."""

from __future__ import annotations

import signal
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import attrs
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

import rolling_router
from tests.ports import free_port

from .conftest import StartInstance, StartRouter
from .instance import Call, Instance
from .router import APP, ROOT, Router, rollout, run, until
from .wire import Wire, get


@pytest.fixture(scope="module")
def instance(start_instance: StartInstance) -> Instance:
    return start_instance()


# The end


@attrs.define
class Held:
    """An instance's answers that wait for the test."""

    go_on: threading.Event = attrs.field(factory=threading.Event)
    left: threading.Event = attrs.field(factory=threading.Event)

    def begin(self, call: Call) -> None:
        call.send(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nbegun")
        assert self.go_on.wait(60)
        call.send(b"ended")

    def answer(self, call: Call) -> None:
        assert self.go_on.wait(60)
        call.answer(call.read_body())

    def never(self, call: Call) -> None:
        call.send(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nbegun")
        call.is_left()
        self.left.set()


def refused(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
    except ConnectionRefusedError:
        return True
    except ConnectionResetError:  # it was queued when the socket was closed
        return False
    return False


def test_sigterm_lets_what_is_in_flight_end_and_takes_nothing_new(
    start_router: StartRouter, start_instance: StartInstance
) -> None:
    instance, held = start_instance(), Held()
    instance.on("/begin", held.begin)
    instance.on("/answer", held.answer)
    router = start_router(rollout([instance]))
    with router.wire() as begun, router.wire() as waiting, router.wire() as sending, router.wire() as idle:
        idle.ask(get())
        begun.send(get("/begin")).until(b"begun")
        waiting.send(get("/answer"))
        sending.send(get("/answer", "Content-Length: 8", method="POST") + b"half")
        until(lambda: len(instance.calls) == 4)
        router.signal(signal.SIGTERM)
        until(lambda: refused(router.port))
        assert idle.is_closed()
        assert router.get("/readyz")[0] == 503
        assert router.status()["router"]["draining"] is True
        sending.send(b"half")
        held.go_on.set()
        assert begun.exactly(5) == b"ended"
        answers = [waiting.answer(), sending.answer()]
        assert [answer.body for answer in answers] == [b"", b"halfhalf"]
        assert [answer.one(b"Connection") for answer in answers] == [b"close"] * 2
        assert all(wire.is_closed() for wire in (begun, waiting, sending))
    assert router.wait() == 0


def test_what_never_ends_is_cut_at_the_end_of_the_drain(
    start_router: StartRouter, start_instance: StartInstance
) -> None:
    instance, held = start_instance(), Held()
    instance.on("/never", held.never)
    router = start_router(rollout([instance]), "--drain-seconds", "1")
    with router.wire() as wire:
        wire.send(get("/never")).until(b"begun")
        began = time.monotonic()
        router.signal(signal.SIGTERM)
        assert wire.is_closed()
        assert router.wait() == 0
    assert time.monotonic() - began > 0.9
    assert held.left.wait(30)
    assert "1 client connections were cut" in router.output()


def test_a_second_sigterm_changes_nothing(start_router: StartRouter, start_instance: StartInstance) -> None:
    instance, held = start_instance(), Held()
    instance.on("/begin", held.begin)
    router = start_router(rollout([instance]))
    with router.wire() as wire:
        wire.send(get("/begin")).until(b"begun")
        router.signal(signal.SIGTERM)
        until(lambda: refused(router.port))
        router.signal(signal.SIGTERM)
        assert router.get("/healthz")[0] == 200
        held.go_on.set()
        assert wire.exactly(5) == b"ended"
    assert router.wait() == 0
    assert "Traceback" not in router.output()


def test_with_nothing_in_flight_it_ends_at_once(start_router: StartRouter, instance: Instance) -> None:
    router = start_router(rollout([instance]))
    router.ask(get())
    router.signal(signal.SIGTERM)
    assert router.wait(20) == 0, "sooner than --drain-seconds"


# Where it listens


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with a key and a certificate of shop.example, apart and as one file."""
    directory = tmp_path_factory.mktemp("certificate")
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "shop.example")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("shop.example")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    public = made.public_bytes(serialization.Encoding.PEM)
    (directory / "key.pem").write_bytes(private)
    (directory / "certificate.pem").write_bytes(public)
    (directory / "by-name").mkdir()
    (directory / "by-name" / "shop.example.pem").write_bytes(private + public)
    return directory


def tls(port: int, certificate: Path) -> Wire:
    context = ssl.create_default_context(cafile=str(certificate / "certificate.pem"))
    context.set_alpn_protocols(["http/1.1"])  # as every browser does, and curl
    plain = socket.create_connection(("127.0.0.1", port), 30)
    return Wire(port, sock=context.wrap_socket(plain, server_hostname="shop.example"))


@pytest.mark.parametrize(
    "endpoint",
    [
        "ssl:{port}:privateKey={directory}/key.pem:certKey={directory}/certificate.pem:interface=127.0.0.1",
        "tls:{directory}/by-name:port={port}",
    ],
    ids=["ssl", "tls"],
)
def test_clients_by_tls_are_told_apart(
    start_router: StartRouter, instance: Instance, certificate: Path, endpoint: str
) -> None:
    port = free_port()
    listen = endpoint.format(port=port, directory=certificate)
    router = start_router(rollout([instance], [], 0, 1), "--listen", f"tcp:{free_port()}", listen=listen)
    with tls(port, certificate) as wire:
        answer = wire.ask(get("/by-tls"))
        assert instance.calls[-1].one(b"X-Forwarded-Proto") == b"https"
        assert (answer.one(b"Set-Cookie") or b"").endswith(b"; Secure")
        large = b"x" * 3_000_000
        instance.on("/large", lambda call: call.answer(call.read_body()))
        assert wire.ask(get("/large", f"Content-Length: {len(large)}", method="PUT") + large).body == large
        wire.send(b"NONSENSE\r\n\r\n")
        assert wire.answer().status == 400
        assert wire.is_closed()
    assert router.stop() == 0


@pytest.mark.parametrize("offered", [[], ["h2", "http/1.1"]], ids=["nothing", "as browsers do"])
def test_both_ports_agree_with_what_clients_offer_by_alpn(
    start_router: StartRouter, instance: Instance, certificate: Path, offered: list[str]
) -> None:
    """Twisted's own endpoint, `ssl:`, ended the handshake with everybody who offered anything."""
    by_ssl = "ssl:{}:privateKey={}/key.pem:certKey={}/certificate.pem:interface=127.0.0.1"
    ports = [free_port(), free_port()]
    listen, admin = (by_ssl.format(port, certificate, certificate) for port in ports)
    start_router(rollout([instance]), "--admin", admin, listen=listen)
    context = ssl.create_default_context(cafile=str(certificate / "certificate.pem"))
    if offered:
        context.set_alpn_protocols(offered)
    for port, path in zip(ports, ("/", "/healthz"), strict=True):
        with socket.create_connection(("127.0.0.1", port), 30) as plain:
            secured = context.wrap_socket(plain, server_hostname="shop.example")
            assert secured.selected_alpn_protocol() == ("http/1.1" if offered else None)
            with Wire(port, sock=secured) as wire:
                assert wire.ask(get(path)).status == 200


def test_a_unix_socket_serves_and_tells_no_address(
    start_router: StartRouter, instance: Instance, tmp_path: Path
) -> None:
    path = tmp_path / "router.sock"
    router = start_router(rollout([instance], [], 0, 1), listen=f"unix:{path}")
    sock = socket.socket(socket.AF_UNIX)
    sock.settimeout(10)
    sock.connect(str(path))
    with Wire(0, sock=sock) as wire:
        for _ in range(3):
            assert wire.ask(get()).status == 200
    assert instance.calls[-1].one(b"X-Forwarded-For") == b"unknown"
    assert router.stop() == 0
    assert not path.exists()


def test_the_proxy_protocol_tells_the_client_s_address(start_router: StartRouter, instance: Instance) -> None:
    port = free_port()
    start_router(rollout([instance]), listen=f"haproxy:tcp:{port}:interface=127.0.0.1")
    for split in (False, True):
        with Wire(port) as wire:
            wire.send(b"PROXY TCP4 203.0.113.9 192.0.2.1 4242 80\r\n" + (b"" if split else get()))
            if split:
                wire.send(get())
            assert wire.answer().status == 200
            assert instance.calls[-1].one(b"X-Forwarded-For") == b"203.0.113.9"
            assert wire.ask(get()).status == 200
            assert instance.calls[-1].one(b"X-Forwarded-For") == b"203.0.113.9"
    with Wire(port) as wire:
        wire.send(b"PROXY TCP6 2001:db8::9 2001:db8::1 4242 80\r\n" + get())
        assert wire.answer().status == 200
        assert instance.calls[-1].one(b"X-Forwarded-For") == b"2001:db8::9"
    before = len(instance.calls)
    with Wire(port) as wire:
        wire.send(get())  # without the line that must come first
        assert wire.is_closed()
    assert len(instance.calls) == before


def test_several_ports_serve_one_rollout(start_router: StartRouter, start_instance: StartInstance) -> None:
    other = free_port()
    stable, candidate = start_instance("1.0"), start_instance("1.1")
    router = start_router(rollout([stable], [candidate], 50), "--listen", f"tcp:{other}:interface=127.0.0.1")
    seen = []
    with router.wire() as one, Wire(other) as two:
        for wire in (one, two) * 10:
            seen.append(wire.ask(get()).version)
    assert sorted(seen[:10]) == sorted(seen[10:])
    assert sorted(seen) == ["1.0"] * 10 + ["1.1"] * 10
    assert seen[0::2] == [seen[0]] * 10, "the two ports have one accumulator"


# What it refuses


@attrs.frozen
class Ended:
    status: int
    stdout: str
    stderr: str


@attrs.frozen
class Refusal:
    """Arguments beside the good ones (which a later one overrides), the environment, and words of the one line."""

    arguments: str
    words: str
    environ: str = ""
    alone: bool = False


REFUSALS = {
    "no app": Refusal("--store file:x.json", "--app APP_NAME", alone=True),
    "no store": Refusal("--app shop", "--store ROLLING_ROUTER_STORE", alone=True),
    "a bad app": Refusal("--app a/b", "'a/b' hello-world"),
    "an unknown store": Refusal("--store etcd:x", "'etcd' file"),
    "a store without a place": Refusal("--store rollout.json", "'rollout.json' SCHEME:LOCATION"),
    "a store that is a directory": Refusal("--store file:{here}", "file:rollout.json"),
    "an unknown strategy": Refusal("--strategy geo", "'geo' cookie ip-hash"),
    "an unknown option of a strategy": Refusal("--strategy cookie:colour=red", "'colour' lifetime"),
    "a bad option of a strategy": Refusal("--strategy cookie:lifetime=long", "'long' seconds"),
    "a bad network": Refusal("--trusted-proxy 10.0.0.0/33", "'10.0.0.0/33'"),
    "a network with host bits": Refusal("--trusted-proxy 10.0.0.1/8", "'10.0.0.1/8'"),
    "a number that is none": Refusal("--drain-seconds soon", "--drain-seconds 'soon'"),
    "a number out of range": Refusal("--head-seconds 0", "--head-seconds '0'"),
    "a number that is not a number": Refusal("--idle-seconds nan", "--idle-seconds 'nan'"),
    "a number from the environment": Refusal(
        "", "ROLLING_ROUTER_POOL_IDLE 'many'", environ="ROLLING_ROUTER_POOL_IDLE=many"
    ),
    "a flag from the environment": Refusal("", "'maybe'", environ="ROLLING_ROUTER_LOG_WHOLE_ADDRESSES=maybe"),
    "no endpoint": Refusal("--listen nonsense", "--listen 'nonsense'"),
    "an endpoint without certificate": Refusal("--listen ssl:{free}:privateKey=none.pem", "--listen none.pem"),
    "a port taken": Refusal("--listen tcp:{taken}:interface=127.0.0.1", "tcp:{taken} use"),
    "a settings port taken": Refusal("--admin tcp:{taken}:interface=127.0.0.1", "tcp:{taken} use"),
    "a port that is none": Refusal("--listen tcp:99999:interface=127.0.0.1", "99999"),
    "a unix socket nowhere": Refusal("--listen unix:nowhere/router.sock", "nowhere/router.sock"),
    "an address of somebody else": Refusal("--listen tcp:{free}:interface=192.0.2.1", "192.0.2.1"),
    "an access log nowhere": Refusal("--access-log nowhere/access.log", "'nowhere/access.log'"),
    "an unknown form": Refusal("--access-log-form xml", "'xml' common json"),
    "a state directory that is a file": Refusal("--state-dir {file}", "--state-dir {file}"),
    "an unknown option": Refusal("--blend 50", "blend --help"),
    "a word too many": Refusal("now", "'now'"),
    "an option without its value": Refusal("--app", "app"),
}


@pytest.fixture(scope="module")
def ended(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Ended]]:
    """How each of the refused starts ended. They run side by side, for most of a start is waiting for the disk."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        started = {}
        for name, refusal in REFUSALS.items():
            here = tmp_path_factory.mktemp("refused")
            (here / "file").touch()
            names = {"taken": taken.getsockname()[1], "free": free_port(), "here": here, "file": here / "file"}
            good = "--app shop --store file:r.json --listen tcp:{free}:interface=127.0.0.1 --admin unix:a.sock "
            if "--admin" in refusal.arguments:
                good = good.replace("--admin unix:a.sock ", "")
            if "--listen" in refusal.arguments:
                good = good.replace("--listen tcp:{free}:interface=127.0.0.1 ", "")
            line = ("" if refusal.alone else good) + refusal.arguments
            environ = dict([refusal.environ.split("=")]) if refusal.environ else {}
            started[name] = run(here, line.format(**names).split(), environ), here, names
        yield {name: end(process, here, names) for name, (process, here, names) in started.items()}


def end(process: subprocess.Popen[bytes], here: Path, names: dict[str, object]) -> Ended:
    try:
        status = process.wait(100)
    finally:
        process.kill()
        process.wait()
    # Refusals are compared with the words that were asked for, so names are put back in their place.
    stderr = (here / "stderr").read_text()
    for name in ("file", "taken"):
        stderr = stderr.replace(str(names[name]), f"{{{name}}}")
    return Ended(status, (here / "stdout").read_text(), stderr)


@pytest.mark.parametrize("name", REFUSALS)
def test_what_cannot_be_used_is_refused_in_one_line(ended: dict[str, Ended], name: str) -> None:
    one = ended[name]
    assert one.status == 1, one
    assert one.stderr.count("\n") == 1, one.stderr
    assert one.stderr.startswith("rolling-router: ")
    for word in REFUSALS[name].words.split():
        assert word in one.stderr, one.stderr
    assert "Traceback" not in one.stdout + one.stderr
    assert "usage" not in (one.stdout + one.stderr).lower()


# What it says of itself


def test_version_and_help(tmp_path: Path) -> None:
    version, explained = tmp_path / "version", tmp_path / "help"
    version.mkdir()
    explained.mkdir()
    processes = [run(version, ["--version"]), run(explained, ["--help"])]
    assert [process.wait(60) for process in processes] == [0, 0]
    assert (version / "stdout").read_text() == f"rolling-router {rolling_router.__version__}\n"
    text = (explained / "stdout").read_text()
    for word in ("--app", "--store", "--listen", "--trusted-proxy", "--drain-seconds", "tcp:8000", "ROLLING_ROUTER_"):
        assert word in text, word


def test_everything_can_come_from_the_environment_and_the_command_line_wins(tmp_path: Path, instance: Instance) -> None:
    first, second, admin = free_port(), free_port(), free_port()
    router = Router(tmp_path)
    router.write(rollout([instance], [], 0, 1))
    environ = {
        "APP_NAME": APP,
        "ROLLING_ROUTER_STORE": "file:rollout.json",
        "ROLLING_ROUTER_LISTEN": f"tcp:{first}:interface=127.0.0.1 tcp:{second}:interface=127.0.0.1",
        "ROLLING_ROUTER_ADMIN": f"tcp:{admin}:interface=127.0.0.1",
        "ROLLING_ROUTER_STRATEGY": "ip-hash",
        "ROLLING_ROUTER_TRUSTED_PROXY": "127.0.0.0/8 ::1/128",
        "ROLLING_ROUTER_HEAD_BYTES": "300",
        "ROLLING_ROUTER_DRAIN_SECONDS": "",
        "PYTHONPATH": str(ROOT),
    }
    router.port, router.admin = first, admin
    router.process = run(tmp_path, ["--head-bytes", "400"], environ)
    try:
        until(lambda: not refused(admin), 30)
        with Wire(second) as wire:
            assert wire.ask(get("/", "X-Forwarded-For: 203.0.113.7")).status == 200
            assert instance.calls[-1].one(b"X-Forwarded-For") == b"203.0.113.7, 127.0.0.1"
            assert wire.ask(get("/", "X: " + "v" * 310)).status == 200
        assert router.ask(get("/", "X: " + "v" * 410)).status == 431
        assert router.status()["snapshot"]["stickiness"] == "ip-hash"
        assert router.stop() == 0
    finally:
        router.kill()


def test_an_ipv4_client_of_a_dual_stack_socket_is_told_of_by_its_plain_address(
    start_router: StartRouter, start_instance: StartInstance
) -> None:
    port, instance = free_port(), start_instance()
    router = start_router(rollout([instance]), listen=f"tcp6:{port}")
    router.port = port
    assert router.ask(get()).status == 200
    assert instance.calls[-1].one(b"X-Forwarded-For") == b"127.0.0.1"
