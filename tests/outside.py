"""Outside the checkout: wheels, empty environments to install them in, and the router that runs there."""

from __future__ import annotations

import copy
import json
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from tests.ports import free_port

ROOT = Path(__file__).parents[1]
SECONDS = 90.0
"""Generous: what is started here has to compile all of its modules first."""


def checkout_files() -> list[str]:
    """The files of the checkout that git knows or would take, and that are there."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return [name for name in listed.split("\0") if (ROOT / name).is_file()]


def copy_checkout(folder: Path) -> Path:
    """A copy to build in, with nothing that an earlier build left behind."""
    for name in checkout_files():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, folder / name)
    return folder


def build_wheels(sources: Sequence[Path], folder: Path) -> list[Path]:
    """Build with the setuptools of the tests' own environment; nothing is downloaded."""
    pip = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-index", "--no-build-isolation", "--wheel-dir"]
    _run([*pip, str(folder), *map(str, sources)], _environ(), ROOT.parent)
    return sorted(folder.glob("*.whl"))


class Environment:
    """An environment as a user's: nothing of the checkout can be seen in it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.bin = folder / "bin"
        _run([sys.executable, "-m", "venv", "--without-pip", str(folder)], _environ(), folder.parent)
        self.home = folder / "home"
        self.home.mkdir()
        (self.packages,) = folder.glob("lib/python*/site-packages")

    def copy_to(self, folder: Path) -> Environment:
        """Another one with the same in it, in less time than pip takes; its programs name it instead of this one."""
        copied = copy.copy(self)
        copied.folder, copied.bin, copied.home = folder, folder / "bin", folder / "home"
        copied.packages = folder / self.packages.relative_to(self.folder)
        shutil.copytree(self.folder, folder, symlinks=True, dirs_exist_ok=True)
        for program in copied.bin.iterdir():
            if not program.is_symlink():
                program.write_bytes(program.read_bytes().replace(bytes(self.folder), bytes(folder)))
        return copied

    def pip(self, *arguments: str | Path) -> None:
        pip = [sys.executable, "-m", "pip", "--python", str(self.bin / "python")]
        quick = ["--no-compile"] if arguments[0] == "install" else []  # little of it will ever be imported
        _run([*pip, *map(str, arguments), *quick, "--quiet"], _environ(), self.home)

    def run(self, program: str, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
        """Run one of the environment's programs, to its end, whatever that is."""
        return _end([str(self.bin / program), *arguments], self.environ(variables), self.home)

    def python(self, code: str) -> str:
        """What this code prints."""
        return _run([str(self.bin / "python"), "-c", code], self.environ({}), self.home)

    def environ(self, variables: Mapping[str, str]) -> dict[str, str]:
        environ = _environ()
        return {**environ, "PATH": f"{self.bin}{os.pathsep}{environ['PATH']}", **variables}


class Router:
    """``twistd rolling-router`` of an environment, started as an operator does, with both ports at free places."""

    def __init__(self, environment: Environment, folder: Path, *options: str, **variables: str) -> None:
        self.port, admin = free_port(), free_port()
        self._log = folder / "router.log"
        command = [str(environment.bin / "twistd"), "--nodaemon", "--pidfile=", "rolling-router", *options]
        command += ["--listen", f"tcp:{self.port}:interface=127.0.0.1", "--admin", f"tcp:{admin}:interface=127.0.0.1"]
        with open(self._log, "wb") as log:
            self._process = subprocess.Popen(
                command, env=environment.environ(variables), cwd=folder, stdout=log, stderr=log
            )
        try:
            self._await_ready(admin)
        except BaseException:
            self._process.kill()
            raise

    def get(self, headers: Mapping[str, str] = {}) -> tuple[int, str, Mapping[str, str]]:
        """Ask for ``/`` on a connection of its own: status, body, and header fields by names in lower case."""
        return get(self.port, "/", headers)

    def log(self) -> str:
        return self._log.read_text("utf-8", "replace")

    def stop(self) -> int:
        """End it as an operator does: its exit status."""
        self._process.terminate()
        try:
            return self._process.wait(SECONDS)
        finally:
            self._process.kill()

    def _await_ready(self, admin: int) -> None:
        until, answer = time.monotonic() + SECONDS, "nothing yet"
        while time.monotonic() < until:
            assert self._process.poll() is None, self.log()
            try:
                status, answer, _ = get(admin, "/readyz")
            except OSError as refused:
                answer = str(refused)
            else:
                if status == 200:
                    return
            time.sleep(0.02)
        raise AssertionError(f"not ready after {SECONDS} s: {answer}\n{self.log()}")


@contextmanager
def routing(environment: Environment, folder: Path, *options: str, **variables: str) -> Iterator[Router]:
    """A router, ended well at the end."""
    router = Router(environment, folder, *options, **variables)
    try:
        yield router
    finally:
        status = router.stop()
    assert status == 0, router.log()


def get(port: int, path: str, headers: Mapping[str, str] = {}) -> tuple[int, str, Mapping[str, str]]:
    connection = HTTPConnection("127.0.0.1", port, timeout=SECONDS)
    try:
        connection.request("GET", path, headers=dict(headers))
        answer = connection.getresponse()
        fields = {name.lower(): value for name, value in answer.getheaders()}
        return answer.status, answer.read().decode(), fields
    finally:
        connection.close()


@contextmanager
def instance(text: str) -> Iterator[str]:
    """A tiny instance that answers everything with this text: its ``host:port``."""

    class Answer(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text.encode())

        def log_message(self, *arguments: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Answer) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        try:
            yield f"127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()


def rollout(stable: str, candidate: str, blend: int, stickiness: str) -> str:
    """The keys of the app ``shop`` with one instance in each version, ``shop-1`` and ``shop-2``, as JSON."""
    path = "apps/app-shop-{}-8080/containers"
    keys = {
        "rolling/null": "-",
        "rolling/shop/stable/id": path.format(1),
        "rolling/shop/candidate/id": path.format(2),
        "rolling/shop/blendpercent": str(blend),
        "rolling/shop/stickyness": stickiness,
        f"{path.format(1)}/a": stable,
        f"{path.format(2)}/a": candidate,
    }
    return json.dumps(keys)


def _environ() -> dict[str, str]:
    """The environment without what would lead back to the checkout, or set an option of the router."""
    lost = ("PYTHON", "VIRTUAL_ENV", "ROLLING_ROUTER_", "APP_NAME", "KV_", "OCCS_")
    return {name: text for name, text in os.environ.items() if not name.startswith(lost)}


def _run(command: Sequence[str], environ: Mapping[str, str], folder: Path) -> str:
    ended = _end(command, environ, folder)
    assert ended.returncode == 0, f"{' '.join(command)}\n{ended.stdout}{ended.stderr}"
    return ended.stdout


def _end(command: Sequence[str], environ: Mapping[str, str], folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command, env=environ, cwd=folder, capture_output=True, text=True, timeout=250, stdin=subprocess.DEVNULL
    )
