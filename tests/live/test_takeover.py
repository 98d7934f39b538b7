"""A new process takes the place of the running one: nobody is refused, reset, or told anything but to come back."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from .conftest import StartInstance
from .crowd import Crowd, serve_all_kinds
from .instance import Instance
from .router import APP, ROOT, TOKEN, Router, rollout, until
from .supervisor import Supervisor, lives
from .wire import Wire, get


@pytest.fixture
def supervisor(tmp_path: Path) -> Iterator[Supervisor]:
    made = Supervisor(tmp_path)
    yield made
    made.end()


@pytest.fixture
def instance(start_instance: StartInstance) -> Instance:
    made = start_instance()
    serve_all_kinds(made)
    return made


def make(directory: Path, supervisor: Supervisor, instance: Instance, *options: str, **environ: str) -> Router:
    router = Router(directory, ("--drain-seconds", "8", *options), {"NOTIFY_SOCKET": str(supervisor.path), **environ})
    router.write(rollout([instance]))
    return router


@pytest.fixture
def start(tmp_path: Path, supervisor: Supervisor, instance: Instance) -> Iterator:
    started = []

    def start(*options: str, **environ: str) -> Router:
        router = make(tmp_path, supervisor, instance, *options, **environ)
        started.append(router)
        router.start()
        supervisor.hear("READY=1")
        assert router.process is not None
        supervisor.pids.append(router.process.pid)
        return router

    yield start
    for router in started:
        if router.process is not None and router.process.poll() is None:
            router.stop()
        supervisor.end()
        assert "Traceback" not in router.output()


def take_over(supervisor: Supervisor) -> int:
    """Have the main process replaced; gives the pid of the one before."""
    before = supervisor.pids[-1]
    os.kill(before, signal.SIGUSR2)
    supervisor.hear("RELOADING=1")
    words = supervisor.hear("READY=1")
    assert any(word.startswith("MAINPID=") for word in words), words
    assert supervisor.pids[-1] != before
    return before


@pytest.mark.timeout(240)
@pytest.mark.parametrize("workers", [1, 2])
def test_no_client_notices_several_hand_overs_in_a_row(start, supervisor: Supervisor, workers: int) -> None:
    router = start("--workers", str(workers))
    with Crowd(lambda: router.wire(60)) as crowd:
        until(lambda: crowd.wrong or len(crowd.counts) == 4, 60, "all kinds of clients are served")
        for _ in range(3):
            take_over(supervisor)
            before = sum(crowd.counts.values())
            until(lambda: crowd.wrong or sum(crowd.counts.values()) > before + 200, 60)  # noqa: B023
        until(lambda: not any(map(lives, supervisor.pids[:-1])), 60, "those before have drained and ended")
    assert crowd.counts["sockets told to go away"] >= 4
    assert router.wait() == 0
    assert router.ask(get()).status == 200


def test_nothing_in_the_working_directory_is_taken_for_a_module(start, supervisor: Supervisor, tmp_path: Path) -> None:
    for name in ("attr", "treq", "klein"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('somebody else wrote this')")
    router = start("--workers", "2")
    take_over(supervisor)
    assert router.ask(get()).status == 200
    assert router.wait() == 0
    assert "somebody else" not in router.output()


def test_each_line_on_standard_output_is_one_of_the_log_or_exactly_one_of_the_access_log(
    start, supervisor: Supervisor
) -> None:
    router = start("--workers=2", "--access-log=-", "--access-log-form=common")
    for _ in range(2):
        for number in range(20):
            assert router.ask(get("/" + "x" * 200 * number)).status == 200
        take_over(supervisor)
    until(lambda: not any(map(lives, supervisor.pids[:-1])), 60, "those before have ended")
    supervisor.end()
    told = (router.directory / "stdout").read_text().splitlines()
    of_log = re.compile(r"\d{4}-\d\d-\d\dT\S+ \[\S+\] (?!.* \[\S+#)|\t")
    line = re.compile(r'127\.0\.0\.0 - - \[[^]]+\] "GET /(x*) HTTP/1\.1" 200 \d+')
    matched = [line.fullmatch(one) for one in told if not of_log.match(one)]
    assert all(matched), [one for one in told if not of_log.match(one) and not line.fullmatch(one)][:3]
    assert sorted(len(one[1]) for one in matched if one) == sorted([200 * number for number in range(20)] * 2)


def test_an_idle_client_is_not_hung_up_on_but_told(start, supervisor: Supervisor) -> None:
    router = start()
    with router.wire() as idle, router.wire() as fresh:
        assert idle.ask(get()).one(b"Connection") is None
        old = take_over(supervisor)

        def is_taken_over() -> bool:  # the old one still has what it accepted before it stopped
            with router.wire() as new:
                return new.ask(get()).one(b"Connection") is None

        until(is_taken_over, what="new clients are the new one's")
        until(lambda: idle.ask(get()).one(b"Connection") == b"close", what="it is told that this was the last answer")
        assert fresh.ask(get()).one(b"Connection") == b"close"
        assert idle.is_closed()
        assert fresh.is_closed()
        until(lambda: not lives(old))


def test_an_idle_client_that_does_not_come_back_is_let_go_before_the_end(start, supervisor: Supervisor) -> None:
    router = start("--drain-seconds", "2")
    with router.wire() as idle:
        idle.ask(get())
        take_over(supervisor)
        assert idle.is_closed()
    assert router.wait() == 0
    assert "were cut" not in router.output()


def test_a_new_process_that_cannot_start_changes_nothing(start, supervisor: Supervisor, tmp_path: Path) -> None:
    key = tmp_path / "key"
    key.write_bytes(os.urandom(32))
    router = start("--strategy", f"cookie:key_file={key}")
    key.unlink()
    with Crowd(lambda: router.wire(60), 4, 4, 2, 1) as crowd:
        until(lambda: len(crowd.counts) == 4)
        os.kill(supervisor.pids[-1], signal.SIGUSR2)
        supervisor.hear("RELOADING=1")
        words = supervisor.hear("READY=1")
        assert not any(word.startswith("MAINPID=") for word in words)
        assert any("could not take over" in word for word in words)
        before = crowd.counts["ask_anew"]
        until(lambda: crowd.counts["ask_anew"] > before + 20)
    assert "This one goes on" in router.output()
    assert router.process is not None
    assert router.process.poll() is None
    key.write_bytes(os.urandom(32))
    take_over(supervisor)
    assert router.wait() == 0
    assert router.ask(get()).status == 200


@pytest.mark.parametrize("workers", [1, 2])
def test_a_new_process_that_does_not_know_what_to_serve_takes_nobodys_place(
    start, supervisor: Supervisor, workers: int
) -> None:
    router = start("--workers", str(workers))
    with Crowd(lambda: router.wire(60), 4, 4, 2, 1) as crowd:
        lost = router.output().count("the store is lost")
        router.store.rename(router.store.with_suffix(".away"))
        pid = supervisor.pids[-1]
        children = Path(f"/proc/{pid}/task/{pid}/children")
        before = set(children.read_text().split())
        os.kill(pid, signal.SIGUSR2)
        supervisor.hear("RELOADING=1")
        (child,) = until(lambda: set(children.read_text().split()) - before, what="the new process")
        everybody = workers if workers == 1 else workers + 1  # the main process follows the store, too
        until(
            lambda: crowd.wrong or router.output().count("the store is lost") >= lost + 2 * everybody,
            50,  # in the 60 that it has to know what to serve
            "the new one has found nothing",
        )
        served = crowd.counts["ask_anew"]
        until(lambda: crowd.wrong or crowd.counts["ask_anew"] > served + 50)
        os.kill(int(child), signal.SIGKILL)
        assert any("could not take over" in word for word in supervisor.hear("READY=1"))
        served = crowd.counts["ask_anew"]
        until(lambda: crowd.wrong or crowd.counts["ask_anew"] > served + 50)


def test_to_be_told_to_end_ends_the_new_process_too(start, supervisor: Supervisor) -> None:
    router = start()
    router.store.rename(router.store.with_suffix(".away"))
    pid = supervisor.pids[-1]
    os.kill(pid, signal.SIGUSR2)
    supervisor.hear("RELOADING=1")
    children = Path(f"/proc/{pid}/task/{pid}/children")
    child = int(until(lambda: children.read_text().split(), what="the new process")[0])
    os.kill(pid, signal.SIGTERM)
    supervisor.hear("STOPPING=1")
    assert router.wait() == 0
    until(lambda: not lives(child), what="the new process ends")


def test_the_settings_port_is_handed_over_too(start, supervisor: Supervisor) -> None:
    router = start()
    kept = socket.create_connection(("127.0.0.1", router.admin), 30)
    with Wire(0, sock=kept) as before:
        request = get("/healthz").replace(b"shop.example", b"localhost")
        assert before.ask(request).status == 200
        router.ask(get())
        until(lambda: router.status()["counts"]["requests"] == 1)
        take_over(supervisor)
        # Who answers has served nobody yet. The old one may accept for a moment still.
        until(lambda: router.status()["counts"]["requests"] == 0, what="the new one answers")
        assert before.is_closed()
    assert router.wait() == 0
    assert router.get("/readyz")[0] == 200


def test_a_unix_socket_stays_where_it_is(start, supervisor: Supervisor, tmp_path: Path) -> None:
    path = tmp_path / "router.sock"
    router = start("--listen", f"unix:{path}:mode=660")
    mode = path.stat().st_mode
    for _ in range(2):
        take_over(supervisor)
    assert router.wait() == 0
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(30)
        client.connect(str(path))
        assert Wire(0, sock=client).ask(get()).status == 200
    assert path.stat().st_mode == mode
    assert mode & 0o777 == 0o660
    os.kill(supervisor.pids[-1], signal.SIGTERM)
    until(lambda: not path.exists(), what="the last one takes its socket away")


def test_as_a_daemon_it_keeps_its_pidfile_and_its_log(
    supervisor: Supervisor, tmp_path: Path, instance: Instance
) -> None:
    router = make(tmp_path, supervisor, instance)
    argv = [sys.executable, "-m", "twisted.scripts.twistd", "--pidfile", "r.pid", "--logfile", "r.log"]
    argv[1:3] = ["-c", "from twisted.scripts.twistd import run; run()"]
    argv += ["rolling-router", "--app", APP, "--store", f"file:{router.store}", "--drain-seconds", "5"]
    argv += ["--listen", f"tcp:{router.port}:interface=127.0.0.1", "--admin", f"tcp:{router.admin}"]
    environ = {**os.environ, "PYTHONPATH": str(ROOT), "ROLLING_ROUTER_TOKEN": TOKEN}
    subprocess.run(argv, cwd=tmp_path, env={**environ, **router.environ}, check=True, timeout=60)
    supervisor.hear("READY=1")
    pidfile = tmp_path / "r.pid"
    supervisor.pids.append(int(pidfile.read_text()))
    for _ in range(2):
        old = take_over(supervisor)
        until(lambda: not lives(old))  # noqa: B023
        assert int(pidfile.read_text()) == supervisor.pids[-1]
        assert router.ask(get()).status == 200
    os.kill(supervisor.pids[-1], signal.SIGTERM)
    until(lambda: not pidfile.exists(), what="the last one removes it")
    assert (tmp_path / "r.log").read_text().count("has taken over") == 2


# Sockets that somebody else opened


@contextlib.contextmanager
def activated(router: Router, listening: list[socket.socket], names: str, *options: str) -> Iterator[None]:
    """Start it as systemd starts what a socket unit belongs to."""
    starter = (
        "import os, sys\n"
        f"handed = {[one.fileno() for one in listening]}\n"
        "high = [os.dup2(fd, 100 + at) for at, fd in enumerate(handed)]\n"
        "for at, fd in enumerate(high): os.dup2(fd, 3 + at, inheritable=True); os.close(fd)\n"
        f"os.environ.update(LISTEN_FDS={str(len(listening))!r}, LISTEN_FDNAMES={names!r})\n"
        "os.environ['LISTEN_PID'] = str(os.getpid())\n"
        "os.execv(sys.argv[1], sys.argv[1:])\n"
    )
    own = {key: value for key, value in os.environ.items() if not key.startswith("ROLLING_ROUTER_")}
    argv = [sys.executable, "-c", starter, sys.executable, "-c", "from twisted.scripts.twistd import run; run()"]
    argv += ["-n", "--pidfile=", "rolling-router", "--app", APP, "--store", f"file:{router.store}", *options]
    argv += ["--drain-seconds", "5"]
    with (router.directory / "stdout").open("wb") as out, (router.directory / "stderr").open("wb") as err:
        router.process = subprocess.Popen(
            argv,
            env={**own, "PYTHONPATH": str(ROOT), "ROLLING_ROUTER_TOKEN": TOKEN, **router.environ},
            cwd=router.directory,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=err,
            pass_fds=[one.fileno() for one in listening],
            start_new_session=True,
        )
    try:
        yield
    finally:
        router.stop()
        assert "Traceback" not in router.output()


@pytest.mark.parametrize("workers", [1, 2])
def test_sockets_of_systemd_serve_and_are_handed_on(
    supervisor: Supervisor, tmp_path: Path, instance: Instance, workers: int
) -> None:
    router = make(tmp_path, supervisor, instance)
    with socket.create_server(("127.0.0.1", 0)) as web, socket.create_server(("127.0.0.1", 0)) as admin:
        router.port, router.admin = web.getsockname()[1], admin.getsockname()[1]
        options = ["--workers", str(workers), "--admin", "systemd:domain=INET:name=settings"]
        with (
            router.wire(60) as early,  # who comes before anybody is started is served, too
            activated(router, [web, admin], "web:settings", "--listen", "systemd:domain=INET:index=0", *options),
        ):
            assert early.ask(get()).status == 200
            supervisor.hear("READY=1")
            assert router.process is not None
            supervisor.pids.append(router.process.pid)
            for _ in range(2):
                take_over(supervisor)
                assert router.ask(get()).status == 200
                assert router.get("/readyz")[0] == 200
            assert router.wait() == 0
        os.kill(supervisor.pids[-1], signal.SIGTERM)
        until(lambda: not lives(supervisor.pids[-1]))
        with router.wire():  # the sockets are systemd's, and stay
            pass


def test_a_socket_that_systemd_has_not_is_named(tmp_path: Path, supervisor: Supervisor, instance: Instance) -> None:
    router = make(tmp_path, supervisor, instance)
    with (
        socket.create_server(("127.0.0.1", 0)) as web,
        contextlib.suppress(AssertionError),
        activated(router, [web], "web", "--listen", "systemd:name=wib", "--admin", "unix:a.sock"),
    ):
        assert router.wait(60) == 1
    assert "no socket 'wib'; there are: 0:web" in (tmp_path / "stderr").read_text()


def test_sighup_opens_the_access_log_anew(start, supervisor: Supervisor, tmp_path: Path) -> None:
    log = tmp_path / "access.log"
    router = start("--access-log", str(log), "--workers", "2")
    router.ask(get("/one"))
    until(lambda: "/one" in log.read_text())
    old = log.rename(tmp_path / "access.log.1")
    router.signal(signal.SIGHUP)
    supervisor.hear("RELOADING=1")
    supervisor.hear("READY=1")
    until(log.exists)
    assert router.process is not None
    pid = router.process.pid
    workers = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    # What a worker serves before it hears of it belongs to the old one.
    until(lambda: not any(has_open(worker, old) for worker in workers), what="all have let go of it")

    def is_there() -> bool:
        router.ask(get("/two"))
        return "/two" in log.read_text()

    until(is_there)
    assert "/two" not in old.read_text()


def has_open(pid: str, path: Path) -> bool:
    there = path.stat()
    for one in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):  # it was closed meanwhile
            if os.path.samestat(one.stat(), there):
                return True
    return False


def test_sighup_has_a_new_process_take_over_when_the_options_file_changed(
    start, supervisor: Supervisor, tmp_path: Path
) -> None:
    options = tmp_path / "options"
    options.write_text("# ours\nROLLING_ROUTER_VIA='one'\n")
    router = start("--options-file", str(options))
    assert router.ask(get()).status == 200
    log = tmp_path / "stdout"
    for bad, word in (("ROLLING_ROUTER_VIA two", "line 1 is not NAME=VALUE"), ("ROLLING_ROUTER_VAI=x", "no option")):
        options.write_text(bad)
        router.signal(signal.SIGHUP)
        until(lambda: word in log.read_text())  # noqa: B023
        supervisor.hear("READY=1")
    options.write_text("ROLLING_ROUTER_WORKERS=many")  # well-formed, and wrong
    router.signal(signal.SIGHUP)
    assert not any(word.startswith("MAINPID") for word in supervisor.hear("READY=1"))
    options.write_text("ROLLING_ROUTER_VIA=two")
    router.signal(signal.SIGHUP)
    assert any(word.startswith("MAINPID") for word in supervisor.hear("READY=1"))
    assert router.wait() == 0
    assert router.ask(get()).status == 200


def test_the_new_process_has_the_options_of_the_file_in_force(
    start, supervisor: Supervisor, tmp_path: Path, instance: Instance
) -> None:
    options = tmp_path / "options"
    options.write_text("ROLLING_ROUTER_VIA=one")
    router = start("--options-file", str(options))
    router.ask(get())
    assert instance.calls[-1].one(b"Via") == b"1.1 one"
    options.write_text("ROLLING_ROUTER_VIA=two")
    take_over(supervisor)
    assert router.wait() == 0
    router.ask(get())
    assert instance.calls[-1].one(b"Via") == b"1.1 two"


def test_who_is_signed_in_stays_so(start, supervisor: Supervisor, tmp_path: Path) -> None:
    router = start("--state-dir", str(tmp_path / "state"))

    def ask(method: str, body: bytes = b"", **fields: str) -> http.client.HTTPResponse:
        asking = http.client.HTTPConnection("localhost", router.admin, timeout=30)
        headers = {"Content-Type": "application/json", **fields}
        asking.request(method, "/api/v1/session", body, headers)
        return asking.getresponse()

    signed_in = ask("POST", json.dumps({"token": TOKEN}).encode())
    assert signed_in.status == 200, signed_in.read()
    cookie = (signed_in.getheader("Set-Cookie") or "").partition(";")[0]
    until((tmp_path / "state" / f"sessions-{APP}.json").exists)
    for _ in range(2):
        take_over(supervisor)
        until(lambda: len(list(filter(lives, supervisor.pids))) == 1, what="the old one has ended")
        assert json.load(ask("GET", Cookie=cookie))["signed_in"] is True
