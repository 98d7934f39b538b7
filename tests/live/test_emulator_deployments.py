"""The OCCS emulator's deployments: real processes, their keys, their health, and what ends them."""

from __future__ import annotations

import http.client
import json
import os
import signal
import sys
import time
import urllib.request
from contextlib import closing, suppress
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.live.router import until
from tests.occs import ROOT, Emulator, deployment, emulating
from tests.ports import free_port

SECONDS = 60.0
QUICK = ("--ready-seconds=0", "--stop-seconds=0")

# A program whose faults a test can order: it writes its environment, and takes its state from a file.
PROGRAM = """
import http.server, json, os, signal, sys, time
name = os.environ["HOSTNAME"]
open(f"env-{name}.json", "w").write(json.dumps(dict(os.environ)))
print("hello from", name, os.environ.get("SECRET"), flush=True)
class Answers(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(500 if os.path.exists("sick") else 200)
        self.send_header("Content-Length", "0")
        self.end_headers()
    def log_message(self, *arguments): pass
if sys.argv[1:] == ["stubborn"]:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
if sys.argv[1:] == ["child"]:
    if os.fork() == 0:
        open("grandchild", "w").write(str(os.getpid()))
        while True: time.sleep(60)
http.server.ThreadingHTTPServer(("127.0.0.1", int(os.environ["PORT"])), Answers).serve_forever()
"""


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    folder = tmp_path_factory.mktemp("emulator")
    (folder / "program.py").write_text(PROGRAM)
    image = f"{sys.executable} -I {folder / 'program.py'}"
    options = ("--image", f"me/program:*={image} {{command}}", "--image", f"me/broken={sys.executable} -c pass")
    with emulating(folder, *QUICK, *options) as emulator:
        yield emulator


@pytest.fixture
def emulator(shared):
    """Quick, and empty again in the end."""
    yield shared
    shared.control.mend()
    (shared.directory / "sick").unlink(missing_ok=True)
    for one in shared.json("GET", "/api/v2/deployments/")["deployments"]:
        remove(shared, one["deployment_id"])
    assert shared.keys("apps/") == {}


def state(emulator, id_="shop-1"):
    return emulator.json("GET", f"/api/v2/deployments/{id_}")["deployment"]


def is_settled(emulator, id_="shop-1", current=1):
    one = state(emulator, id_)
    return one["current_state"] == one["desired_state"] == current


def deploy(emulator, id_="shop-1", **changes):
    """Make one, and wait until it runs."""
    emulator.json("POST", "/api/v2/deployments/", deployment(id_, **changes))
    until(lambda: is_settled(emulator, id_), SECONDS, "it runs")


def stop(emulator, id_="shop-1"):
    emulator.json("POST", f"/api/v2/deployments/{id_}/stop")
    until(lambda: is_settled(emulator, id_, 0), SECONDS, "it is stopped")


def remove(emulator, id_="shop-1"):
    stop(emulator, id_)
    assert emulator.json("DELETE", f"/api/v2/deployments/{id_}") == {"deleted": id_}


def instances(emulator, id_="shop-1", port=3000):
    """The addresses that the discovery keys have, by container id."""
    prefix = f"apps/app-{id_}-{port}/containers/"
    return {key.removeprefix(prefix): value for key, value in emulator.keys(prefix).items()}


def containers(emulator, id_="shop-1"):
    return emulator.json("GET", f"/api/v2/deployments/{id_}/containers/")["containers"]


def page(address, path="/"):
    with urllib.request.urlopen(f"http://{address}{path}", timeout=30) as answer:
        return answer.read().decode()


def pids(emulator, word):
    """The processes with this word in their command that the emulator has started."""
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            parent = int(path.joinpath("stat").read_text().rpartition(")")[2].split()[1])
            if parent == emulator.process.pid and word in path.joinpath("cmdline").read_text().replace("\0", " "):
                found.append(int(path.name))
    return found


def is_alive(pid):
    with suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False


# From the start to the end


def test_a_deployment_runs_as_so_many_processes_with_a_key_for_each(emulator):
    made = emulator.json("POST", "/api/v2/deployments/", deployment(quantities=2))["deployment"]
    assert (made["desired_state"], made["current_state"], made["pending_state"]) == (1, 0, 1)
    until(lambda: is_settled(emulator), SECONDS)
    addresses = instances(emulator)
    assert len(addresses) == 2
    assert all(len(id_) == 64 and set(id_) <= set("0123456789abcdef") for id_ in addresses)
    for address in addresses.values():
        assert "Running Hello World v. 1.0.0" in page(address)
        assert "background: yellow" in page(address)
    told = containers(emulator)
    assert {one["container_id"] for one in told} == set(addresses)
    assert {(one["container_name"], one["state"]) for one in told} == {
        ("0.app.shop-1", "Running"),
        ("1.app.shop-1", "Running"),
    }
    assert json.loads(emulator.ask_node("/v1/kv/apps/?recurse")[1]) == emulator.json("GET", "/api/kv/apps/?recurse")


def test_the_fields_are_a_live_systems_in_their_order(emulator):
    sent = deployment(quantities=1)
    deploy(emulator)
    one = state(emulator)
    assert list(one) == [
        *("deployment_id", "placement", "created_by", "created_on", "stack", "creation_info_generation"),
        *("deployment_name", "quantities", "desired_state", "desired_state_changed_at", "generation"),
        *("current_state", "pending_state"),
    ]
    assert {key: one[key] for key in sent} == sent
    assert one["created_by"] == "admin"
    assert len(one["created_on"]) == len("2030-01-01T12:00:01Z")
    assert len(one["desired_state_changed_at"]) == len("2030-01-01T12:00:01.000000001Z")
    assert (one["creation_info_generation"], one["generation"]) == (1, 3)
    assert one in emulator.json("GET", "/api/v2/deployments")["deployments"]


@pytest.mark.parametrize(
    ("tag", "colour"), [("1.0.0", "yellow"), ("1.0.1", "green"), ("1.0.2", "orange"), ("1497966712", "")]
)
def test_hello_world_has_the_tutorials_colours(emulator, tag, colour):
    deploy(emulator, image=f"registry.example:5000/somebody/hello-world:{tag}")
    (address,) = instances(emulator).values()
    assert f"Running Hello World v. {tag}<" in page(address)
    assert f"background: {colour}" in page(address)
    assert page(address, "/healthz") == "ok\n"


def test_stop_takes_the_keys_first_then_the_processes_and_start_makes_others(emulator):
    deploy(emulator, quantities=2)
    before = instances(emulator)
    emulator.control.faults(stop_seconds=600)
    emulator.json("POST", "/api/v2/deployments/shop-1/stop")
    one = state(emulator)
    assert instances(emulator) == {}
    assert (one["desired_state"], one["current_state"], one["pending_state"]) == (0, 1, 0)
    assert all("Hello World" in page(address) for address in before.values())
    assert emulator.ask("DELETE", "/api/v2/deployments/shop-1")[0] == 409
    assert emulator.ask("POST", "/api/v2/deployments/shop-1/start")[0] == 409
    emulator.control.faults(stop_seconds=1.5)
    begun = time.monotonic()
    for id_ in before:  # said again, so that it is sooner
        emulator.json("POST", f"/api/v2/containers/{id_}/stop")
    until(lambda: is_settled(emulator, current=0), SECONDS)
    assert time.monotonic() - begun >= 1.5
    for address in before.values():
        with pytest.raises(OSError, match="refused"):
            page(address)
    assert containers(emulator) == []
    emulator.json("POST", "/api/v2/deployments/shop-1/start")
    assert emulator.ask("POST", "/api/v2/deployments/shop-1/start")[0] == 409
    until(lambda: is_settled(emulator), SECONDS)
    assert len(instances(emulator)) == 2
    assert not set(before) & set(instances(emulator))


def test_a_deployment_is_not_ready_before_its_time(emulator):
    emulator.control.faults(ready_seconds=1.0)
    begun = time.monotonic()
    deploy(emulator)
    assert time.monotonic() - begun >= 1.0


def test_delete_is_refused_while_it_runs_and_as_often_as_it_is_told_to(emulator):
    emulator.control.faults(delete_refusals=2)
    deploy(emulator)
    status, body = emulator.ask("DELETE", "/api/v2/deployments/shop-1")
    assert (status, len(json.loads(body)["errors"])) == (409, 1)
    stop(emulator)
    answers = [emulator.ask("DELETE", "/api/v2/deployments/shop-1")[0] for _ in range(3)]
    assert answers == [409, 409, 200]
    status, body = emulator.ask("GET", "/api/v2/deployments/shop-1")
    assert (status, json.loads(body)) == (404, {"errors": [{"message": "deployment ID not found"}]})


def test_it_is_scaled_by_its_quantities_and_by_the_whole_answer_sent_back(emulator):
    deploy(emulator)
    (first,) = instances(emulator)
    emulator.json("PUT", "/api/v2/deployments/shop-1", {"quantities": {"app": 3}})
    until(lambda: is_settled(emulator) and len(instances(emulator)) == 3, SECONDS)
    assert first in instances(emulator)
    whole = emulator.json("GET", "/api/v2/deployments/shop-1")
    whole["deployment"]["quantities"]["app"] = 1
    emulator.json("PUT", "/api/v2/deployments/shop-1", whole)
    until(lambda: set(instances(emulator)) == {first} and len(containers(emulator)) == 1, SECONDS)
    one = state(emulator)
    assert one["creation_info_generation"] > 1
    assert one["generation"] >= one["creation_info_generation"]


def test_a_deployment_that_is_not_to_run_does_not(emulator):
    emulator.json("POST", "/api/v2/deployments/", {**deployment(), "desired_state": 0})
    assert is_settled(emulator, current=0)
    assert instances(emulator) == {}


def test_another_stack_is_for_containers_that_begin_from_then_on(emulator):
    deploy(emulator)
    (before,) = instances(emulator)
    emulator.json("PUT", "/api/v2/deployments/shop-1", {"stack": deployment(image="me/hello-world:1.0.2")["stack"]})
    assert list(instances(emulator)) == [before]
    emulator.json("POST", f"/api/v2/containers/{before}/stop")
    until(lambda: before not in instances(emulator) and is_settled(emulator), SECONDS)
    (address,) = instances(emulator).values()
    assert "Running Hello World v. 1.0.2" in page(address)


# What cannot be meant


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"deployment_id": "rolling/null"}, "deployment_id is 'rolling/null'"),
        ({"deployment_id": ""}, "deployment_id is ''"),
        ({"quantities": {"other": 1}}, "quantities names the service 'other'; there are: app"),
        ({"quantities": {"app": -1}}, "from 0 to 100"),
        ({"placement": {"pool_id": "none"}}, "there is no pool 'none'"),
        ({"stack": {}}, "stack.content"),
        ({"stack": {"content": "version: 2\nservices: [}"}}, "the content is no YAML: "),
        ({"stack": {"content": "version: 3\nservices: {}"}}, "version: 2"),
        ({"stack": {"content": "version: 2\nservices: {app: {image: a, environment: ['A={{b}}']}}"}}, "'b'"),
    ],
)
def test_what_cannot_be_meant_is_refused_and_nothing_is_made(emulator, changes, named):
    status, body = emulator.ask("POST", "/api/v2/deployments/", json.dumps({**deployment(), **changes}))
    assert status == 400
    (error,) = json.loads(body)["errors"]
    assert named in error["message"]
    assert emulator.json("GET", "/api/v2/deployments/") == {"deployments": []}


def test_an_id_is_used_once_and_unknown_ones_are_told(emulator):
    deploy(emulator)
    assert emulator.ask("POST", "/api/v2/deployments/", json.dumps(deployment()))[0] == 409
    assert emulator.ask("POST", "/api/v2/deployments/", b"{")[0] == 400
    for method, path in [
        ("GET", "/api/v2/deployments/no-such"),
        ("GET", "/api/v2/deployments/rolling/null"),
        ("POST", "/api/v2/deployments/no-such/stop"),
        ("DELETE", "/api/v2/deployments/no-such"),
        ("POST", "/api/v2/containers/no-such/kill"),
        ("POST", "/api/v2/deployments/no-such/webhook/restart"),
        ("GET", "/api/v3"),
    ]:
        assert emulator.ask(method, path)[0] == 404
    assert emulator.ask("PATCH", "/api/v2/deployments/shop-1")[0] == 405
    assert emulator.ask("GET", "/api/v2/deployments/shop-1/stop")[0] == 405


# Containers


def test_a_container_that_dies_loses_its_key_and_is_replaced_by_another(emulator):
    deploy(emulator, quantities=2)
    before = instances(emulator)
    victim = pids(emulator, "hello_world.py")[0]
    os.kill(victim, signal.SIGKILL)
    until(lambda: len(set(before) & set(instances(emulator))) == 1, SECONDS)
    until(lambda: is_settled(emulator), SECONDS)
    after = instances(emulator)
    assert len(after) == 2
    assert len(set(before) & set(after)) == 1


@pytest.mark.parametrize("what", ["stop", "kill"])
def test_a_container_that_is_ended_by_a_call_is_replaced(emulator, what):
    deploy(emulator)
    (before,) = instances(emulator)
    assert list(emulator.json("POST", f"/api/v2/containers/{before}/{what}")) == ["task_id"]
    until(lambda: before not in instances(emulator), SECONDS)
    until(lambda: is_settled(emulator), SECONDS)


def test_a_request_in_flight_ends_where_it_began(emulator):
    deploy(emulator)
    (address,) = instances(emulator).values()
    where = urlsplit(f"http://{address}")
    with (
        closing(http.client.HTTPConnection(where.hostname, where.port, timeout=30)) as idle,
        closing(http.client.HTTPConnection(where.hostname, where.port, timeout=30)) as busy,
    ):
        idle.request("GET", "/healthz")
        assert idle.getresponse().read() == b"ok\n"
        busy.request("GET", "/healthz")
        busy.getresponse().read()
        busy.request("GET", "/slow?seconds=4")
        emulator.json("POST", "/api/v2/deployments/shop-1/stop")
        answer = busy.getresponse()
        assert (answer.status, answer.getheader("Connection")) == (200, "close")
        assert b"Hello World" in answer.read()
    until(lambda: is_settled(emulator, current=0), SECONDS)


def test_a_session_is_counted_by_its_container(emulator):
    deploy(emulator)
    (address,) = instances(emulator).values()
    with urllib.request.urlopen(f"http://{address}/", timeout=30) as answer:
        cookie = answer.headers["Set-Cookie"].partition(";")[0]
        assert "session: 1<" in answer.read().decode()
    for sent, visits in ((cookie, 2), ("hello_session=made-up", 1), ("; \x7f=", 1)):
        asking = urllib.request.Request(f"http://{address}/", headers={"Cookie": sent})
        with urllib.request.urlopen(asking, timeout=30) as answer:
            assert f"session: {visits}<" in answer.read().decode()
            assert (answer.headers["Set-Cookie"] is None) == (sent == cookie)


def test_a_process_that_will_not_end_is_made_to(emulator):
    deploy(emulator, image="me/program:1", command="stubborn")
    begun = time.monotonic()
    stop(emulator)
    assert time.monotonic() - begun >= 10.0
    assert pids(emulator, "program.py") == []


def test_the_node_demo_runs_by_its_npm_start(tmp_path):
    command = f"env -C {ROOT / 'examples' / 'hello-world-node'} VERSION={{tag}} npm start"
    emulator = Emulator(tmp_path, *QUICK, "--image", f"hello-world-node={command}")
    try:
        emulator.start()
        deploy(emulator, image="me/hello-world-node:1.0.1")
        (address,) = instances(emulator).values()
        assert "1.0.1" in page(address)
        stop(emulator)
        with pytest.raises(OSError, match="refused"):
            page(address)
        assert emulator.stop() == 0
    finally:
        emulator.kill()


def test_what_cannot_run_never_gets_ready_and_can_be_removed(emulator):
    for id_, image in (("broken-1", "me/broken"), ("unknown-1", "me/unknown:1")):
        emulator.json("POST", "/api/v2/deployments/", deployment(id_, image=image))
    until(lambda: "nothing stands in for me/unknown:1" in emulator.output(), SECONDS)
    until(lambda: "0.app.broken-1" in emulator.output(), SECONDS)
    for id_ in ("broken-1", "unknown-1"):
        assert state(emulator, id_)["current_state"] == 0
        assert instances(emulator, id_) == {}


def test_a_container_gets_its_environment_and_no_other(emulator):
    environment = ["A=1", 'KEYS={{sd_deployment_containers_path "app" 3000}}', "SECRET={{ api_token }}"]
    environment += ["KV_IP=172.17.0.1", "KV_PORT=9109", "URL=http://172.17.0.1:9109/v1"]
    deploy(emulator, image="me/program:7", environment=environment)
    told = json.loads((emulator.directory / "env-0.app.shop-1.json").read_text())
    (address,) = instances(emulator).values()
    assert told["A"] == "1"
    assert told["KEYS"] == "apps/app-shop-1-3000/containers"
    assert told["SECRET"] == emulator.token
    assert f"http://{told['KV_IP']}:{told['KV_PORT']}" == emulator.node
    assert told["URL"] == f"{emulator.node}/v1"
    assert f"127.0.0.1:{told['PORT']}" == address
    assert told["PORT_3000"] == told["PORT"]
    assert (told["OCCS_HOSTIP"], told["OCCS_SERVICE_ID"]) == ("127.0.0.1", "app")
    assert told["OCCS_CA"] == str(emulator.ca_file)
    assert not [name for name in told if name.startswith(("occs:", "OCCS_EMULATOR", "PYTEST"))]
    until(lambda: "0.app.shop-1" in emulator.output() and "hello from 0.app.shop-1 ***" in emulator.output())
    assert emulator.token not in emulator.output()


def test_a_health_check_decides_about_the_key_and_about_replacement(emulator):
    sick = emulator.directory / "sick"
    sick.touch()
    environment = ["OCCS_HEALTHCHECK_HTTP=http://:3000/healthz?timeout=2s&interval=100ms"]
    emulator.json("POST", "/api/v2/deployments/", deployment(image="me/program:7", environment=environment))
    until(lambda: "hello from 0.app.shop-1" in emulator.output(), SECONDS)
    assert instances(emulator) == {}
    assert state(emulator)["current_state"] == 0
    sick.unlink()
    until(lambda: is_settled(emulator), SECONDS)
    (before,) = instances(emulator)
    sick.touch()
    until(lambda: before not in instances(emulator), SECONDS)
    sick.unlink()
    until(lambda: is_settled(emulator), SECONDS)
    assert "health checks in a row failed" in emulator.output()


def test_a_webhook_restarts_without_a_bearer_but_with_its_token(emulator):
    deploy(emulator)
    (before,) = instances(emulator)
    path = "/api/v2/deployments/shop-1/webhook/restart"
    told = emulator.json("PUT", path, {"enabled": True})
    assert list(told) == ["deployment_id", "token", "enabled", "full_url_path"]
    assert len(told["token"]) == 8
    assert emulator.ask("POST", path, authorization="")[0] == 401
    assert emulator.ask("POST", path + "?token=abcdefgh", authorization="")[0] == 401
    assert emulator.ask("POST", told["full_url_path"], b"whatever", authorization="")[0] == 200
    until(lambda: before not in instances(emulator), SECONDS)
    until(lambda: is_settled(emulator), SECONDS)
    assert emulator.json("PUT", path, {"enabled": False})["token"] == told["token"]
    assert emulator.ask("POST", told["full_url_path"], authorization="")[0] == 401


def test_the_workers_addresses_are_told(emulator):
    (host,) = emulator.json("GET", "/api/hosts/")["hosts"]
    assert set(host["interfaces"]) == {"eth0", "docker0", "public_ip"}
    assert emulator.json("GET", f"/api/hosts/{host['host_id']}") == {"host": host}
    assert emulator.json("GET", "/api/v2/pools/default/hosts/") == {"hosts": [host]}


# Fixed ports


def test_fixed_ports_are_published_as_written_or_where_an_option_says(tmp_path):
    as_written, elsewhere = free_port(), free_port()
    with emulating(tmp_path, *QUICK, "--publish", f"80={elsewhere}", "--publish", "8080=free") as emulator:
        deploy(emulator, "a", ports=[f"{as_written}:3000/tcp"])
        assert list(instances(emulator, "a").values()) == [f"127.0.0.1:{as_written}"]
        deploy(emulator, "b", ports=["80:3000/tcp"])
        assert list(instances(emulator, "b").values()) == [f"127.0.0.1:{elsewhere}"]
        deploy(emulator, "c", ports=["8080:3000/tcp"])
        assert list(instances(emulator, "c").values()) != ["127.0.0.1:8080"]
        emulator.json("POST", "/api/v2/deployments/", deployment("d", ports=[f"{as_written}:3000/tcp"]))
        until(lambda: f"another container has port {as_written}" in emulator.output(), SECONDS)
        assert state(emulator, "d")["current_state"] == 0
        stop(emulator, "a")
        until(lambda: is_settled(emulator, "d"), SECONDS)


# Ends


def test_stopping_the_emulator_ends_all_processes_and_starting_it_runs_them_again(tmp_path):
    emulator = Emulator(tmp_path, *QUICK)
    try:
        emulator.start()
        deploy(emulator, quantities=2)
        deploy(emulator, "stopped-1")
        stop(emulator, "stopped-1")
        before = instances(emulator)
        running = [*pids(emulator, "hello_world.py"), *pids(emulator, "undertaker.py")]
        assert len(running) == 3  # two containers, and who looks after them
        assert emulator.stop() == 0
        until(lambda: not any(map(is_alive, running)), SECONDS)
        emulator.start()
        until(lambda: is_settled(emulator), SECONDS)
        assert len(instances(emulator)) == 2
        assert not set(before) & set(instances(emulator))
        assert state(emulator, "stopped-1")["desired_state"] == 0
        assert emulator.stop() == 0
    finally:
        emulator.kill()


def test_killing_the_emulator_ends_all_processes_and_their_descendants(tmp_path):
    (tmp_path / "program.py").write_text(PROGRAM)
    image = f"me/program:*={sys.executable} -I {tmp_path / 'program.py'} child"
    emulator = Emulator(tmp_path, *QUICK, "--image", image)
    try:
        emulator.start()
        deploy(emulator, image="me/program:1")
        running = [*pids(emulator, "program.py"), *pids(emulator, "undertaker.py")]
        grandchild = int(until(lambda: _content(tmp_path / "grandchild"), SECONDS, "it says who it is"))
        assert len(running) == 2
        assert is_alive(grandchild)
        emulator.kill()
        until(lambda: not any(map(is_alive, [*running, grandchild])), SECONDS)
        emulator.start()
        until(lambda: is_settled(emulator), SECONDS)
        assert emulator.stop() == 0
    finally:
        emulator.kill()


def _content(path):
    return path.read_text() if path.exists() else ""


def test_an_undertaker_that_ends_is_replaced(tmp_path):
    emulator = Emulator(tmp_path, *QUICK)
    try:
        emulator.start()
        deploy(emulator)
        (undertaker,) = pids(emulator, "undertaker.py")
        (container,) = pids(emulator, "hello_world.py")
        os.kill(undertaker, signal.SIGKILL)

        def others():
            return [pid for pid in pids(emulator, "undertaker.py") if pid != undertaker]

        until(lambda: any(os.getsid(pid) == pid for pid in others()), SECONDS, "it is on its own")
        emulator.json("GET", "/api/v2/deployments/")  # by when it has been told of all that live
        emulator.kill()
        until(lambda: not is_alive(container), SECONDS)
    finally:
        emulator.kill()


def test_50_deployments(tmp_path):
    with emulating(tmp_path, *QUICK) as emulator:
        names = [f"many-{number:02}" for number in range(50)]
        for name in names:
            emulator.json("POST", "/api/v2/deployments/", deployment(name))

        def states():
            told = emulator.json("GET", "/api/v2/deployments/")["deployments"]
            return {one["deployment_id"]: one["current_state"] for one in told}

        until(lambda: set(states().values()) == {1}, 3 * SECONDS, "all run")
        assert list(states()) == names
        addresses = emulator.keys("apps/")
        assert len(set(addresses.values())) == 50
        assert all("Hello World" in page(address) for address in addresses.values())
        for name in names:
            emulator.json("POST", f"/api/v2/deployments/{name}/stop")
        until(lambda: set(states().values()) == {0}, 3 * SECONDS, "none runs")
        assert emulator.keys("apps/") == {}
        assert pids(emulator, "hello_world.py") == []
