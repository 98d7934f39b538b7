"""The OCCS emulator as an operator starts it, `twistd -n occs-emulator`, for whatever test wants one."""

from __future__ import annotations

import base64
import http.client
import json
import os
import signal
import ssl
import subprocess
import sysconfig
import time
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

TWISTD = str(Path(sysconfig.get_path("scripts")) / "twistd")
ROOT = Path(__file__).resolve().parent.parent
START_SECONDS = 60.0
ANYWHERE = "tcp:0:interface=127.0.0.1"


class Control:
    """The emulator's control port."""

    def __init__(self, url: str) -> None:
        self.url = url

    def faults(self, **changes: Any) -> dict[str, Any]:
        """Set these faults (see `rolling_router.occs.emulator.faults.Faults`), and get all that are in force."""
        found: dict[str, Any] = self._ask("PUT", "/faults", json.dumps(changes).encode())
        return found

    def mend(self) -> None:
        """No other faults any more than those that it was started with."""
        self._ask("DELETE", "/faults")

    def expire_token(self) -> None:
        self._ask("POST", "/expire-token")

    def _ask(self, method: str, path: str, body: bytes | None = None) -> Any:
        asking = urllib.request.Request(self.url + path, data=body, method=method)
        with urllib.request.urlopen(asking, timeout=30) as answer:
            return json.load(answer)


class Emulator:
    """
    One emulator process, on free ports. It can be stopped and started again at the same ports.

    :ivar manager: ``https://...``, without a path.    :ivar node: ``http://...``.
    :ivar ca_file: pin this.    :ivar token_file: has the bearer.
    """

    manager: str
    node: str
    ca_file: Path
    control: Control

    def __init__(
        self, directory: Path, *options: str, environ: Mapping[str, str] | None = None, twistd: str | None = None
    ) -> None:
        """
        :param directory: its own; the state is in `state` there.    :param options: further ones.
        :param twistd: another installation's, which then does not see the checkout.
        """
        self.directory = directory
        self.state = directory / "state"
        self.token_file = self.state / "token"
        self._options = options
        self._environ = environ or {}
        self._twistd = twistd
        self._ready = directory / "ready.json"
        self.process: subprocess.Popen[bytes] | None = None
        self._ports = dict.fromkeys(("manager", "node", "control"), ANYWHERE)

    def start(self) -> Emulator:
        """Start it, and wait until it says where it is."""
        self._ready.unlink(missing_ok=True)
        self.process = self.spawn()
        deadline = time.monotonic() + START_SECONDS
        while not self._ready.exists():
            assert self.process.poll() is None, self.output()
            assert time.monotonic() < deadline, self.output()
            time.sleep(0.02)
        told = json.loads(self._ready.read_text())
        self.manager, self.node, self.ca_file = told["manager"], told["node"], Path(told["ca_file"])
        self.control = Control(told["control"])
        for name in self._ports:
            self._ports[name] = f"tcp:{urlsplit(told[name]).port}:interface=127.0.0.1"
        return self

    def spawn(self) -> subprocess.Popen[bytes]:
        """Only start it: for tests of what is refused."""
        argv = ["--state-dir", str(self.state), "--ready-file", str(self._ready)]
        argv += [word for name, text in self._ports.items() for word in (f"--{name}", text)]
        foreign = ("ROLLING_ROUTER_", "OCCS_", "KV_", "APP_NAME", "PYTHONPATH")
        own = {key: text for key, text in os.environ.items() if not key.startswith(foreign)}
        if self._twistd is None:
            own["PYTHONPATH"] = str(ROOT)
        with (self.directory / "emulator.log").open("ab") as log:
            return subprocess.Popen(
                [self._twistd or TWISTD, "-n", "--pidfile=", "occs-emulator", *argv, *self._options],
                cwd=self.directory,
                env={**own, **self._environ},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def stop(self) -> int:
        """End it as an operator does, if it runs: its exit status."""
        assert self.process is not None
        if self.process.poll() is None:
            self.process.terminate()
        try:
            return self.process.wait(60)
        finally:
            self.kill()

    def kill(self) -> None:
        """End it as a crash does."""
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(signal.SIGKILL)
            self.process.wait()

    def output(self) -> str:
        """Its log since the first start."""
        return (self.directory / "emulator.log").read_text("utf-8", "replace")

    # Asking it

    @property
    def token(self) -> str:
        return self.token_file.read_text().strip()

    @property
    def password(self) -> str:
        return (self.state / "password").read_text().strip()

    def sign_in(self) -> str:
        """The bearer, as a user gets it: a new one where the one before has run out."""
        password = json.dumps({"username": "admin", "password": self.password})
        session = json.loads(self.ask("POST", "/api/auth", password, authorization="")[1])["token"]
        token: str = json.loads(self.ask("GET", "/api/token", authorization=f"Session {session}")[1])["token"]
        return token

    def ask(
        self, method: str, path: str, body: bytes | str | None = None, authorization: str | None = None
    ) -> tuple[int, bytes]:
        """
        One call to the manager, with the bearer unless another header is given; status and body.

        :param path: with its query, e.g. ``/api/kv/rolling/null?raw=true``.
        """
        where = urlsplit(self.manager)
        context = ssl.create_default_context(cafile=str(self.ca_file))
        asking = http.client.HTTPSConnection(where.netloc, timeout=30, context=context)
        header = {"Authorization": f"Bearer {self.token}" if authorization is None else authorization}
        return _exchange(asking, method, path, body, header)

    def ask_node(self, path: str, method: str = "GET") -> tuple[int, bytes]:
        """One call to the node's endpoint."""
        return _exchange(http.client.HTTPConnection(urlsplit(self.node).netloc, timeout=30), method, path, None, {})

    def json(self, method: str, path: str, value: Any = None) -> Any:
        """One call to the manager that must go well, in JSON both ways."""
        status, body = self.ask(method, path, None if value is None else json.dumps(value))
        assert status == 200, (status, body)
        return json.loads(body)

    def get(self, key: str) -> str | None:
        """A key's text; ``None``: there is no such key."""
        found = self.json("GET", f"/api/kv/{key}?recurse")
        values = [one["Value"] for one in found if one["Key"] == key]
        return _decoded(values[0]) if values else None

    def put(self, key: str, value: str) -> None:
        status, body = self.ask("PUT", f"/api/kv/{key}", value.encode())
        assert (status, body) == (200, b"true")

    def keys(self, prefix: str = "") -> dict[str, str]:
        """All below a prefix."""
        return {one["Key"]: _decoded(one["Value"]) for one in self.json("GET", f"/api/kv/{prefix}?recurse")}


@contextmanager
def emulating(
    directory: Path, *options: str, environ: Mapping[str, str] | None = None, twistd: str | None = None
) -> Iterator[Emulator]:
    """An emulator that runs for as long as this does, and must end well."""
    emulator = Emulator(directory, *options, environ=environ, twistd=twistd)
    try:
        yield emulator.start()
    finally:
        with suppress(ProcessLookupError):
            status = emulator.stop()
    assert status == 0, emulator.output()
    assert "Traceback" not in emulator.output(), emulator.output()


def _exchange(
    asking: http.client.HTTPConnection, method: str, path: str, body: bytes | str | None, header: Mapping[str, str]
) -> tuple[int, bytes]:
    try:
        asking.request(method, path, body=body, headers=dict(header))
        answer = asking.getresponse()
        return answer.status, answer.read()
    finally:
        asking.close()


def _decoded(value: str) -> str:
    return base64.b64decode(value).decode()


def service_yaml(
    image: str = "me/hello-world:1.0.0",
    ports: Sequence[str] = ("3000/tcp",),
    environment: Sequence[str] = (),
    command: str = "npm start",
) -> str:
    """A service as the deploy scripts write it: its name is ``app``."""
    lines = ["version: 2", "services:", "  app:", f"    image: '{image}'", f"    command: {command}"]
    lines += ["    environment:"]
    lines += [f"      - '{text}'" for text in ("occs:availability=per-pool", "occs:scheduler=random", *environment)]
    lines += ["    ports:", *(f"      - {port}" for port in ports)]
    return "\n".join(lines) + "\n"


def deployment(id_: str = "shop-1", quantities: int = 1, **service: Any) -> dict[str, Any]:
    """The body of a POST that makes and starts a deployment; `service` as for `service_yaml`."""
    stack = {"service_id": "app", "service_name": id_, "subtype": "service", "content": service_yaml(**service)}
    return {
        "deployment_id": id_,
        "deployment_name": f"Deployment {id_}",
        "desired_state": 1,
        "placement": {"pool_id": "default"},
        "quantities": {"app": quantities},
        "stack": stack,
    }
