"""
delivery.build: what is to be deployed, and what it is called. Pure; made by the command of its options.

Names come of the build alone, so that the same build, run again after a break, finds what it had begun.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import attrs

from rolling_router.errors import SettingError
from rolling_router.occs.deployments import RUNNING, Deployment
from rolling_router.rollout.keys import version_path

SERVICE = "app"
"""The service's name: the router's keys have it in their paths."""
_SECONDS = re.compile(r"[0-9]{9,11}\Z")
_WHEN = re.compile(r"-[0-9]{8}-[0-9]{6}\Z")
"""What follows the app's name in an id."""


@attrs.frozen
class Build:
    """
    One image to be deployed.

    :ivar name: of the app, for people.    :ivar image: without its tag, e.g. ``me/hello-world``.
    :ivar started: when the build was started, in seconds since 1970; ``None`` where nobody told.
    :ivar port: inside the containers.    :ivar scale: how many instances.
    :ivar command: what a container runs; empty for what the image says.
    :ivar environment: further variables of the containers, ``NAME=VALUE`` each; shown nowhere.
    :ivar health_path: asked by the platform before it counts a container as healthy; empty for none.
    """

    app: str
    name: str
    image: str
    tag: str
    started: int | None
    port: int
    scale: int = 1
    command: str = ""
    environment: Sequence[str] = attrs.field(default=(), repr=False)
    health_path: str = ""
    pool: str = "default"

    @property
    def title(self) -> str:
        """The deployment's name for people. The tutorial's tag is its start's time."""
        return f"{self.name} {self.tag}"

    @property
    def full_image(self) -> str:
        return f"{self.image}:{self.tag}"

    def id(self, now: float) -> str:
        """The deployment's id.    :param now: used where nobody told when the build was started."""
        when = datetime.fromtimestamp(now if self.started is None else self.started, UTC)
        return f"{self.app}-{when:%Y%m%d-%H%M%S}"

    def path(self, id: str) -> str:
        return version_path(id, self.port)

    def document(self, id: str) -> Mapping[str, Any]:
        """What to send to have it made and started."""
        stack = {
            "service_id": SERVICE,
            "service_name": self.title,
            "subtype": "service",
            "content": self._yaml(),
        }
        return {
            "deployment_id": id,
            "deployment_name": self.title,
            "desired_state": RUNNING,
            "placement": {"pool_id": self.pool},
            "quantities": {SERVICE: self.scale},
            "stack": stack,
        }

    def _yaml(self) -> str:
        # JSON's strings are YAML's, too, and need no library to be quoted by.
        lines = ["version: 2", "services:", f"  {SERVICE}:", f"    image: {json.dumps(self.full_image)}"]
        lines += [f"    command: {json.dumps(self.command)}"] if self.command else []
        environment = ["occs:availability=per-pool", "occs:scheduler=random"]
        if self.health_path:
            environment.append(f"OCCS_HEALTHCHECK_HTTP=http://:{self.port}{self.health_path}")
        lines += ["    environment:", *(f"      - {json.dumps(one)}" for one in (*environment, *self.environment))]
        lines += ["    ports:", f"      - {self.port}/tcp"]
        return "\n".join(lines) + "\n"

    def is_of(self, found: Deployment) -> bool:
        """Whether a deployment, by its name and id, can be this build's. Of ``shop``, ``shop-eu-…`` is none."""
        is_ours = found.id.startswith(self.app) and _WHEN.match(found.id, len(self.app))
        return found.name == self.title and bool(is_ours)

    def check_same(self, found: Deployment) -> None:
        """:raises SettingError: the deployment of our id is another build's."""
        stack = found.document.get("stack")
        content = stack.get("content") if isinstance(stack, Mapping) else None
        image = rf"(?<![^\s\"']){re.escape(self.full_image)}(?![^\s\"'])"  # whole: 1.0 is not 1.0.1
        if isinstance(content, str) and not re.search(image, content):
            raise SettingError(
                f"there is a deployment {found.id} already, of another image than {self.full_image}; "
                "remove it, or name another --started"
            )


def started_at(text: str) -> int | None:
    """The time in a tag that is one, such as Wercker's ``1497966712``."""
    return int(text) if _SECONDS.match(text) else None
