"""The settings port of the real process: sign-in, changes, streams of many browsers, hostile bodies, the contract."""

from __future__ import annotations

import http.client
import json
import re
import resource
import socket
import subprocess
import sysconfig
import time
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import pytest

from tests.occs import emulating

from .command import PROGRAM
from .conftest import StartInstance, StartRouter
from .instance import Instance
from .router import APP, TOKEN, Router, rollout, until
from .wire import Wire, get

SCHEMATHESIS = str(Path(sysconfig.get_path("scripts")) / "schemathesis")


@pytest.fixture(scope="module")
def instances(start_instance: StartInstance) -> tuple[Instance, Instance]:
    return start_instance("1.0"), start_instance("1.1")


@pytest.fixture(scope="module")
def router(start_router: StartRouter, instances: tuple[Instance, Instance], tmp_path_factory: Any) -> Router:
    state = tmp_path_factory.mktemp("state")
    return start_router(rollout([instances[0]], [instances[1]], 0), "--state-dir", str(state))


class Client:
    """One browser, or one program where it has a token."""

    def __init__(self, router: Router, token: str | None = TOKEN) -> None:
        self.router = router
        self.headers = {} if token is None else {"Authorization": f"Bearer {token}"}

    def ask(self, method: str, path: str, body: Any = None, **headers: str) -> tuple[int, Any, dict[str, str]]:
        asking = http.client.HTTPConnection("127.0.0.1", self.router.admin, timeout=30)
        fields = {**self.headers, **{name.replace("_", "-"): text for name, text in headers.items()}}
        if body is not None:
            fields.setdefault("Content-Type", "application/json")
        try:
            asking.request(method, f"/api/v1/{path}", None if body is None else json.dumps(body), fields)
            answer = asking.getresponse()
            text = answer.read()
            return answer.status, json.loads(text) if text else None, dict(answer.getheaders())
        finally:
            asking.close()

    def sign_in(self, **body: Any) -> tuple[int, Any]:
        status, told, headers = self.ask("POST", "session", body)
        if status == 200:
            self.headers = {"Cookie": headers["Set-Cookie"].partition(";")[0], "X-CSRF-Token": told["csrf"]}
        return status, told

    def write(self, method: str, path: str, body: Any) -> tuple[int, Any]:
        revision = self.ask("GET", "status")[1]["revision"]
        return self.ask(method, path, body, If_Match=f'"{revision}"')[:2]


class Stream:
    """An open event stream."""

    def __init__(self, client: Client, last: str | None = None, receive: int | None = None) -> None:
        """:param receive: bytes of the socket's receive buffer."""
        self.sock = socket.socket()
        if receive is not None:
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive)
        self.sock.settimeout(30)
        self.sock.connect(("127.0.0.1", client.router.admin))
        fields = {
            "Host": f"127.0.0.1:{client.router.admin}",
            **client.headers,
            **({} if last is None else {"Last-Event-ID": last}),
        }
        head = "".join(f"{name}: {text}\r\n" for name, text in fields.items())
        self.sock.sendall(f"GET /api/v1/events HTTP/1.0\r\n{head}\r\n".encode())
        self._kept = b""

    def __enter__(self) -> Stream:
        return self

    def __exit__(self, *_: Any) -> None:
        self.sock.close()

    def next(self, name: str | None = None) -> tuple[str, Any, str | None]:
        """The next event, or the next of this name."""
        while True:
            while b"\n\n" not in self._kept:
                data = self.sock.recv(1 << 16)
                assert data, f"the stream ended; left: {self._kept!r}"
                self._kept += data.replace(b"\r\n", b"\n")
            frame, _, self._kept = self._kept.partition(b"\n\n")
            fields = dict(line.split(": ", 1) for line in frame.decode("ascii").splitlines() if ": " in line)
            if "event" in fields and name in (None, fields["event"]):
                return fields["event"], json.loads(fields["data"]), fields.get("id")


def signed_in(router: Router) -> Client:
    client = Client(router, None)
    assert client.sign_in(token=TOKEN)[0] == 200
    return client


def test_a_rollout_is_steered_by_the_api_and_the_traffic_follows_at_once(router: Router) -> None:
    page = signed_in(router)
    with Stream(page) as stream:
        assert stream.next()[0] == "state"
        series = stream.next("series")[1]
        assert series["complete"] is True
        last = series["to"] or stream.next("sample")[1]["at"]
        status, told = page.write("PUT", "settings/blend", {"blend": 50, "why": "half"})
        assert (status, told["in_force"], told["settings"]["blend"]) == (200, True, 50)
        assert sorted(router.ask(get()).version for _ in range(10)) == ["1.0"] * 5 + ["1.1"] * 5
        told, candidate = {}, 0.0
        while not (told.keys() >= {"history", "state"} and candidate > 4.9):  # in whichever order they come
            name, event, _ = stream.next()
            told[name] = event
            if name == "sample" and event["candidate"]:
                candidate += event["candidate"]["requests"] * (event["at"] - last)
                last = event["at"]
        assert told["history"]["why"] == "half"
        assert told["state"]["snapshot"]["blend"] == 50
        assert candidate < 5.1
    assert page.write("POST", "undo", {})[1]["settings"]["blend"] == 0
    assert {router.ask(get()).version for _ in range(4)} == {"1.0"}


def test_fifty_browsers_are_told_of_an_edit_of_the_file_at_once(router: Router) -> None:
    page = signed_in(router)
    with ExitStack() as stack:
        streams = [stack.enter_context(Stream(page)) for _ in range(50)]
        for stream in streams:
            stream.next("series")
        keys = json.loads(router.store.read_text())
        router.write({**keys, f"rolling/{APP}/blendpercent": "7"})
        written = time.time()
        for stream in streams:
            name, told, seconds = "", {}, 0
            while not (name == "state" and told["snapshot"]["blend"] == 7):  # of what was before it may hear, too
                name, told, _ = stream.next()
                seconds += name == "sample" and told["at"] >= written
                assert seconds < 5, "other news come before it"
        router.put(keys)


@pytest.mark.timeout(240)
def test_a_browser_that_does_not_read_is_dropped_and_nobody_waits(router: Router) -> None:
    page = signed_in(router)
    with Stream(page) as other, Stream(page, receive=1024) as slow:
        other.next("series")
        before = router.rss()
        long = "x" * 1000
        deadline = time.monotonic() + 180
        sent = 0
        while "took no events" not in router.output():
            assert time.monotonic() < deadline, "it is never dropped"
            status, _ = page.write("PUT", "settings/blend", {"blend": 1 + sent % 99, "why": long})
            assert status == 200
            sent += 1
            other.next("state")
        assert router.rss() - before < 32 << 20
        assert slow.sock.fileno() > 0
        assert other.next("sample")[0] == "sample"
    page.write("PUT", "settings/blend", {"blend": 0})


@pytest.mark.parametrize("chunked", [False, True])
def test_a_body_of_10_megabytes_is_refused_in_words_and_takes_no_memory(router: Router, chunked: bool) -> None:
    before = router.rss()
    asking = http.client.HTTPConnection("127.0.0.1", router.admin, timeout=30)
    piece = b'{"blend": 9, "why": "' + b"x" * 65_000
    headers = {"Authorization": f"Bearer {TOKEN}", "Content-Type": "application/json", "If-Match": '"x"'}
    if not chunked:
        headers["Content-Length"] = str(160 * len(piece))
    pieces = (piece for _ in range(160))
    asking.request("PUT", "/api/v1/settings/blend", pieces, headers, encode_chunked=chunked)
    answer = asking.getresponse()
    assert (answer.status, json.loads(answer.read())["code"]) == (413, "too-large")
    asking.close()
    assert router.rss() - before < 8 << 20
    assert Client(router).ask("GET", "status")[0] == 200


def test_another_name_for_this_machine_is_refused(router: Router) -> None:
    client = Client(router)
    assert client.ask("GET", "status", Host="evil.example")[1]["code"] == "wrong-host"
    assert client.ask("GET", "status", Host=f"localhost:{router.admin}")[0] == 200


def test_a_crowd_that_asks_nothing_takes_no_descriptor_from_clients_and_keeps_nobody_out(router: Router) -> None:
    assert router.process is not None
    whole = resource.prlimit(router.process.pid, resource.RLIMIT_NOFILE)
    begun = (b"", b"GET /", b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\n")
    with ExitStack() as stack:
        resource.prlimit(router.process.pid, resource.RLIMIT_NOFILE, (240, whole[1]))
        stack.callback(resource.prlimit, router.process.pid, resource.RLIMIT_NOFILE, whole)
        stream = stack.enter_context(Stream(signed_in(router)))
        assert stream.next()[0] == "state"
        crowd = [stack.enter_context(socket.create_connection(("127.0.0.1", router.admin))) for _ in range(300)]
        for number, one in enumerate(crowd):
            one.settimeout(30)
            with suppress(OSError):  # those that had to go
                one.sendall(begun[number % 3])
        for one in crowd[:200]:
            with suppress(ConnectionResetError):
                assert one.recv(1) == b""
        assert router.ask(get()).status == 200
        assert Client(router).ask("GET", "status")[0] == 200
        stream.next("sample")  # after all that


def test_two_names_are_one_too_many_and_a_status_has_its_phrase(router: Router) -> None:
    head = f"GET / HTTP/1.1\r\nHost: evil.example\r\nHost: localhost:{router.admin}\r\n\r\n"
    with Wire(router.admin) as wire:
        answer = wire.ask(head.encode("ascii"))
    assert (answer.status, json.loads(answer.body)["code"]) == (400, "bad-request")
    asking = http.client.HTTPConnection("127.0.0.1", router.admin, timeout=30)
    asking.request("GET", "/", headers={"Host": "evil.example"})
    answered = asking.getresponse()
    assert (answered.status, answered.reason) == (421, "Misdirected Request")
    asking.close()


def test_tokens_are_made_and_revoked_by_the_command_while_the_router_runs(
    start_router: StartRouter, instances: tuple[Instance, Instance], tmp_path: Path
) -> None:
    state = tmp_path / "state"
    router = start_router(
        rollout([instances[0]]), "--state-dir", str(state), environ={"ROLLING_ROUTER_TOKEN": ""}, directory=tmp_path
    )
    found = until(lambda: re.search(r"(http://127\.0\.0\.1:\d+)/#code=([\w-]+)", router.output()))
    assert found[1] == f"http://127.0.0.1:{router.admin}"
    first = Client(router, None)
    status, told = first.sign_in(code=found[2])
    assert (status, told["role"]) == (200, "operator")
    assert Client(router, told["token"]).ask("GET", "status")[0] == 200

    def token(*words: str) -> str:
        argv = [PROGRAM, "token", *words, "--state-dir", str(state)]
        ended = subprocess.run(argv, capture_output=True, text=True, check=True, env={"PATH": "/usr/bin:/bin"})
        return ended.stdout.strip()

    secret = token("create", "--name", "jun", "--role", "viewer")
    viewer = Client(router, secret)
    until(lambda: viewer.ask("GET", "status")[0] == 200, what="the new token counts")
    assert viewer.ask("PUT", "settings/blend", {"blend": 1}, If_Match='"x"')[1]["code"] == "operator-needed"
    assert [line.split()[0] for line in token("list").splitlines()] == ["first", "jun"]
    page = Client(router, None)
    assert page.sign_in(token=secret)[0] == 200
    token("revoke", "--name", "jun")
    until(lambda: viewer.ask("GET", "status")[0] in (401, 429), what="the token counts no more")
    assert page.ask("GET", "status")[0] == 401

    router.stop()
    router.start()
    assert "#code=" not in router.output()
    assert Client(router, told["token"]).ask("GET", "status")[0] == 200
    assert first.ask("GET", "status")[0] == 200, "a sign-in outlives a restart"
    assert page.ask("GET", "status")[0] == 401
    assert secret not in router.output()
    assert told["token"] not in router.output()


def test_streams_end_with_the_router_and_begin_anew_with_it(
    start_router: StartRouter, instances: tuple[Instance, Instance]
) -> None:
    router = start_router(rollout([instances[0]]))
    with Stream(Client(router)) as stream:
        _, _, last = stream.next("sample")
        run = stream.next("sample")[2]
        assert router.stop() == 0
        assert stream.next("end")[1] == {"reason": "stopping"}
    router.start()
    with Stream(Client(router), last=last) as stream:
        state, series = stream.next("state")[1], stream.next("series")[1]
        assert series["complete"] is True
        assert run is not None
        assert state["router"]["run"] == series["run"] != run.partition("-")[0]


def test_workers_are_sampled_as_one_and_a_change_is_in_force_when_all_follow(
    start_router: StartRouter, instances: tuple[Instance, Instance]
) -> None:
    router = start_router(rollout([instances[0]], [instances[1]], 0), "--workers", "2")
    until(lambda: router.status()["in_force"], 60, "both workers follow")
    with Stream(Client(router)) as stream:

        def sample() -> Any:
            """The next second in which both have told: none is known of the others."""
            return until(lambda: (told := stream.next("sample")[1])["stable"] and told, 60, "both workers tell")

        last, total = sample()["at"], 0.0
        for _ in range(20):
            router.ask(get())
        while total < 19.9:  # after seconds without a sample, its numbers are the average over all of them
            told = sample()
            total += told["stable"]["requests"] * (told["at"] - last)
            last = told["at"]
        assert total < 20.1
        Client(router).write("PUT", "settings/blend", {"blend": 100})
        until(lambda: (state := stream.next("state")[1])["in_force"] and state["snapshot"]["blend"] == 100, 60)
        assert {router.ask(get()).version for _ in range(6)} == {"1.1"}


def test_metrics_can_be_closed(start_router: StartRouter, instances: tuple[Instance, Instance]) -> None:
    router = start_router(rollout([instances[0]]), "--metrics-need-token")
    asking = http.client.HTTPConnection("127.0.0.1", router.admin, timeout=30)
    asking.request("GET", "/metrics")
    assert asking.getresponse().status == 401
    asking.close()
    assert router.get("/metrics")[0] == 200


def test_the_api_keeps_its_contract(router: Router, tmp_path: Path) -> None:
    (tmp_path / "openapi.json").write_bytes(router.get("/api/v1/openapi.json")[1])
    argv = [SCHEMATHESIS, "run", str(tmp_path / "openapi.json"), "--url", f"http://127.0.0.1:{router.admin}"]
    argv += ["--exclude-operation-id", "events", "-H", f"Authorization: Bearer {TOKEN}", "--phases", "coverage,fuzzing"]
    # Wrong tokens end in 429, a missing If-Match is 428, and whatever a rule of the rollout refuses is 422.
    excluded = "ignored_auth,missing_required_header,positive_data_acceptance"
    argv += ["--exclude-checks", excluded, "--max-examples", "30", "--seed", "1"]
    argv += ["--request-timeout", "10", "--no-color", "--generation-database", "none"]
    ended = subprocess.run(argv, cwd=tmp_path, capture_output=True, text=True, timeout=110, check=False)
    assert ended.returncode == 0, ended.stdout[-6000:] + ended.stderr[-2000:]
    assert "Traceback" not in router.output()


# OCCS


def test_an_occs_bearer_of_the_console_signs_in_and_sets_the_application_up(
    start_router: StartRouter, instances: tuple[Instance, Instance], tmp_path: Path
) -> None:
    with emulating(tmp_path) as emulator:
        trust = {"OCCS_CA": str(emulator.ca_file), "OCCS_API_TOKEN": emulator.token}
        router = start_router(None, "--store", f"occs:{emulator.manager}", environ=trust)
        page = Client(router, None)
        way = page.ask("GET", "session")[1]["sign_in"]
        assert (way["ways"], way["host"], way["host_is_fixed"]) == (["occs", "token"], emulator.manager, True)
        assert page.sign_in(bearer="wrong-and-secret", app=APP)[1]["code"] == "bearer-refused"
        assert page.sign_in(bearer=emulator.token, host="https://other.example")[1]["code"] == "host-refused"
        assert page.sign_in(bearer=emulator.token, host=emulator.manager, app=APP, port=3000)[0] == 200
        status, told = page.write(
            "PUT", "settings", {"stable": None, "candidate": None, "blend": 0, "stickiness": "off"}
        )
        assert (status, told["changed"], told["settings"]["blend"]) == (200, True, 0)
        # The session writes through a store of its own; the router's looks there once a second.
        until(lambda: page.ask("GET", "status")[1]["revision"] == told["revision"], 30, "the router follows")
        with Stream(page) as stream:
            stream.next("series")
            emulator.put(f"rolling/{APP}/stickyness", "1")
            until(
                lambda: stream.next("state")[1]["snapshot"]["stickiness"] == "cookie", 30, "the change shows by itself"
            )
        emulator.stop()
        assert Client(router, None).sign_in(bearer=emulator.token)[1]["code"] == "host-silent"
        assert "wrong-and-secret" not in router.output()
        assert emulator.token not in router.output()
