"""The OCCS emulator as a real process: sign-in, keys, both doors, what is kept, what is refused, and faults."""

from __future__ import annotations

import base64
import http.client
import json
import socket
import ssl
import stat
import subprocess
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from urllib.parse import urlsplit

import pytest

from rolling_router.errors import SettingError
from rolling_router.occs.emulator.state import load
from tests.live.router import until
from tests.occs import Emulator, deployment, emulating


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    """An emulator for all tests that leave it as it was."""
    with emulating(tmp_path_factory.mktemp("emulator")) as emulator:
        yield emulator


@pytest.fixture
def emulator(shared):
    yield shared
    shared.control.mend()


UNAUTHORIZED = (401, b'{"errors": [{"message": "Unauthorized"}]}')


# Signing in


def sign_in(emulator, user="admin", password=None):
    body = json.dumps({"username": user, "password": emulator.password if password is None else password})
    return emulator.ask("POST", "/api/auth", body, authorization="")


def session(emulator):
    return "Session " + json.loads(sign_in(emulator)[1])["token"]


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_a_session_gets_the_bearer_that_the_file_has(emulator, method):
    status, body = sign_in(emulator)
    user = json.loads(body)
    assert (status, user["username"]) == (200, "admin")
    assert len(user["token"]) == 64
    assert list(user) == [
        *("id", "first_name", "last_name", "username", "token"),
        *("type", "role", "group", "last_password_reset_date"),
    ]
    status, body = emulator.ask(method, "/api/token", authorization=f"Session {user['token']}")
    assert (status, json.loads(body)) == (200, {"token": emulator.token})


@pytest.mark.parametrize(("user", "password"), [("admin", "wrong"), ("other", None), (None, None), (["admin"], 1)])
def test_a_wrong_name_or_password_is_not_let_in(emulator, user, password):
    assert sign_in(emulator, user, password) == UNAUTHORIZED


@pytest.mark.parametrize("header", ["", "Bearer", "Bearer x", "Session x", "Basic eDp5", "Bearer \xe9"])
@pytest.mark.parametrize("path", ["/api/kv/rolling/null", "/api/v2/deployments/", "/api/token", "/api/nothing"])
def test_nobody_is_answered_without_a_good_token(emulator, header, path):
    assert emulator.ask("GET", path, authorization=header) == UNAUTHORIZED


def test_a_renewed_bearer_replaces_the_old_one_at_once(tmp_path):
    with emulating(tmp_path) as emulator:
        old = emulator.token
        new = emulator.json("POST", "/api/token/new")["token"]
        assert new != old
        assert emulator.ask("GET", "/api/kv/", authorization=f"Bearer {old}") == UNAUTHORIZED
        assert emulator.ask("GET", "/api/kv/", authorization=f"bearer {new}")[0] == 200
        assert emulator.token == new


def test_the_bearer_expires_when_told_to_and_a_session_gets_another(tmp_path):
    with emulating(tmp_path) as emulator:
        signed_in, old = session(emulator), emulator.token
        emulator.control.expire_token()
        assert emulator.ask("GET", "/api/kv/") == UNAUTHORIZED
        new = json.loads(emulator.ask("GET", "/api/token", authorization=signed_in)[1])["token"]
        assert new not in ("", old)
        assert emulator.ask("GET", "/api/kv/")[0] == 200
        emulator.control.faults(token_seconds=0.3)
        until(lambda: emulator.ask("GET", "/api/kv/") == UNAUTHORIZED)


def test_no_secret_is_in_the_log_and_the_files_are_their_owners(emulator):
    session(emulator)
    for secret in (emulator.token, emulator.password):
        assert secret not in emulator.output()
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in emulator.state.iterdir()}
    assert {name for name, mode in modes.items() if mode & 0o077} == {"certificate.pem"}


# Keys


def test_a_key_is_put_got_and_deleted(emulator):
    path = "/api/kv/one/key with space/~".replace(" ", "%20")
    assert emulator.ask("PUT", path, b"30") == (200, b"true")
    (element,) = emulator.json("GET", path)
    assert element["Key"] == "one/key with space/~"
    assert base64.b64decode(element["Value"]) == b"30"
    assert set(element) == {"Key", "Value", "Flags", "CreateIndex", "ModifyIndex", "LockIndex"}
    assert emulator.ask("GET", path + "?raw=true") == (200, b"30")
    assert emulator.ask("PUT", path, b"31") == (200, b"true")
    (again,) = emulator.json("GET", path)
    assert again["CreateIndex"] == element["CreateIndex"]
    assert again["ModifyIndex"] > element["ModifyIndex"]
    assert emulator.ask("DELETE", path) == (200, b"true")
    assert emulator.ask("DELETE", path) == (200, b"true")
    assert emulator.json("GET", path) == []


@pytest.mark.parametrize("value", [b"", b"\x00\xff\r\n", "é안".encode(), b"x" * 100_000])
def test_any_bytes_are_a_value(emulator, value):
    assert emulator.ask("PUT", "/api/kv/bytes", value) == (200, b"true")
    assert emulator.ask("GET", "/api/kv/bytes?raw") == (200, value)
    assert emulator.json("GET", "/api/kv/bytes")[0]["Value"] == base64.b64encode(value).decode()


def test_a_prefix_is_read_and_removed(emulator):
    for name in ("p/b", "p/a/1", "pq"):
        emulator.put(name, name)
    assert emulator.json("GET", "/api/kv/p/?keys=true") == ["p/a/1", "p/b"]
    assert list(emulator.keys("p")) == ["p/a/1", "p/b", "pq"]
    assert {"p/a/1", "p/b", "pq"} <= {one["Key"] for one in emulator.json("GET", "/api/kv/")}
    assert emulator.ask("DELETE", "/api/kv/p/?recurse=true") == (200, b"true")
    assert list(emulator.keys("p")) == ["pq"]


def test_the_node_shows_the_same_keys_by_both_paths_to_anybody_and_takes_none(emulator):
    emulator.put("seen/here", "yes")
    expected = json.loads(emulator.ask("GET", "/api/kv/seen/?recurse")[1])
    for path in ("/v1/kv/seen/?recurse", "/api/kv/seen/here", "/v1/kv/seen/here"):
        status, body = emulator.ask_node(path)
        assert (status, json.loads(body)) == (200, expected)
    assert emulator.ask_node("/api/kv/seen/?keys=true") == (200, b'["seen/here"]')
    assert emulator.ask_node("/v1/kv/seen/here?raw=true") == (200, b"yes")
    assert emulator.ask_node("/v1/kv/seen/here", "PUT")[0] == 405
    assert emulator.ask_node("/v1/kv/seen/here", "DELETE")[0] == 405
    assert emulator.ask_node("/other")[0] == 404


@pytest.mark.parametrize(
    ("style", "expected"),
    [
        ("array", (200, b"[]")),
        ("object", (200, b"{}")),
        ("null", (200, b"null")),
        ("empty", (200, b"")),
        ("404", (404, b"")),
    ],
)
def test_a_missing_key_is_told_in_the_style_that_was_set(emulator, style, expected):
    emulator.control.faults(missing=style)
    for query in ("", "?recurse", "?keys=true"):
        assert emulator.ask("GET", "/api/kv/no/such" + query) == expected
        assert emulator.ask_node("/v1/kv/no/such" + query) == expected
    assert emulator.ask("GET", "/api/kv/no/such?raw=true") == (expected[0], b"")


def test_other_methods_and_too_large_values_are_refused(emulator):
    assert emulator.ask("POST", "/api/kv/a", b"1")[0] == 405
    assert emulator.ask("PUT", "/api/kv/", b"1")[0] == 400
    assert emulator.ask("PUT", "/api/kv/a", b"1" * 600_000)[0] == 413
    assert emulator.ask("GET", "/api/kv/%ff")[0] == 400


# What is kept


def test_keys_survive_a_restart_and_a_kill(tmp_path):
    emulator = Emulator(tmp_path)
    try:
        emulator.start()
        emulator.put("kept/a", "1")
        emulator.put("kept/b", "2")
        assert emulator.stop() == 0
        token, certificate = emulator.token, (emulator.state / "certificate.pem").read_bytes()
        emulator.start()
        emulator.put("kept/b", "3")
        emulator.kill()
        emulator.start()
        assert emulator.keys("kept/") == {"kept/a": "1", "kept/b": "3"}
        assert (emulator.token, (emulator.state / "certificate.pem").read_bytes()) == (token, certificate)
        emulator.put("kept/c", "4")
        assert emulator.json("GET", "/api/kv/kept/c")[0]["CreateIndex"] == 4
        assert emulator.stop() == 0
    finally:
        emulator.kill()


def test_what_was_said_to_be_kept_is_there_whenever_it_is_killed(tmp_path):
    emulator = Emulator(tmp_path)
    kept = {}
    try:
        for turn in range(4):
            emulator.start()
            assert emulator.keys("turn/").items() >= kept.items()
            killing = threading.Timer(0.05 + 0.15 * turn, emulator.process.kill)
            with suppress(OSError, http.client.HTTPException):
                for number in range(10_000):
                    if number == 2:
                        killing.start()
                    emulator.put(f"turn/{turn}/{number}", str(number))
                    kept[f"turn/{turn}/{number}"] = str(number)
            killing.join()
            emulator.kill()
        assert len(kept) > 4
        (emulator.state / ".state.json-x.new").touch()  # as one that was killed while it wrote may leave
        emulator.start()
        assert emulator.keys("turn/").items() >= kept.items()
        assert list(emulator.state.glob("*.new")) == []
    finally:
        emulator.kill()


def refused(emulator):
    """The one line with which a start is refused."""
    process = emulator.spawn()
    try:
        assert process.wait(60) == 1
    finally:
        process.kill()
    lines = [line for line in emulator.output().splitlines() if line.startswith("occs-emulator: ")]
    assert "Traceback" not in emulator.output()
    return lines[-1]


def test_a_second_emulator_on_one_directory_is_refused(tmp_path):
    with emulating(tmp_path):
        (tmp_path / "second").mkdir()
        second = Emulator(tmp_path / "second", "--state-dir", str(tmp_path / "state"))
        assert "is in use by another emulator" in refused(second)


def test_two_emulators_run_side_by_side(tmp_path):
    for name in "ab":
        (tmp_path / name).mkdir()
    with emulating(tmp_path / "a") as one, emulating(tmp_path / "b") as two:
        one.put("who", "one")
        assert two.get("who") is None
        assert one.token != two.token
        assert two.ask("GET", "/api/kv/", authorization=f"Bearer {one.token}") == UNAUTHORIZED


WRITERS = 20

DAMAGES = [
    (lambda text: text[: len(text) // 2], "line "),
    (lambda text: "", "line 1, column 1"),
    (lambda text: "[]", "it is not a JSON object"),
    (lambda text: text.replace('"format": 1', '"format": 9'), "format"),
    (lambda text: text.replace('"keys"', '"kyes"'), "it has no 'keys'"),
    (lambda text: text.replace('"text": "1"', '"text": 1'), "'kept'"),
    (lambda text: text.replace('"deployments": []', '"deployments": [{}]'), "deployment_id"),
    (lambda text: text.replace('"deployments": []', '"deployments": [[1]]'), "a deployment cannot be meant"),
]
OF_DEPLOYMENTS = 2
"""How many of them, the last ones, are seen when the file has been read."""


def test_a_damaged_state_file_is_named_and_left_alone(tmp_path):
    emulator = Emulator(tmp_path)
    try:
        emulator.start()
        emulator.put("kept", "1")
        assert emulator.stop() == 0
        path = emulator.state / "state.json"
        whole = path.read_text()
        for damage, named in DAMAGES[:-OF_DEPLOYMENTS]:
            path.write_text(damage(whole))
            with pytest.raises(SettingError) as refusal:
                load(path)
            assert str(path) in str(refusal.value)
            assert named in str(refusal.value)
        for damage, named in (DAMAGES[0], *DAMAGES[-OF_DEPLOYMENTS:]):
            path.write_text(damage(whole))
            line = refused(emulator)
            assert str(path) in line
            assert named in line
            assert path.read_text() == damage(whole) != whole
        path.write_text(whole)
        emulator.start()
        assert emulator.get("kept") == "1"
        assert emulator.stop() == 0
    finally:
        emulator.kill()


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (["--manager", "nonsense:1"], "--manager is 'nonsense:1'"),
        (["--latency-seconds", "soon"], "--latency-seconds is 'soon'; it must be a number of seconds"),
        (["--missing", "gone"], "--missing is 'gone'; it must be one of: array, object, null, empty, 404"),
        (["--no-such"], "see twistd occs-emulator --help"),
        (["extra"], "'extra' is not an option"),
        (["--address", "192.0.2.7"], "--address is '192.0.2.7'; it must be an address of this machine"),
        (["--image", "nothing"], "--image is 'nothing'; it must be NAME=COMMAND"),
        (["--publish", "80"], "--publish is '80'; it must be like 80=8000"),
    ],
)
def test_what_cannot_be_used_is_refused_in_one_line(tmp_path, options, named):
    assert named in refused(Emulator(tmp_path, *options))


def test_a_port_that_is_taken_is_named(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        text = f"tcp:{taken.getsockname()[1]}:interface=127.0.0.1"
        assert f"cannot listen on {text}" in refused(Emulator(tmp_path, "--node", text))


def test_a_write_that_cannot_be_kept_is_not_said_to_be(tmp_path):
    with emulating(tmp_path) as emulator:
        token, away = emulator.token, tmp_path / "away"
        ca_file, emulator.ca_file = emulator.ca_file, away / "certificate.pem"
        emulator.state.rename(away)
        status, body = emulator.ask("PUT", "/api/kv/a", b"1", authorization=f"Bearer {token}")
        assert status == 500
        assert "the state cannot be saved" in json.loads(body)["errors"][0]["message"]
        away.rename(emulator.state)
        emulator.ca_file = ca_file
        emulator.put("b", "2")
        assert json.loads((emulator.state / "state.json").read_text())["keys"]["b"]["text"] == "2"


def test_1000_keys(tmp_path):
    with emulating(tmp_path) as emulator:
        where = urlsplit(emulator.manager)
        context = ssl.create_default_context(cafile=str(emulator.ca_file))

        def put(first):
            with closing(http.client.HTTPSConnection(where.netloc, timeout=60, context=context)) as asking:
                header = {"Authorization": f"Bearer {emulator.token}"}
                for number in range(first, 1000, WRITERS):
                    asking.request("PUT", f"/api/kv/many/{number:04}", str(number), header)
                    assert asking.getresponse().read() == b"true"

        with ThreadPoolExecutor(WRITERS) as writers:  # writes that come while one is at it share the next one
            list(writers.map(put, range(WRITERS)))
        keys = emulator.keys("many/")
        assert keys == {f"many/{number:04}": str(number) for number in range(1000)}
        assert list(keys) == sorted(keys)
        emulator.kill()
        emulator.start()
        assert emulator.keys("many/") == keys


# The certificate


def test_the_certificate_is_good_for_curl_and_for_strict_clients(emulator):
    curl = ["curl", "-sS", "--max-time", "30", f"{emulator.manager}/api/kv/"]
    assert subprocess.run([*curl, "--cacert", str(emulator.ca_file)], check=False, capture_output=True).returncode == 0
    assert subprocess.run(curl, check=False, capture_output=True).returncode == 60
    context = ssl.create_default_context(cafile=str(emulator.ca_file))
    context.verify_flags |= ssl.VERIFY_X509_STRICT
    where = urlsplit(emulator.manager)
    with (
        socket.create_connection((where.hostname, where.port), 30) as plain,
        context.wrap_socket(plain, server_hostname="localhost") as wrapped,
    ):
        assert wrapped.version() == "TLSv1.3"


def test_another_address_gets_another_certificate(tmp_path):
    with emulating(tmp_path) as emulator:
        before = emulator.ca_file.read_bytes()
    with emulating(tmp_path, "--address", "127.0.0.2") as emulator:
        assert emulator.ca_file.read_bytes() != before
        assert emulator.ask("GET", "/api/kv/")[0] == 200


def test_all_of_it_may_be_on_an_address_of_ipv6(tmp_path):
    anywhere = r"tcp:0:interface=\:\:1"
    with emulating(tmp_path, "--address=::1", f"--manager={anywhere}", f"--node={anywhere}") as emulator:
        assert emulator.manager.startswith("https://[::1]:")
        health = ["OCCS_HEALTHCHECK_HTTP=http://:3000/healthz?interval=1s"]
        emulator.json("POST", "/api/v2/deployments/", deployment(environment=health))
        until(lambda: emulator.keys("apps/"), 60, "it is well")
        (address,) = emulator.keys("apps/").values()
        assert address.startswith("[::1]:")


# Faults


def test_faults_are_told_and_refused_with_the_mend(emulator):
    told = emulator.control.faults()
    assert told["outage"] == "none"
    assert emulator.control.faults(latency_seconds=0.01)["latency_seconds"] == 0.01
    for wrong in ({"outage": "rain"}, {"no_such": 1}, {"delete_refusals": -1}, {"stop_seconds": True}):
        where = urlsplit(emulator.control.url)
        with closing(http.client.HTTPConnection(where.netloc, timeout=30)) as asking:
            asking.request("PUT", "/faults", json.dumps(wrong))
            answer = asking.getresponse()
            assert answer.status == 422
            assert "must be" in (text := answer.read().decode()) or "there are" in text


def test_an_outage_refuses_connections_and_ends_at_the_same_port(emulator):
    emulator.control.faults(outage="refuse")
    until(lambda: is_refused(lambda: emulator.ask("GET", "/api/kv/")))
    assert emulator.ask_node("/v1/kv/?recurse")[0] == 200
    emulator.control.faults(outage="none", node_outage="refuse")
    until(lambda: answers(emulator))
    until(lambda: is_refused(lambda: emulator.ask_node("/v1/kv/?recurse")))
    emulator.control.mend()
    until(lambda: node_answers(emulator))


def test_an_outage_can_be_an_error(emulator):
    emulator.control.faults(outage="500", node_outage="500")
    assert emulator.ask("GET", "/api/kv/")[0] == 500
    assert emulator.ask_node("/v1/kv/?recurse")[0] == 500


def test_an_outage_can_be_a_silence(emulator):
    emulator.control.faults(node_outage="hang")
    where = urlsplit(emulator.node)
    with socket.create_connection((where.hostname, where.port), 30) as asking:
        asking.sendall(b"GET /v1/kv/a HTTP/1.1\r\nHost: x\r\n\r\n")
        asking.settimeout(0.5)
        with pytest.raises(TimeoutError):
            asking.recv(1)


def test_latency_is_added_to_each_door(emulator):
    emulator.control.faults(latency_seconds=0.3)
    begun = time.monotonic()
    emulator.ask("GET", "/api/kv/")
    assert time.monotonic() - begun >= 0.3


def test_a_write_is_seen_late_at_the_node_and_in_order(emulator):
    emulator.put("late", "0")
    emulator.control.faults(node_delay_seconds=0.8)
    begun = time.monotonic()
    emulator.put("late", "1")
    emulator.control.faults(node_delay_seconds=0)
    emulator.put("late", "2")
    seen = emulator.ask_node("/v1/kv/late?raw")
    if time.monotonic() - begun < 0.8:
        assert seen == (200, b"0")
    until(lambda: emulator.ask_node("/v1/kv/late?raw") == (200, b"2"))


def answers(emulator):
    with suppress(OSError):
        return emulator.ask("GET", "/api/kv/")[0] == 200


def node_answers(emulator):
    with suppress(OSError):
        return emulator.ask_node("/v1/kv/?recurse")[0] == 200


def is_refused(ask):
    try:
        ask()
    except ConnectionRefusedError:
        return True
    except OSError:
        return False  # it was in the queue of a port that is being shut
    return False
