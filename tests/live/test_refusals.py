"""A start that must end: one line where people look, and in the log if that is elsewhere."""

import os
import socket
import subprocess

import pytest

from tests.ports import free_port

from .router import ROOT, TWISTD, Router, rollout, until


def start(directory, *twistd, listen, rest=()):
    admin = f"tcp:{free_port()}:interface=127.0.0.1"
    needed = ["--app", "shop", "--store", "file:r.json", "--listen", listen, "--admin", admin]
    own = {name: value for name, value in os.environ.items() if not name.startswith("ROLLING_ROUTER_")}
    return subprocess.run(
        [TWISTD, "--nodaemon", "--pidfile=", *twistd, "rolling-router", *needed, *rest],
        cwd=directory,
        env={**own, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=60,
    )


@pytest.fixture
def taken():
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        yield f"tcp:{other.getsockname()[1]}:interface=127.0.0.1"


@pytest.mark.parametrize("twistd", [(), ("--logfile", "-")])
def test_a_port_that_is_taken_is_told_once_on_the_terminal(tmp_path, taken, twistd):
    ended = start(tmp_path, *twistd, listen=taken)
    assert ended.returncode == 1
    told = [line for line in (ended.stdout + ended.stderr).splitlines() if "Address already in use" in line]
    assert told == [
        f"rolling-router: cannot listen on {taken}: Address already in use; "
        "end what listens there, or have --listen name another port"
    ]


def test_a_port_that_is_taken_is_told_in_a_log_file_too(tmp_path, taken):
    ended = start(tmp_path, "--logfile", "log", listen=taken)
    assert ended.returncode == 1
    assert ended.stderr.count("Address already in use") == 1
    assert (tmp_path / "log").read_text().count("Address already in use") == 1


def test_a_start_that_ends_leaves_no_pidfile(tmp_path, taken):
    assert start(tmp_path, "--pidfile=r.pid", listen=taken).returncode == 1
    assert not (tmp_path / "r.pid").exists()


@pytest.mark.parametrize("workers", ["1", "2"])
def test_an_access_log_that_cannot_be_written_is_told_once_and_ends_the_start(tmp_path, workers):
    listen = f"tcp:{free_port()}:interface=127.0.0.1"
    ended = start(tmp_path, listen=listen, rest=["--access-log", "/nonesuch/log", "--workers", workers])
    assert ended.returncode == 1
    assert (ended.stdout + ended.stderr).count("/nonesuch/log") == 1, ended.stdout + ended.stderr


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_variable_that_is_no_option_s_is_named_in_the_log_once(tmp_path, workers):
    environ = {"ROLLING_ROUTER_WRKERS": "4", "ROLLING_ROUTER_WORKERS": workers}
    router = Router(tmp_path, environ=environ)
    router.write(rollout())
    router.start()
    try:
        until(lambda: router.get("/readyz")[0] == 503 and "stickiness off" in router.output())
    finally:
        router.stop()
    told = [line for line in router.output().splitlines() if "there is no option" in line]
    assert len(told) == 1, told
    assert told[0].endswith("no option ROLLING_ROUTER_WRKERS; ROLLING_ROUTER_WORKERS may be meant; it is ignored")
