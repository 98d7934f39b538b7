"""tutorial.section_a: the router's image. There is no container engine here, so most of it is a dry run."""

from __future__ import annotations

from examples.tutorial import commands
from examples.tutorial.machine import ROOT
from examples.tutorial.player import Elsewhere, Section
from examples.tutorial.walk import Walk

section = Section("A", "Build and publish the router")
IMAGE_TEST = "make test-image"
VERSION = next(
    line.partition(" = ")[2]
    for line in (ROOT / "setup.cfg").read_text("utf-8").splitlines()
    if line[:10] == "version = "
)
NAME = f"me/rolling-router-sticky-sessions:{VERSION}"


def dry_run(walk: Walk, command: str, **variables: str) -> str:
    assert command.startswith("make ")
    return walk.machine.run(command.replace("make ", "make --no-print-directory --dry-run ", 1), **variables)


@section.item(1, "A fresh clone and one make build the router's image.")
def builds(walk: Walk) -> Elsewhere:
    clone = walk.folder / "clone"
    walk.machine.run(f'git clone --quiet --depth 1 "file://$CHECKOUT" "{clone}"')
    printed = walk.machine.run(f'cd "{clone}" && make --no-print-directory --dry-run image REGISTRY_NAME=me')
    assert NAME in printed
    return Elsewhere(IMAGE_TEST, f"in a fresh clone, make's dry run builds {NAME}")


@section.item(2, "One signs in to a registry before; the build asks for nothing.")
def asks_for_nothing(walk: Walk) -> Elsewhere:
    for command in (commands.IMAGE, commands.PUBLISH):
        printed = dry_run(walk, command)
        assert "login" not in printed
        assert "read " not in printed
    return Elsewhere(f"{IMAGE_TEST} builds without an account", "no command of the two asks or signs in")


@section.item(3, "The registry's account is one variable of one make file; the environment can set it.")
def account(walk: Walk) -> None:
    lines = [line for line in (ROOT / "Makefile").read_text("utf-8").splitlines() if line.startswith("REGISTRY_NAME")]
    assert len(lines) == 1
    assert NAME in dry_run(walk, commands.IMAGE)
    assert NAME.replace("me/", "you/", 1) in dry_run(walk, "make image", REGISTRY_NAME="you")


@section.item(4, "The image is rolling-router-sticky-sessions, tagged with the version.")
def name(walk: Walk) -> Elsewhere:
    assert f"--tag {NAME}" in dry_run(walk, commands.IMAGE)
    return Elsewhere(IMAGE_TEST, f"make's dry run tags {NAME}")


@section.item(5, "Building and publishing are two targets, and make help tells both.")
def targets(walk: Walk) -> Elsewhere:
    told = walk.machine.run("make help")
    assert "make image " in told
    assert "make publish " in told
    assert f"push {NAME}" in " ".join(dry_run(walk, commands.PUBLISH).split())
    assert "Where to?" in walk.machine.run("make publish", expected=None)
    return Elsewhere(
        f"{IMAGE_TEST} pushes to a registry of its own", "both are told; a push without account is refused"
    )
