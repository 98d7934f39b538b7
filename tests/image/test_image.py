"""The image: what it is called and says of itself, how it starts, serves and ends. Run by `make test-image`."""

from __future__ import annotations

import configparser
import json
import os
import re
import signal
import socket
import subprocess
import threading
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from tests.occs import emulating
from tests.outside import ROOT, instance, rollout

from .conftest import REGISTRY
from .container import config, get, run, succeed, until

pytestmark = pytest.mark.timeout(600)

SETUP = configparser.ConfigParser()
SETUP.read(ROOT / "setup.cfg", "utf-8")
VERSION = SETUP["metadata"]["version"]
NAME = f"{REGISTRY}/me/rolling-router-sticky-sessions:{VERSION}"
ROUTER = 10080


@pytest.fixture
def store(tmp_path):
    """A file store that the container sees as ``/store/rollout.json``, and the options to use it."""
    folder = tmp_path / "store"
    folder.mkdir(mode=0o755)
    folder.chmod(0o755)
    tmp_path.chmod(0o755)
    (folder / "rollout.json").write_text("{}")
    (folder / "rollout.json").chmod(0o644)
    return folder / "rollout.json"


@pytest.fixture
def start(container, store, tmp_path):
    """Start the container with the file store."""

    def begin(**how):
        options = ("--app", "shop", "--store", "file:/store/rollout.json")
        container.start(tmp_path / "output", *options, volume=f"{store.parent}:/store:ro", **how)
        return container

    return begin


# What it is


def test_it_is_named_after_the_account_and_the_version(image):
    assert image == NAME
    assert NAME in succeed("buildah", "images", "--format", "{{.Name}}:{{.Tag}}").split()


def test_its_labels_say_what_it_is(image):
    prefix = "org.opencontainers.image."
    labels = {key.removeprefix(prefix): value for key, value in config(image)["Labels"].items()}
    assert labels["title"] == "rolling-router-sticky-sessions"
    assert labels["version"] == VERSION
    assert labels["licenses"] == "MIT"
    assert re.fullmatch("[0-9a-f]{40}|unknown", labels["revision"])


def test_it_names_its_ports_and_its_health_check(image):
    said = config(image)
    assert set(said["ExposedPorts"]) == {"80/tcp", "8080/tcp"}
    assert said["Healthcheck"]["Test"] == ["CMD", "/opt/rolling-router/healthy"]


def test_nothing_of_the_build_stays_in_it(image, container):
    said = json.dumps(config(image))
    assert "PIP_" not in said
    found = container.run("find", "/source", "/build", "/wheels", "/opt/rolling-router/bin")
    assert found.stdout.count("No such file") == 0
    assert {line for line in found.stdout.split() if not line.startswith("/opt")} == set()
    assert "/opt/rolling-router/bin/pip" not in found.stdout


def test_the_drop_ins_are_cached_in_it(container):
    found = container.run("find", "/opt/rolling-router/lib", "-path", "*/twisted/plugins/dropin.cache")
    assert found.stdout.count("dropin.cache") == 1


# How it starts


@pytest.mark.parametrize(("options", "printed"), [(["--version"], f"rolling-router {VERSION}"), (["--help"], "--app=")])
def test_options_stand_behind_its_name(container, options, printed):
    ended = run(*container.command(*options))
    assert ended.returncode == 0, ended.stderr
    assert printed in ended.stdout


def test_without_any_configuration_it_says_in_one_line_what_is_missing(container):
    ended = run(*container.command())
    assert ended.returncode == 1
    assert "rolling-router: --app is missing; give it, or set ROLLING_ROUTER_APP or APP_NAME\n" in ended.stderr
    assert "Traceback" not in ended.stdout + ended.stderr


def test_the_command_line_tool_is_in_it(container):
    ended = container.run("/opt/rolling-router/bin/rolling-router", "plugins")
    assert ended.returncode == 0, ended.stderr
    assert "cookie" in ended.stdout


def test_it_listens_on_port_80_and_is_a_plain_user_then(start):
    container = start()
    status = container.status()
    assert set(status["Uid"].split()) == set(status["Gid"].split()) == {str(ROUTER)}
    assert status["Groups"].split() in ([], [str(ROUTER)])
    assert int(status["CapEff"], 16) == 0
    answer = get(80)
    assert answer[0] == 503
    assert "not set up yet" in answer[1]
    assert container.stop() == 0
    assert "Unable to" not in container.log()  # an unwritable, stale drop-in cache
    assert "Traceback" not in container.log()


def test_it_can_be_another_user_from_the_start(start):
    container = start(user="12345", environ={"ROLLING_ROUTER_LISTEN": "tcp:8000", "ROLLING_ROUTER_STATE_DIR": "/tmp/x"})
    assert set(container.status()["Uid"].split()) == {"12345"}
    assert get(8000)[0] == 503
    assert container.stop() == 0


def test_the_health_check_is_of_the_settings_port(start):
    container = start()
    assert container.run("/opt/rolling-router/healthy").returncode == 0
    assert container.stop() == 0
    ended = container.run("/opt/rolling-router/healthy")
    assert ended.returncode != 0
    assert "http://127.0.0.1:8080/healthz: " in ended.stderr


def test_it_keeps_its_state_where_a_volume_can_be(start, store):
    with instance("one") as stable:
        store.write_text(json.dumps(keys(stable)))
        container = start()
        until(lambda: get(80) == (200, "one"), "the instance is served")
        found = until(
            lambda: container.run("find", "/var/lib/rolling-router", "-type", "f", "-user", str(ROUTER)).stdout,
            "the snapshot is saved",
        )
        assert found.strip()
        assert container.stop() == 0


def test_sigterm_lets_end_what_is_in_flight(start, store):
    with holding() as (stable, arrived, let_go):
        store.write_text(json.dumps(keys(stable)))
        container = start()
        answers = []
        client = threading.Thread(target=lambda: answers.append(get(80)))
        client.start()
        assert arrived.wait(20)
        os.kill(container.pid, signal.SIGTERM)
        until(lambda: not accepts(80), "it takes no more connections")
        assert answers == []
        let_go.set()
        client.join(20)
        assert answers == [(200, "at last")]
        assert container.wait() == 0


@contextmanager
def holding():
    """An instance that answers when it is let go: where it is, and two events."""
    arrived, let_go = threading.Event(), threading.Event()

    class Answer(BaseHTTPRequestHandler):
        def do_GET(self):
            arrived.set()
            let_go.wait(20)
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"at last")

        def log_message(self, *arguments):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Answer) as server:
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        yield f"127.0.0.1:{server.server_port}", arrived, let_go
        server.shutdown()


def accepts(port):
    try:
        socket.create_connection(("127.0.0.1", port)).close()
    except OSError:
        return False
    return True


def keys(stable):
    path = "apps/app-shop-1-80/containers"
    return {"rolling/null": "-", "rolling/shop/stable/id": path, f"{path}/a": stable}


# As the tutorial's service


@pytest.fixture
def emulator(tmp_path):
    """Container Cloud, with a worker's endpoint where the tutorial has it."""
    with emulating(tmp_path, "--node", "tcp:9109:interface=172.17.0.1") as running:
        yield running


def test_four_variables_are_enough(container, emulator, tmp_path):
    environ = {
        "OCCS_API_TOKEN": emulator.token,
        "KV_IP": "172.17.0.1",
        "KV_PORT": "9109",
        "APP_NAME": "shop",
    }
    container.start(tmp_path / "output", environ=environ)
    assert container.status()["Uid"].split()[0] == str(ROUTER)
    status, text = get(80)
    assert status == 503
    assert "not set up yet" in text
    with instance("one") as stable, instance("two") as candidate:
        for key, value in json.loads(rollout(stable, candidate, blend=50, stickiness="0")).items():
            emulator.put(key, value)
        until(lambda: {get(80), get(80)} == {(200, "one"), (200, "two")}, "both versions are served")
    assert get(8080, "/healthz")[0] == 200
    assert container.stop() == 0
    assert emulator.token not in container.log()
    assert "Traceback" not in container.log()


# Where it goes


@pytest.fixture
def registry(tmp_path):
    """A registry on the loopback of the tests' own network."""
    config = tmp_path / "registry.yml"
    config.write_text(
        f"version: 0.1\nstorage: {{filesystem: {{rootdirectory: {tmp_path}/registry}}}}\nhttp: {{addr: {REGISTRY}}}\n"
    )
    with (tmp_path / "registry.log").open("wb") as log:
        process = subprocess.Popen(["docker-registry", "serve", str(config)], stdout=log, stderr=log)

    def answers():
        assert process.poll() is None, (tmp_path / "registry.log").read_text()
        with suppress(OSError):
            return get(5000, "/v2/")[0] == 200
        return False

    try:
        until(answers, "the registry answers")
        yield
    finally:
        process.terminate()
        process.wait(20)


def publish(account, *options):
    return run("make", "publish", f"REGISTRY_NAME={account}", *options, ENGINE="buildah")


def test_make_publish_pushes_it(image, registry):
    pushed = publish(f"{REGISTRY}/me", "PUSH_OPTIONS=--tls-verify=false")
    assert pushed.returncode == 0, pushed.stderr
    assert f"published {NAME}\n" in pushed.stdout
    told = json.loads(get(5000, "/v2/me/rolling-router-sticky-sessions/tags/list")[1])
    assert told == {"name": "me/rolling-router-sticky-sessions", "tags": [VERSION]}


def test_make_publish_asks_for_an_account():
    refused = run("make", "publish")
    assert refused.returncode != 0
    assert "make publish REGISTRY_NAME=" in refused.stderr


# The tutorial's box


def test_debian_has_the_packages_of_the_box():
    dockerfile = (ROOT / "ci" / "wercker" / "box" / "Dockerfile").read_text("utf-8")
    (packages,) = re.findall(r"apt-get install --yes --no-install-recommends ([\w\- ]+)", dockerfile)
    ended = run("apt-get", "install", "--simulate", "--no-install-recommends", *packages.split())
    assert ended.returncode == 0, ended.stderr
