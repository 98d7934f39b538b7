"""tutorial.section_g: the application that is rolled out."""

from __future__ import annotations

import re
from contextlib import suppress

from examples.tutorial import clients, commands
from examples.tutorial.machine import ROOT, free_port, until
from examples.tutorial.player import Elsewhere, Section
from examples.tutorial.walk import YELLOW, Walk

section = Section("G", "The demo application")


@section.item(28, "The application needs no third party's base image, and one documented command builds it.")
def built(walk: Walk) -> Elsewhere:
    walk.machine.run(commands.SOURCE)
    base = re.search(r"^ARG BASE=(\S+)", (ROOT / "examples/hello-world-node/Dockerfile").read_text("utf-8"), re.M)
    assert base
    assert base[1].startswith("node:")
    box = (ROOT / "ci" / "wercker" / "box" / "Dockerfile").read_text("utf-8")
    assert all(program in box for program in ("node:", "jq", "curl", "recode"))
    return Elsewhere(
        "docker build, where there is an engine",
        "it runs as a process, unbuilt; both Dockerfiles begin with Node.js's own",
    )


@section.item(29, "It listens on port 3000 and serves one page: its version, on its colour.")
def page(walk: Walk) -> str:
    port = free_port()
    running = walk.machine.start(commands.START_APP, walk.folder / "app.log", PORT=str(port), HOST="127.0.0.1")

    def answer() -> clients.Seen | None:
        with suppress(OSError):
            return clients.look(port)
        return None

    try:
        seen = until(answer, "the application answers")
    finally:
        walk.machine.end(running)
    assert f"Running Hello World v. {YELLOW}" in seen.text
    assert (seen.version, seen.colour) == (YELLOW, "yellow")
    assert "process.env.PORT || '3000'" in (ROOT / "examples/hello-world-node/server.js").read_text("utf-8")
    return "here on another port, by PORT"
