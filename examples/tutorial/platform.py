"""tutorial.platform: the manager's REST API, as the walk looks at it: keys, deployments, containers."""

from __future__ import annotations

import base64
import json
import ssl
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

from examples.tutorial.machine import until

NULL = "rolling/null"


class Platform:
    """One manager."""

    def __init__(self, manager: str, state: Path, app: str) -> None:
        """:param state: the emulator's directory, which has token, password and certificate."""
        self.manager, self.app, self._state = manager, app, state
        self._context: ssl.SSLContext | None = None

    @property
    def token(self) -> str:
        return (self._state / "token").read_text().strip()

    @property
    def password(self) -> str:
        return (self._state / "password").read_text().strip()

    def ask(
        self, method: str, path: str, body: bytes | None = None, authorization: str | None = None
    ) -> tuple[int, bytes]:
        """One call, with the bearer unless another header is given."""
        if self._context is None:
            self._context = ssl.create_default_context(cafile=str(self._state / "certificate.pem"))
        header = {"Authorization": f"Bearer {self.token}" if authorization is None else authorization}
        request = urllib.request.Request(self.manager + path, data=body, method=method, headers=header)
        try:
            with urllib.request.urlopen(request, timeout=30, context=self._context) as answer:
                return answer.status, answer.read()
        except urllib.error.HTTPError as refused:
            return refused.code, refused.read()

    def json(self, method: str, path: str, value: Any = None) -> Any:
        """One call that must go well."""
        status, body = self.ask(method, path, None if value is None else json.dumps(value).encode())
        assert status == 200, f"{method} {path}: {status} {body!r}"
        return json.loads(body)

    # Keys

    def keys(self, prefix: str = "") -> dict[str, str]:
        found = self.json("GET", f"/api/kv/{prefix}?recurse")
        return {one["Key"]: base64.b64decode(one["Value"]).decode() for one in found}

    def put(self, key: str, text: str) -> None:
        assert self.ask("PUT", f"/api/kv/{key}", text.encode()) == (200, b"true")

    def setting(self, name: str) -> str | None:
        """One of the application's four, e.g. ``stable/id``."""
        key = f"rolling/{self.app}/{name}"
        return self.keys(key).get(key)

    def settings(self) -> tuple[str | None, ...]:
        """Stable, candidate, blend, stickiness, as they are written."""
        found = self.keys(f"rolling/{self.app}/")
        names = ("stable/id", "candidate/id", "blendpercent", "stickyness")
        return tuple(found.get(f"rolling/{self.app}/{name}") for name in names)

    def set(self, **texts: str) -> None:
        """Write some of them, e.g. ``stable=PATH, blend="50"``."""
        names = {"stable": "stable/id", "candidate": "candidate/id", "blend": "blendpercent", "sticky": "stickyness"}
        for name, text in texts.items():
            self.put(f"rolling/{self.app}/{names[name]}", text)

    # Deployments

    def deployments(self) -> dict[str, dict[str, Any]]:
        told = self.json("GET", "/api/v2/deployments/")["deployments"]
        return {one["deployment_id"]: one for one in told}

    def is_running(self, id_: str) -> bool:
        one = self.deployments().get(id_)
        return one is not None and one["current_state"] == one["desired_state"] == 1

    def instances(self, id_: str, port: int = 3000, service: str = "app") -> dict[str, str]:
        return self.keys(f"apps/{service}-{id_}-{port}/containers/")

    def containers(self, id_: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.json("GET", f"/api/v2/deployments/{id_}/containers/")["containers"]
        return found

    def deploy(self, id_: str, image: str, quantity: int = 1, port: int = 3000) -> str:
        """Make a deployment as a script does, wait until it runs, and give the path of its containers."""
        app = {"image": image, "command": "npm start", "ports": [f"{port}/tcp"]}
        content = json.dumps({"version": 2, "services": {"app": app}})  # which is YAML, too
        stack = {"service_id": "app", "service_name": id_, "subtype": "service", "content": content}
        told = {"deployment_id": id_, "deployment_name": f"By hand {id_}", "desired_state": 1}
        self.json(
            "POST",
            "/api/v2/deployments/",
            {**told, "placement": {"pool_id": "default"}, "quantities": {"app": quantity}, "stack": stack},
        )
        until(lambda: len(self.instances(id_, port)) == quantity, f"{id_} runs")
        return f"apps/app-{id_}-{port}/containers"

    def remove(self, id_: str) -> None:
        self.json("POST", f"/api/v2/deployments/{id_}/stop")
        until(lambda: self.deployments()[id_]["current_state"] == 0, f"{id_} stops")
        assert self.json("DELETE", f"/api/v2/deployments/{id_}") == {"deleted": id_}
