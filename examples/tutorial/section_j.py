"""tutorial.section_j: promote."""

from __future__ import annotations

from examples.tutorial import commands
from examples.tutorial.machine import until
from examples.tutorial.platform import NULL
from examples.tutorial.player import Section
from examples.tutorial.walk import APP, YELLOW, Walk

section = Section("J", "Promote")
OTHER = f"{APP}-other"
OTHER_VERSION = "0.9.9"


@section.item(45, "Promote makes the candidate stable, leaves no candidate, and sets the blend to 0.")
def promoted(walk: Walk) -> None:
    candidate = walk.candidate
    walk.promoting = walk.page.promote()
    walk.page.shows(stable=candidate, candidate=NULL, blend="0")
    assert walk.platform.settings()[:3] == (walk.path(candidate), NULL, "0")


@section.item(46, "Promote is offered only while there is a candidate.")
def offered(walk: Walk) -> None:
    until(lambda: not walk.page.promote_is_offered(), "Promote is gone")


@section.item(47, "While it works the page says so.")
def said(walk: Walk) -> str:
    assert walk.promoting.startswith("Promoting")
    return f'"{walk.promoting}"'


@section.item(48, "The application is served at port 80, yellow; reloading keeps answering.")
def served(walk: Walk) -> str:
    walk.waits_for(YELLOW)
    assert f"Running Hello World v. {YELLOW}" in walk.machine.run(commands.BROWSE)
    assert walk.look().colour == "yellow"
    assert walk.look_often(100) == [YELLOW] * 100
    return "100 requests, all from stable"


@section.item(49, "Promote works at any blend: at 0, 50 and 100 under load no request fails.")
def any_blend(walk: Walk) -> str:
    first, second = walk.path(walk.stable), walk.platform.deploy(OTHER, f"demo/hello-world:{OTHER_VERSION}", 2)
    versions = {first: YELLOW, second: OTHER_VERSION}
    with walk.load() as load:
        for blend in (0, 50, 100):
            walk.platform.set(candidate=second)
            walk.platform.set(blend=str(blend))
            walk.waits_for(*{0: (versions[first],), 50: versions.values(), 100: (versions[second],)}[blend])
            walk.machine.run(commands.PROMOTE)
            assert walk.platform.settings()[:3] == (second, NULL, "0")
            walk.waits_for(versions[second])
            first, second = second, first
        walk.platform.set(candidate=second)  # back to where the tutorial was
        walk.machine.run(commands.PROMOTE)
        walk.waits_for(YELLOW)
    assert load.failed == [], load.failed[:3]
    assert walk.platform.settings()[:3] == (second, NULL, "0")
    return f"{load.seen.total()} requests meanwhile, none failed"
