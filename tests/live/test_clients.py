"""curl before it and nginx behind it: clients and servers that were written by others."""

from __future__ import annotations

import gzip
import hashlib
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import attrs
import pytest

from .conftest import StartInstance, StartRouter
from .instance import Instance
from .nginx import Nginx
from .router import ROOT, Router, rollout, until
from .wire import get

CONTENT = os.urandom(3_000_000)


@pytest.fixture(scope="module")
def nginx(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nginx]:
    one = Nginx(tmp_path_factory.mktemp("nginx"))
    (one.files / "content").write_bytes(CONTENT)
    (one.files / "slow").write_bytes(CONTENT)
    (one.files / "packed").write_text("squeeze me " * 10_000)
    (one.files / "upload").mkdir()
    yield one
    one.stop()


@pytest.fixture(scope="module")
def router(start_router: StartRouter, nginx: Nginx) -> Router:
    return start_router(rollout([nginx]))


@attrs.frozen
class Said:
    head: str
    body: bytes

    @property
    def status(self) -> str:
        return self.head.split(" ", 2)[1]

    def field(self, name: str) -> str | None:
        matched = re.search(rf"(?im)^{name}: (.*?)\r?$", self.head)
        return matched and matched[1]


def curl(router: Router, path: str, *options: str, data: bytes = b"") -> Said:
    """Run curl; gives the last answer's head, and its body."""
    heads = router.directory / "heads"
    command = ["curl", "-sS", "--max-time", "20", "-D", str(heads), *options, f"http://127.0.0.1:{router.port}{path}"]
    done = subprocess.run(command, input=data, capture_output=True, timeout=30, check=False)
    assert done.returncode == 0, done.stderr.decode()
    return Said(heads.read_bytes().decode("latin-1").strip().split("\r\n\r\n")[-1], done.stdout)


def test_curl_gets(router: Router) -> None:
    said = curl(router, "/content")
    assert (said.status, said.body) == ("200", CONTENT)
    assert (
        said.field(
            "Server",
        )
        is not None
    )
    assert said.field("X-Version") == "1.0"


def test_curl_asks_for_the_head(router: Router) -> None:
    said = curl(router, "/content", "--head")
    assert (said.status, said.field("Content-Length")) == ("200", "3000000")


def test_curl_asks_by_http_1_0(router: Router) -> None:
    said = curl(router, "/content", "--http1.0")
    assert (said.status, said.body) == ("200", CONTENT)


@pytest.mark.parametrize("options", [[], ["-X", "OPTIONS"], ["-d", "a=1"]])
def test_curl_s_offer_of_http_2_is_declined_and_the_request_answered(
    router: Router, start_instance: StartInstance, nginx: Nginx, options: list[str]
) -> None:
    instance: Instance = start_instance()
    router.put(rollout([instance]))
    try:
        assert curl(router, "/", "--http2", *options).status == "200"
        assert instance.calls[-1].body == (b"a=1" if "-d" in options else b"")
        assert not {b"upgrade", b"connection", b"http2-settings"} & {
            key.lower() for key, _ in instance.calls[-1].fields
        }
    finally:
        router.put(rollout([nginx]))


def test_curl_asks_for_a_range_and_for_what_it_has_already(router: Router) -> None:
    part = curl(router, "/content", "--range", "1000-1999")
    assert (part.status, part.body) == ("206", CONTENT[1000:2000])
    tag = curl(router, "/content", "--head").field("ETag")
    again = curl(router, "/content", "--header", f"If-None-Match: {tag}")
    assert (again.status, again.body) == ("304", b"")


def test_compressed_answers_stay_as_they_are(router: Router, nginx: Nginx) -> None:
    said = curl(router, "/packed", "--header", "Accept-Encoding: gzip")
    assert said.field("Content-Encoding") == "gzip"
    assert gzip.decompress(said.body) == (nginx.files / "packed").read_bytes()
    assert curl(router, "/packed", "--compressed").body == (nginx.files / "packed").read_bytes()


def test_redirections_are_the_client_s_to_follow(router: Router) -> None:
    assert curl(router, "/moved").status == "301"
    said = curl(router, "/moved", "--location")
    assert (said.status, said.body) == ("200", b"hello from 1.0\n")


def test_a_path_is_passed_on_as_it_is(router: Router, nginx: Nginx) -> None:
    (nginx.files / "a b").write_text("blank")
    assert curl(router, "/a%20b").body == b"blank"
    assert curl(router, "/x/../a%20b", "--path-as-is").body == b"blank"


@pytest.mark.parametrize("how", ["length", "chunked", "expect"])
def test_curl_puts(router: Router, nginx: Nginx, how: str) -> None:
    options = {"length": ["-H", "Expect:"], "chunked": ["-H", "Transfer-Encoding: chunked"], "expect": []}[how]
    source = nginx.directory / "to-send"
    source.write_bytes(CONTENT)
    said = curl(router, f"/upload/{how}", "-T", "-" if how == "chunked" else str(source), *options, data=CONTENT)
    assert said.status == "201"
    assert (nginx.files / "upload" / how).read_bytes() == CONTENT
    assert curl(router, f"/upload/{how}", "-X", "DELETE").status == "204"


def test_curl_posts_forms_and_files(start_instance: StartInstance, router: Router, nginx: Nginx) -> None:
    instance: Instance = start_instance()
    router.put(rollout([instance]))
    try:
        said = curl(router, "/form", "-d", "a=1&b=%C3%A9")
        assert (said.status, said.field("X-Length")) == ("200", "12")
        assert instance.calls[-1].body == b"a=1&b=%C3%A9"
        assert instance.calls[-1].one(b"Content-Type") == b"application/x-www-form-urlencoded"
        said = curl(router, "/file", "-F", f"file=@{nginx.files / 'content'}")
        assert said.field("X-Sha256") == hashlib.sha256(instance.calls[-1].body).hexdigest()
        assert CONTENT in instance.calls[-1].body
    finally:
        router.put(rollout([nginx]))


def test_curl_keeps_its_connection(router: Router) -> None:
    url = f"http://127.0.0.1:{router.port}/hello"
    command = ["curl", "-sS", "--max-time", "20", "-w", "%{num_connects} ", "-o", "/dev/null"]
    done = subprocess.run([*command, *[url] * 5, *["-o", "/dev/null"] * 4], capture_output=True, timeout=30, check=True)
    assert done.stdout.split() == [b"1", b"0", b"0", b"0", b"0"]


def test_a_slow_answer_of_nginx_arrives_whole(router: Router) -> None:
    assert curl(router, "/slow").body == CONTENT


def test_an_nginx_that_often_ends_kept_connections_costs_no_request(start_router: StartRouter, tmp_path: Path) -> None:
    nginx = Nginx(tmp_path, kept_requests=3)
    try:
        router = start_router(rollout([nginx]))
        with router.wire() as one, router.wire() as other:
            for wire in (one, other) * 150:
                assert wire.ask(get("/hello")).status == 200
    finally:
        nginx.stop()


def test_the_demo_s_application_is_split_too(start_router: StartRouter) -> None:
    command = [sys.executable, "-m", "examples.hello_world", "--port", "0", "--version"]
    started = [
        subprocess.Popen([*command, version], cwd=ROOT, stdout=subprocess.PIPE, text=True) for version in ("2.0", "2.1")
    ]
    try:
        pages = []
        for version, process in zip(("2.0", "2.1"), started, strict=True):
            assert process.stdout is not None
            matched = re.search(r"127\.0\.0\.1:\d+", process.stdout.readline())
            assert matched
            pages.append(attrs.make_class("Page", ["version", "address", "name"])(version, matched[0], "p"))
        router = start_router(rollout(pages[:1], pages[1:], 50, 1))
        with router.wire() as wire:
            first = wire.ask(get())
            jar = "; ".join(line.partition(b";")[0].decode() for line in first.all(b"Set-Cookie"))
            assert len(first.all(b"Set-Cookie")) == 2, "the application's and ours"
            seen = re.search(rb"Hello World v. (2\.\d)", first.body)
            assert seen
            for visit in range(2, 6):
                page = wire.ask(get("/", f"Cookie: {jar}")).body
                assert seen[0] in page
                assert b"Visits in this session: %d<" % visit in page
        assert curl(router, "/slow?seconds=1").body == b"1 seconds later\n"
        echoed = curl(router, "/echo", "--data-binary", "@-", data=CONTENT)
        assert echoed.body == CONTENT
        until(lambda: router.status()["counts"]["requests"] == 7)
    finally:
        for process in started:
            process.terminate()
            process.wait(60)
            if process.stdout is not None:
                process.stdout.close()
