"""Clients by TLS: which certificate they see, what they may speak, and that a new certificate disturbs nobody."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import ssl
import subprocess
import time
from pathlib import Path

import pytest
from cryptography import x509

from tests.ports import free_port

from .authority import Authority
from .conftest import StartInstance, StartRouter
from .crowd import Crowd, serve_all_kinds
from .instance import Call, Instance
from .router import Router, rollout, until
from .supervisor import Supervisor, lives
from .wire import Wire, get


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
def instance(start_instance: StartInstance) -> Instance:
    made = start_instance()
    serve_all_kinds(made)
    return made


def secured(router: Router, authority: Authority, name: str = "shop.example", protocols: tuple[str, ...] = ()) -> Wire:
    context = ssl.create_default_context(cafile=str(authority.path))
    if protocols:
        context.set_alpn_protocols(protocols)
    plain = socket.create_connection(("127.0.0.1", router.port), 30)
    return Wire(router.port, sock=context.wrap_socket(plain, server_hostname=name))


def serial(router: Router, authority: Authority, name: str = "shop.example") -> str:
    with secured(router, authority, name) as wire:
        serial: str = wire.sock.getpeercert()["serialNumber"]
        return serial


def start(start_router: StartRouter, instance: Instance, listen: str, *options: str) -> Router:
    port = free_port()
    router = start_router(
        rollout([instance], [], 0, 1), "--listen", f"tcp:{free_port()}", *options, listen=listen.format(port=port)
    )
    router.port = port
    return router


def logged(router: Router, count: int) -> list[str]:
    """The lines of its access log, when there are so many."""
    path = router.directory / "access.log"
    until(lambda: path.exists() and path.read_text().count("\n") == count, what=f"{count} lines")
    return path.read_text().splitlines()


@pytest.fixture(scope="module")
def shop(
    start_router: StartRouter, instance: Instance, authority: Authority, tmp_path_factory: pytest.TempPathFactory
) -> Router:
    directory = tmp_path_factory.mktemp("certificates")
    authority.write(directory / "default.pem", "shop.example", "127.0.0.1")
    certificate, key = authority.issue("other.example")
    (directory / "other.crt").write_bytes(certificate)
    (directory / "other.key").write_bytes(key)
    (directory / "wild.example").mkdir()
    certificate, key = authority.issue("*.wild.example")
    (directory / "wild.example" / "fullchain.pem").write_bytes(certificate)
    (directory / "wild.example" / "privkey.pem").write_bytes(key)
    return start(start_router, instance, f"tls:{{port}}:certificates={directory}")


def curl(router: Router, authority: Authority, *arguments: str, path: str = "/") -> subprocess.CompletedProcess[str]:
    program = shutil.which("curl")
    assert program, "curl is not there; .ci/needs says what to install"
    resolved = ("--resolve", f"shop.example:{router.port}:127.0.0.1", "--cacert", str(authority.path))
    url = f"https://shop.example:{router.port}{path}"
    return subprocess.run([program, "-sS", *resolved, *arguments, url], capture_output=True, text=True, timeout=60)


def test_each_name_has_its_certificate_and_the_unknown_have_the_default(shop: Router, authority: Authority) -> None:
    openssl = shutil.which("openssl")
    assert openssl, "openssl is not there; .ci/needs says what to install"
    for name, wanted in (
        ("shop.example", "shop.example"),
        ("OTHER.example", "other.example"),
        ("a.wild.example", "*.wild.example"),
        ("a.b.wild.example", "shop.example"),
        ("nobody.example", "shop.example"),
        (None, "shop.example"),
    ):
        asked = ["-servername", name] if name else ["-noservername"]
        said = subprocess.run(
            [openssl, "s_client", "-connect", f"127.0.0.1:{shop.port}", *asked],
            input="",
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert f"subject=CN = {wanted}\n" in said.stdout, (name, said.stdout)


def test_http_1_1_by_tls_has_the_whole_engine(shop: Router, authority: Authority, instance: Instance) -> None:
    for protocols in ((), ("http/1.1",)):
        with secured(shop, authority, protocols=protocols) as wire:
            answer = wire.ask(get("/"))
            assert instance.calls[-1].one(b"X-Forwarded-Proto") == b"https"
            assert b"; Secure" in (answer.one(b"Set-Cookie") or b"")
    with Crowd(lambda: secured(shop, authority), 4, 4, 4, 2) as crowd:
        until(lambda: crowd.wrong or (len(crowd.counts) == 4 and sum(crowd.counts.values()) > 100), 60)


def test_http_2_where_the_client_can(shop: Router, authority: Authority, instance: Instance, tmp_path: Path) -> None:
    said = curl(shop, authority, "--http2", "-D", "-")
    assert said.stdout.startswith("HTTP/2 200"), said
    assert "set-cookie" in said.stdout
    assert "; Secure" in said.stdout
    call = instance.calls[-1]
    assert (call.one(b"X-Forwarded-Proto"), call.one(b"X-Forwarded-For")) == (b"https", b"127.0.0.1")
    assert call.one(b"Host") == f"shop.example:{shop.port}".encode()
    body = tmp_path / "body"
    body.write_bytes(os.urandom(300_000))
    back = tmp_path / "back"
    said = curl(shop, authority, "--http2", "--data-binary", f"@{body}", "-o", str(back), path="/echo")
    assert (said.returncode, back.read_bytes() == body.read_bytes()) == (0, True)
    assert curl(shop, authority, "--http1.1", "-D", "-").stdout.startswith("HTTP/1.1 200")


def test_the_access_log_says_which_http_the_client_spoke(
    start_router: StartRouter, instance: Instance, authority: Authority, tmp_path: Path
) -> None:
    certificate = authority.write(tmp_path / "shop.pem", "shop.example", "127.0.0.1")
    options = ("--access-log=access.log", "--access-log-form=common")
    router = start(start_router, instance, f"tls:{{port}}:cert={certificate}", *options)
    for version in ("--http2", "--http1.1"):
        assert curl(router, authority, version).returncode == 0
    spoken = [line.split('"')[1] for line in logged(router, 2)]
    assert spoken == ["GET / HTTP/2.0", "GET / HTTP/1.1"]


def test_a_body_by_http_2_is_bounded_while_it_comes(
    start_router: StartRouter, authority: Authority, instance: Instance, tmp_path: Path
) -> None:
    authority.write(tmp_path / "shop.pem", "shop.example")
    router = start(start_router, instance, f"tls:{{port}}:certificates={tmp_path}", "--body-bytes=1000")
    body = tmp_path / "body"
    for size, wanted in ((1000, "200"), (1001, "413"), (5_000_000, "413")):
        body.write_bytes(b"x" * size)
        asked = len(instance.calls)
        for chosen in (["--http2"], ["--http2", "-H", "Content-Length:"]):
            told = curl(router, authority, *chosen, "-T", str(body), "-w", "%{http_code}", "-o", "-", path="/echo")
            assert told.stdout.endswith(wanted), (size, chosen, told)
        assert (len(instance.calls) == asked) == (wanted == "413")


@pytest.mark.parametrize("why", ["its instance leaves", "the router ends"])
def test_an_event_stream_by_http_2_is_ended_whole(
    start_router: StartRouter, start_instance: StartInstance, authority: Authority, tmp_path: Path, why: str
) -> None:
    feed, other = start_instance("1.0"), start_instance("1.1")

    def events(call: Call) -> None:
        call.send(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")
        call.send(b"9\r\ndata: 1\n\n\r\n")
        call.is_left()

    feed.on("/events", events)
    authority.write(tmp_path / "shop.pem", "shop.example")
    router = start(start_router, feed, f"tls:{{port}}:certificates={tmp_path}", "--drain-seconds=4")
    program = shutil.which("curl")
    assert program, "curl is not there; .ci/needs says what to install"
    url = f"https://shop.example:{router.port}/events"
    resolved = ("--resolve", f"shop.example:{router.port}:127.0.0.1", "--cacert", str(authority.path))
    got = tmp_path / "got"
    with subprocess.Popen([program, "-sSN", "--http2", *resolved, "-o", str(got), url]) as listening:
        until(lambda: got.exists() and got.read_bytes() == b"data: 1\n\n", what="the first event")
        if why == "its instance leaves":
            router.put(rollout([other]))
            assert curl(router, authority, "--http2").returncode == 0
        else:
            router.signal(signal.SIGTERM)
        assert listening.wait(30) == 0, "the stream ended in good order"
    assert got.read_bytes() == b"data: 1\n\n"
    if why == "its instance leaves":
        assert 'streams_ended_total{app="shop"} 1.0' in router.metrics()
    else:
        assert router.wait() == 0


def test_an_idle_client_that_reads_nothing_does_not_hold_up_the_end(
    start_router: StartRouter, instance: Instance, authority: Authority, tmp_path: Path
) -> None:
    """As those in a pool of connections: they hear a goodbye when they are to be used again."""
    authority.write(tmp_path / "shop.pem", "shop.example")
    listen = f"tls:{{port}}:certificates={tmp_path}"
    router = start(start_router, instance, listen, "--drain-seconds=300")
    with secured(router, authority) as idle:
        idle.send(get())
        assert idle.answer().status == 200
        router.signal(signal.SIGTERM)
        assert router.wait(60) == 0
    assert "cut at the end of the drain" not in router.output()


def test_what_is_too_old_is_refused_and_counted(shop: Router, authority: Authority) -> None:
    def failed() -> int:
        return int(shop.metrics().partition('tls_handshakes_failed_total{app="shop"} ')[2].partition(".")[0])

    before = failed()
    # SECLEVEL=0 lets the client do what it would not by itself.
    said = curl(shop, authority, "--tls-max", "1.1", "--ciphers", "DEFAULT@SECLEVEL=0")
    assert said.returncode == 35, said
    assert "200" not in said.stdout
    assert curl(shop, authority, "--tls-max", "1.2").returncode == 0
    assert curl(shop, authority, "--tls-max", "1.2", "--ciphers", "AES128-SHA").returncode == 35, "no forward secrecy"
    until(lambda: failed() >= before + 2)
    with socket.create_connection(("127.0.0.1", shop.port), 30) as plain:
        plain.sendall(get("/"))
        assert Wire(0, sock=plain).rest()[:1] in (b"", b"\x15")  # an alert, at most
    until(lambda: failed() >= before + 3)


def test_a_client_may_not_negotiate_again(shop: Router) -> None:
    program = shutil.which("openssl")
    assert program
    said = subprocess.run(
        [program, "s_client", "-tls1_2", "-connect", f"127.0.0.1:{shop.port}"],
        input="R\n",
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert "RENEGOTIATING" in said.stdout + said.stderr
    assert "no renegotiation" in said.stderr, said.stderr


def test_a_silent_handshake_has_an_end(start_router: StartRouter, instance: Instance, authority: Authority) -> None:
    pair = authority.write(authority.directory / "silent.pem", "shop.example")
    router = start(start_router, instance, f"tls:{{port}}:cert={pair}", "--head-seconds", "1")
    with socket.create_connection(("127.0.0.1", router.port), 30) as silent:
        assert Wire(0, sock=silent).is_closed()
    assert 'limit="head-seconds"} 1.0' in router.metrics()


def test_who_asks_nothing_after_a_late_handshake_does_not_hold_up_the_end(
    start_router: StartRouter, instance: Instance, authority: Authority
) -> None:
    pair = authority.write(authority.directory / "late.pem", "shop.example")
    router = start(start_router, instance, f"tls:{{port}}:cert={pair}", "--head-seconds=200", "--drain-seconds=300")
    context = ssl.create_default_context(cafile=str(authority.path))
    with socket.create_connection(("127.0.0.1", router.port), 30) as plain:
        until(lambda: router.status()["counts"]["clients_open"] == 1)
        router.signal(signal.SIGTERM)
        until(lambda: "draining 1 client connections" in router.output())
        with context.wrap_socket(plain, server_hostname="shop.example"):
            assert router.wait(60) == 0


@pytest.mark.parametrize("workers", [1, 2])
def test_new_certificates_are_in_force_and_disturb_nobody(
    start_router: StartRouter, instance: Instance, authority: Authority, tmp_path: Path, workers: int
) -> None:
    pair = authority.write(tmp_path / "shop.pem", "shop.example")
    router = start(start_router, instance, f"tls:{{port}}:cert={pair}:key={pair}", "--workers", str(workers))
    until(lambda: serial(router, authority))

    def all_have(wanted: str) -> bool:
        return {serial(router, authority).lstrip("0") for _ in range(6)} == {wanted}

    def said(words: str) -> int:
        return router.output().count(words)

    until(lambda: said("certificates are in force") == workers, 60, "each process has said so at its start")
    assert said(f"{pair} (shop.example; until 20") == workers
    expiry = r'certificate_expiry_timestamp_seconds{app="shop",name="shop.example"} (\S+)'
    (end,) = until(lambda: re.findall(expiry, router.metrics()), what="the metrics tell when it ends")
    assert 9 * 86400 < float(end) - time.time() < 11 * 86400
    with Crowd(lambda: secured(router, authority), 4, 4, 2, 1) as crowd:
        until(lambda: crowd.wrong or len(crowd.counts) == 4, 60)
        for by_signal in (True, False):
            done = said("certificates are in force")
            authority.write(pair, "shop.example")
            after = f"{x509.load_pem_x509_certificate(pair.read_bytes()).serial_number:X}"
            if by_signal:
                router.signal(signal.SIGHUP)
            # One may say it twice, where the signal comes late: it looks by itself, too.
            until(lambda: said("certificates are in force") >= done + workers)  # noqa: B023
            until(lambda: all_have(after), what="all show the new one")  # noqa: B023
        pair.write_text("-----BEGIN NONSENSE-----")
        until(lambda: said(f"the file {pair} has no certificate in PEM form") >= workers)
        until(lambda: said("read before stay in force") >= workers)
        assert all_have(after)
        certificate, _ = authority.issue("shop.example")
        pair.write_bytes(certificate + authority.issue("shop.example")[1])
        until(lambda: "is not that of the certificate" in router.output())
        assert all_have(after)
        done = sum(crowd.counts.values())
        until(lambda: sum(crowd.counts.values()) > done + 50, 30)


def test_a_hand_over_is_not_noticed_by_tls_clients_either(
    start_router: StartRouter, instance: Instance, authority: Authority, tmp_path: Path
) -> None:
    supervisor = Supervisor(tmp_path)
    pair = authority.write(tmp_path / "shop.pem", "shop.example")
    port = free_port()
    router = Router(
        tmp_path,
        ("--drain-seconds", "8"),
        {"NOTIFY_SOCKET": str(supervisor.path)},
        f"tls:{port}:cert={pair}",
    )
    router.write(rollout([instance]))
    try:
        router.start()
        router.port = port
        supervisor.hear("READY=1")
        assert router.process is not None
        supervisor.pids.append(router.process.pid)
        urls = tmp_path / "urls"
        urls.write_text(f'url = "https://shop.example:{port}/"\noutput = /dev/null\n' * 400)
        program = shutil.which("curl")
        assert program
        resolved = ("--resolve", f"shop.example:{port}:127.0.0.1", "--cacert", str(authority.path))
        with Crowd(lambda: secured(router, authority), 8, 8, 4, 2) as crowd:
            until(lambda: crowd.wrong or len(crowd.counts) == 4, 60)
            h2 = subprocess.Popen(
                [
                    program,
                    "-sS",
                    "--http2",
                    "--fail-early",
                    *resolved,
                    "--rate",
                    "2400/m",
                    "-w",
                    "%{http_version}\n",
                    "-K",
                    urls,
                ],
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
            for _ in range(2):
                os.kill(supervisor.pids[-1], signal.SIGUSR2)
                supervisor.hear("MAINPID=")
                done = sum(crowd.counts.values())
                until(lambda: crowd.wrong or sum(crowd.counts.values()) > done + 100, 30)  # noqa: B023
            until(lambda: not any(map(lives, supervisor.pids[:-1])), 60)
            out, err = h2.communicate(timeout=60)
            assert (h2.returncode, out.split(), err) == (0, ["2"] * 400, "")
    finally:
        router.kill()
        supervisor.end()
    assert "Traceback" not in router.output()


def test_the_settings_port_can_be_had_by_tls(
    start_router: StartRouter, instance: Instance, authority: Authority, tmp_path: Path
) -> None:
    pair = authority.write(tmp_path / "admin.pem", "localhost")
    port = free_port()
    start_router(rollout([instance]), "--admin", f"tls:{port}:cert={pair}:interface=127.0.0.1")
    context = ssl.create_default_context(cafile=str(authority.path))
    plain = socket.create_connection(("127.0.0.1", port), 30)
    with Wire(port, sock=context.wrap_socket(plain, server_hostname="localhost")) as wire:
        assert wire.ask(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n").status == 200


def test_the_proxy_protocol_comes_before_tls(
    start_router: StartRouter, instance: Instance, authority: Authority, tmp_path: Path
) -> None:
    pair = authority.write(tmp_path / "shop.pem", "shop.example")
    router = start(start_router, instance, f"haproxy:tls:{{port}}:cert={pair}")
    plain = socket.create_connection(("127.0.0.1", router.port), 30)
    plain.sendall(b"PROXY TCP4 203.0.113.9 192.0.2.1 4242 443\r\n")
    context = ssl.create_default_context(cafile=str(authority.path))
    with Wire(0, sock=context.wrap_socket(plain, server_hostname="shop.example")) as wire:
        assert wire.ask(get()).status == 200
    assert instance.calls[-1].one(b"X-Forwarded-For") == b"203.0.113.9"


@pytest.fixture
def refused(tmp_path: Path, authority: Authority) -> Path:
    authority.write(tmp_path / "good.pem", "shop.example")
    (tmp_path / "none").mkdir()
    (tmp_path / "odd.key").write_bytes(authority.issue("shop.example")[1])
    return tmp_path


@pytest.mark.parametrize(
    ("listen", "words"),
    [
        ("tls:8443", "it needs cert= and key=, or certificates="),
        ("tls:cert={here}/good.pem", "it needs a port"),
        ("tls:8443:cert={here}/gone.pem", "gone.pem cannot be read: No such file"),
        ("tls:8443:cert={here}/good.pem:key={here}/odd.key", "odd.key is not that of the certificate"),
        ("tls:8443:cert={here}/odd.key", "odd.key has no certificate in PEM form"),
        ("tls:8443:certificates={here}/none", "no certificate is in"),
        ("tls:8443:certificate={here}/none", "certificate= means nothing here"),
    ],
)
def test_what_cannot_be_used_is_refused_by_name(refused: Path, listen: str, words: str) -> None:
    router = Router(refused, listen=listen.format(here=refused))
    router.write({})
    with pytest.raises(AssertionError):
        router.start()
    said = (refused / "stderr").read_text()
    assert router.wait() == 1
    assert words in said
    assert said.count("\n") == 1, said
