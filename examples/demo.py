"""
demo: all that ``make run`` starts. Two versions of Hello World, the file that says how traffic is split between them,
and the router before both. Ends everything it started when it is told to end, or when one part ends by itself.

Knows the keys that a deploy script would write into a file store, and nothing else of the router.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
DIRECTORY = ROOT / ".demo"
STORE = DIRECTORY / "rollout.json"
STATE = DIRECTORY / "state"
APP = "hello-world"
VERSIONS = {"1.0.0": "yellow", "1.0.1": "green"}
START_SECONDS = 30
END_SECONDS = 10

SIGNS = {signal.SIGINT, signal.SIGTERM, signal.SIGHUP}

WELCOME = """
The application, by way of the router:   http://127.0.0.1:{proxy}/
The settings page:                       {settings}
The file behind both:                    {store}

On the page, set the blend to 50: every other reload of the application is then version 1.0.1, in green. Or do it in
the file: "rolling/{app}/blendpercent" is what the page sets. Set sticky sessions to true, and each browser stays
with what it saw first. Ctrl-C ends it all; what you changed is kept for the next time.
"""


class Trouble(Exception):
    """Why the demo cannot start, or go on, in one line."""


class Parts:
    """The processes of the demo: started here, and ended here, one by one."""

    def __init__(self) -> None:
        self._running: dict[str, subprocess.Popen[bytes]] = {}

    def start(self, name: str, *argv: str, heard: Callable[[str], None] | None = None) -> None:
        """:param heard: is told each line that it prints, which is then printed here."""
        # Each in a session of its own, so that Ctrl-C reaches this process alone, which then ends them in order.
        process = self._running[name] = subprocess.Popen(
            argv,
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdin=subprocess.DEVNULL,
            stdout=None if heard is None else subprocess.PIPE,
            start_new_session=True,
        )
        if heard is not None:
            threading.Thread(target=_pass_on, args=(process.stdout, heard), daemon=True).start()

    def check(self) -> None:
        """:raises Trouble: one of them has ended."""
        for name, process in self._running.items():
            if process.poll() is not None:
                raise Trouble(f"{name} has ended, with status {process.returncode}")

    def close(self) -> None:
        """Ask all to end, the last started first, and insist with those that do not."""
        for process in reversed(self._running.values()):
            process.terminate()
        deadline = time.monotonic() + END_SECONDS
        for process in self._running.values():
            try:
                process.wait(max(0.0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _pass_on(lines: Iterable[bytes], heard: Callable[[str], None]) -> None:
    for line in lines:
        text = line.decode("utf-8", "replace")
        heard(text)
        print(text, end="", flush=True)


class Link:
    """The link by which one signs in at the settings page: the router prints it where nobody has a token yet."""

    def __init__(self, admin: int) -> None:
        self._page = f"http://127.0.0.1:{admin}/"
        self._found: str | None = None
        self._is_said = threading.Event()

    def hear(self, line: str) -> None:
        if found := re.search(rf"{re.escape(self._page)}#code=\S+", line):
            self._found = found[0]
        if "routing on" in line:
            self._is_said.set()

    def text(self) -> str:
        """What to tell, as soon as the router has said what it does."""
        self._is_said.wait(START_SECONDS)
        return f"{self._found} (signs in, once)" if self._found else f"{self._page} (sign in with your token)"


class Signs:
    """Remembers that a signal has asked for the end, so that no start or clean-up is torn by it."""

    def __init__(self) -> None:
        self.seen = False
        for sign in SIGNS:
            signal.signal(sign, self._see)

    def _see(self, *_: object) -> None:
        self.seen = True


def main() -> int:
    """Run the demo until it is told to end; 0 then, and 1 after a trouble."""
    argparse.ArgumentParser(
        prog="python -m examples.demo",
        description="Start two versions of Hello World and the router before them. The environment may choose the "
        "ports: PROXY_PORT (8000) for the application, ADMIN_PORT (8080) for the settings.",
    ).parse_args()
    signs = Signs()
    try:
        with contextlib.closing(Parts()) as parts:
            run(parts, _port("PROXY_PORT", 8000), _port("ADMIN_PORT", 8080), lambda: signs.seen)
    except Trouble as trouble:  # said last, below whatever the parts had to say at their end
        print(f"demo: {trouble}", file=sys.stderr)
        return 1
    return 0


def run(parts: Parts, proxy: int, admin: int, is_over: Callable[[], bool]) -> None:
    """Start all parts in turn, say where they are, and watch them until `is_over`."""
    for name, port in (("PROXY_PORT", proxy), ("ADMIN_PORT", admin)):
        _check_is_free(name, port)
    ports = {version: _free_port() for version in VERSIONS}
    write_store(STORE, {version: f"127.0.0.1:{port}" for version, port in ports.items()})
    for version, colour in VERSIONS.items():
        parts.start(f"Hello World {version}", *_hello_world(ports[version], version, colour))
    forget_last_sign_in()
    link = Link(admin)
    parts.start("the router", *_router(proxy, admin), heard=link.hear)
    for port in (*ports.values(), proxy, admin):
        if not _wait_for_answer(port, parts, is_over):
            return
    print(WELCOME.format(proxy=proxy, settings=link.text(), store=os.path.relpath(STORE), app=APP), flush=True)
    while not is_over():
        parts.check()
        time.sleep(0.1)


def forget_last_sign_in() -> None:
    """Revoke the token that the link of an earlier run has made, so that the router prints another link."""
    if (STATE / "tokens.json").exists():
        command = [_program("rolling-router"), "token", "revoke", "--name", "first", "--state-dir", str(STATE)]
        # It may be gone already; and where people have made tokens of their own, they sign in with those.
        subprocess.run(command, check=False, cwd=ROOT, stdin=subprocess.DEVNULL, capture_output=True)


def write_store(path: Path, addresses: dict[str, str]) -> None:
    """
    Write where the instances are. Whatever else an earlier run, or a person, has left in the file stays.

    :param addresses: version to the ``host:port`` of its instance.
    :raises Trouble: the file is there and cannot be understood.
    """
    path.parent.mkdir(exist_ok=True)
    keys = _read_store(path) if path.exists() else _first_keys()
    for version, address in addresses.items():
        keys[f"{_containers(version)}/demo"] = address
    whole = path.with_name(path.name + ".new")
    whole.write_text(json.dumps(keys, indent=2) + "\n", encoding="utf-8")
    whole.replace(path)


def _read_store(path: Path) -> dict[str, str]:
    shown = os.path.relpath(path)
    try:
        keys = json.loads(path.read_text(encoding="utf-8"))
    except json.JSONDecodeError as wrong:
        raise Trouble(f"{shown}, line {wrong.lineno}, column {wrong.colno}: {wrong.msg}; mend it, or delete the file")
    except (OSError, UnicodeDecodeError) as wrong:
        raise Trouble(f"{shown}: {wrong}; mend it, or delete the file")
    if not isinstance(keys, dict):
        raise Trouble(f"{shown} is not one JSON object; mend it, or delete the file")
    return keys


def _first_keys() -> dict[str, str]:
    stable, candidate = VERSIONS
    return {
        "rolling/null": "-",
        f"rolling/{APP}/stable/id": _containers(stable),
        f"rolling/{APP}/candidate/id": _containers(candidate),
        f"rolling/{APP}/blendpercent": "0",
        f"rolling/{APP}/stickyness": "0",
    }


def _containers(version: str) -> str:
    return f"apps/app-{APP}-{version}-3000/containers"


def _hello_world(port: int, version: str, colour: str) -> list[str]:
    options = ["--port", str(port), "--version", version, "--colour", colour]
    return [sys.executable, "-m", "examples.hello_world", *options]


def _router(proxy: int, admin: int) -> list[str]:
    twistd = [_program("twistd"), "-n", "--pidfile="]
    listen = ["--listen", f"tcp:{proxy}", "--admin", f"tcp:{admin}:interface=127.0.0.1"]
    state = ["--state-dir", str(STATE)]
    return [*twistd, "rolling-router", "--app", APP, "--store", f"file:{STORE}", *listen, *state]


def _program(name: str) -> str:
    return str(Path(sys.executable).with_name(name))


def _port(name: str, default: int) -> int:
    text = os.environ.get(name) or str(default)
    if not (text.isascii() and text.isdigit() and 1 <= int(text) <= 65535):
        raise Trouble(f"{name} is {text!r}; it must be a number from 1 to 65535")
    return int(text)


def _check_is_free(name: str, port: int) -> None:
    # Asked beforehand, because the store's file must not change while another demo runs from it.
    with socket.socket() as listening:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listening.bind(("", port))
        except OSError as wrong:
            raise Trouble(f"cannot listen on port {port}: {wrong.strerror}; choose another with {name}=...")


def _free_port() -> int:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        return int(listening.getsockname()[1])


def _wait_for_answer(port: int, parts: Parts, is_over: Callable[[], bool]) -> bool:
    """
    Wait until something speaks HTTP on this port.

    :returns: whether it does; not, when `is_over` before.    :raises Trouble: a part has ended, or time has run out.
    """
    deadline = time.monotonic() + START_SECONDS
    while not is_over():
        parts.check()
        if _answers(port):
            return True
        if time.monotonic() > deadline:
            raise Trouble(f"nothing answers on port {port} after {START_SECONDS} seconds")
        time.sleep(0.1)
    return False


def _answers(port: int) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=2) as asking:
            asking.sendall(b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n")
            return asking.recv(5) == b"HTTP/"
    except OSError:
        return False


if __name__ == "__main__":
    sys.exit(main())
