"""Instances that are spoken to by TLS: who proves to be who it should is served from, all others are not."""

from __future__ import annotations

import select
import shutil
import socket
import ssl
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import attrs
import pytest

from tests.ports import free_port

from .authority import Authority
from .conftest import StartInstance, StartRouter
from .crowd import Crowd, serve_all_kinds
from .instance import Instance
from .router import Router, rollout, until
from .wire import get


@attrs.define(eq=False)
class Front:
    """TLS before an instance, by OpenSSL, with what it says of itself in the test's hand."""

    instance: Instance
    pair: Path
    host: str = "127.0.0.1"
    is_secure: bool = True
    names: list[str | None] = attrs.field(factory=list)
    _listening: socket.socket = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self._listening = socket.create_server(("127.0.0.1", 0), backlog=256)
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def version(self) -> str:
        return self.instance.version

    @property
    def name(self) -> str:
        return self.instance.name

    @property
    def address(self) -> str:
        return f"https://{self.host}:{self._listening.getsockname()[1]}"

    def stop(self) -> None:
        with suppress(OSError):
            self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                threading.Thread(target=self._serve, args=(self._listening.accept()[0],), daemon=True).start()

    def _serve(self, plain: socket.socket) -> None:
        if not self.is_secure:
            with plain:
                plain.recv(1 << 16)
                plain.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")
            return
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.pair)
        context.sni_callback = lambda _, name, __: self.names.append(name)
        with (
            suppress(OSError),
            plain,
            context.wrap_socket(plain, server_side=True) as client,
            socket.create_connection(("127.0.0.1", self.instance.port)) as behind,
        ):
            _copy_both_ways(client, behind)
            client.unwrap()


def _copy_both_ways(client: ssl.SSLSocket, behind: socket.socket) -> None:
    """Until either side ends. In one thread: OpenSSL's connections are not for two at once."""
    while True:
        ready = [client] if client.pending() else select.select([client, behind], [], [])[0]
        for one in ready:
            data = one.recv(1 << 16)
            if not data:
                return
            (client if one is behind else behind).sendall(data)


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


StartFront = Callable[..., Front]


@pytest.fixture
def front(start_instance: StartInstance, authority: Authority, tmp_path: Path) -> Iterator[StartFront]:
    started: list[Front] = []

    def start(*names: str, version: str = "1.0", days: float = 10, host: str = "127.0.0.1") -> Front:
        instance = start_instance(version)
        serve_all_kinds(instance)
        pair = authority.write(tmp_path / f"{len(started)}.pem", *names, days=days)
        started.append(Front(instance, pair, host))
        return started[-1]

    yield start
    for one in started:
        one.stop()


def test_requests_of_all_kinds_go_by_tls(start_router: StartRouter, authority: Authority, front: StartFront) -> None:
    stable = front("127.0.0.1")
    router = start_router(rollout([stable]), "--upstream-ca", str(authority.path), "--health-path", "/healthz")
    with Crowd(router.wire, 4, 4, 4, 2) as crowd:
        until(lambda: crowd.wrong or (len(crowd.counts) == 4 and sum(crowd.counts.values()) > 200), 60)
    hosts = {one.one(b"Host") for one in stable.instance.calls if one.target != b"/healthz"}
    assert hosts == {b"shop.example"}
    assert any(one.target == b"/healthz" for one in stable.instance.calls)
    assert stable.instance.connections < len(stable.instance.calls), "connections are kept"
    assert f'instance="{stable.address}"' in router.metrics()
    assert set(stable.names) == {None}, "an address is no name"


def test_the_instance_s_own_name_is_asked_for_and_must_be_proved(
    start_router: StartRouter, authority: Authority, front: StartFront
) -> None:
    named = front("localhost", host="localhost")
    router = start_router(rollout([named]), "--upstream-ca", str(authority.path))
    assert router.ask(get()).status == 200
    assert set(named.names) == {"localhost"}


def test_one_name_can_be_asked_of_all(start_router: StartRouter, authority: Authority, front: StartFront) -> None:
    inside = front("shop.internal")
    router = start_router(
        rollout([inside]),
        "--upstream-ca",
        str(authority.path),
        "--upstream-name",
        "shop.internal",
        "--health-path",
        "/",
    )
    assert router.ask(get()).status == 200
    assert set(inside.names) == {"shop.internal"}


@pytest.mark.parametrize("kind", ["another name", "expired", "unknown authority", "no tls", "silent"])
def test_who_proves_nothing_gets_no_request(
    start_router: StartRouter, authority: Authority, front: StartFront, tmp_path: Path, kind: str
) -> None:
    bad = front(
        "other.example" if kind == "another name" else "127.0.0.1", version="1.1", days=-1 if kind == "expired" else 10
    )
    trusted = authority.path
    words = {
        "another name": "certificate is for another name; see --upstream-name",
        "expired": "certificate verify failed; it is expired",
        "unknown authority": "certificate verify failed",
        "no tls": "TLS: wrong version number",
        "silent": "it took no connection in time",
    }[kind]
    good = front("127.0.0.1", version="1.0")
    if kind == "unknown authority":
        (tmp_path / "other").mkdir()
        bad.pair = Authority(tmp_path / "other").write(tmp_path / "other.pem", "127.0.0.1")
    elif kind == "no tls":
        bad.is_secure = False
    with socket.create_server(("127.0.0.1", 0)) as listening:
        keys = rollout([good], [bad], 50)
        if kind == "silent":
            keys = {
                key: text.replace(bad.address, f"https://127.0.0.1:{_port(listening)}") for key, text in keys.items()
            }
        options = ("--connect-seconds", "3") if kind == "silent" else ()
        router = start_router(keys, "--upstream-ca", str(trusted), *options)
        answers = [router.ask(get()) for _ in range(4)]
        assert [(answer.status, answer.version) for answer in answers] == [(200, "1.0")] * 4
        assert bad.instance.calls == []
        until(lambda: words in router.output(), what=words)
        assert 'rolling_router_failed_attempts_total{app="shop",' in router.metrics()
        assert 'role="candidate"' in router.metrics().partition("failed_attempts_total{")[2].partition("\n")[0]


def _port(listening: socket.socket) -> int:
    port: int = listening.getsockname()[1]
    return port


def test_without_an_authority_of_ours_the_system_s_are_believed(start_router: StartRouter, front: StartFront) -> None:
    router = start_router(rollout([front("127.0.0.1")]))
    assert router.ask(get()).status == 503


def test_nginx_by_tls(start_router: StartRouter, authority: Authority, tmp_path: Path) -> None:
    program = shutil.which("nginx", path="/usr/sbin:/usr/bin:/sbin:/bin")
    assert program, "nginx is not there; .ci/needs says what to install"
    pair = authority.write(tmp_path / "nginx.pem", "127.0.0.1")
    port = free_port()
    (tmp_path / "nginx.conf").write_text(
        f"daemon off; pid {tmp_path}/pid; error_log {tmp_path}/error.log;\n"
        "events {}\nhttp { access_log off;\n"
        f"client_body_temp_path {tmp_path}/b; proxy_temp_path {tmp_path}/p; fastcgi_temp_path {tmp_path}/f;\n"
        f"uwsgi_temp_path {tmp_path}/u; scgi_temp_path {tmp_path}/s; keepalive_requests 3;\n"
        f"server {{ listen 127.0.0.1:{port} ssl; ssl_certificate {pair}; ssl_certificate_key {pair};\n"
        'location / { add_header X-Version nginx; return 200 "$ssl_protocol $scheme"; } } }\n'
    )
    process = subprocess.Popen([program, "-p", str(tmp_path), "-c", str(tmp_path / "nginx.conf")])
    try:
        until(lambda: not socket.socket().connect_ex(("127.0.0.1", port)))
        keys = rollout()
        path = "apps/app-1.0-80/containers"
        keys |= {"rolling/shop/stable/id": path, f"{path}/a": f"https://127.0.0.1:{port}"}
        router: Router = start_router(keys, "--upstream-ca", str(authority.path))
        with router.wire() as wire:
            for _ in range(12):
                answer = wire.ask(get())
                assert (answer.status, answer.body) == (200, b"TLSv1.2 https")
    finally:
        process.terminate()
        process.wait(20)


def test_a_file_of_authorities_that_cannot_be_used_is_refused(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text("nothing")
    router = Router(tmp_path, ("--upstream-ca", str(tmp_path / "ca.pem")))
    router.write({})
    with pytest.raises(AssertionError, match=r"ca\.pem cannot be used: there is no certificate in PEM form in it"):
        router.start()
    assert router.wait() == 1


def test_a_host_that_no_certificate_can_be_for_fails_as_one_that_cannot_be_reached(
    start_router: StartRouter, start_instance: StartInstance
) -> None:
    stable = start_instance("1.0")
    router = start_router(rollout([stable]))
    keys = rollout([stable], [start_instance("1.1")], 50)
    odd = {path: "https://my_app.internal:8443" if "1.1" in path else it for path, it in keys.items()}
    odd["rolling/shop/candidate/id"] = keys["rolling/shop/candidate/id"]
    router.put(odd)
    assert {router.ask(get()).status for _ in range(20)} == {200}
    assert "no certificate can be for my_app.internal" in router.output()
    assert "Traceback" not in router.output()


@pytest.mark.parametrize("name", ["a b", "a..b", "x" * 300])
def test_a_name_that_nobody_can_have_is_refused_at_the_start(tmp_path: Path, name: str) -> None:
    router = Router(tmp_path, ("--upstream-name", name))
    router.write({})
    with pytest.raises(AssertionError):
        router.start()
    assert router.wait() == 1
    assert "is no host's name" in router.output()
