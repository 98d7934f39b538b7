"""tutorial.section_c: the worker's addresses and the user's token."""

from __future__ import annotations

import json

from examples.tutorial import commands
from examples.tutorial.player import Section
from examples.tutorial.walk import Walk

section = Section("C", "Find the addresses and the token")


@section.item(12, "The platform tells the worker's addresses: eth0, docker0, public_ip.")
def addresses(walk: Walk) -> str:
    (host,) = json.loads(walk.machine.run(commands.HOSTS))
    assert {"eth0", "docker0", "public_ip"} <= set(host["interfaces"])
    assert host["interfaces"]["public_ip"] in walk.settings_url
    return "there the router's two ports were reached"


@section.item(13, "It tells its user the API token; signing in by password gives the same one.")
def token(walk: Walk) -> None:
    assert walk.machine.run(commands.TOKEN).strip() == walk.platform.token
    user = walk.platform.json("POST", "/api/auth", {"username": "admin", "password": walk.platform.password})
    status, body = walk.platform.ask("GET", "/api/token", authorization=f"Session {user['token']}")
    assert status == 200
    assert json.loads(body) == {"token": walk.platform.token}
