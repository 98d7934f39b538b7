"""tutorial.section_k: a new candidate, and the blend."""

from __future__ import annotations

import itertools
import time
from collections import Counter

from examples.tutorial import clients, commands
from examples.tutorial.machine import until
from examples.tutorial.platform import NULL
from examples.tutorial.player import Section
from examples.tutorial.section_j import OTHER, OTHER_VERSION
from examples.tutorial.walk import GREEN, ORANGE, ROUTER_ID, YELLOW, Walk

section = Section("K", "A new candidate")


@section.item(50, "A commit and a push of a changed page start the workflow by themselves.")
def push(walk: Walk) -> None:
    walk.machine.run(commands.HOOK)
    printed = walk.machine.run(commands.GREEN)
    assert "pipeline deploy: passed" in printed, printed


@section.item(51, "One more image is in the registry.")
def image(walk: Walk) -> str:
    first, second = walk.tags()
    assert int(second) > int(first)
    return f"{first} and {second}, folders"


@section.item(52, "Stable and candidate both run.")
def both_run(walk: Walk) -> None:
    for id_ in (walk.stable, walk.candidate):
        assert walk.platform.is_running(id_), id_


@section.item(53, "The page shows both, at blend 0.")
def both_shown(walk: Walk) -> None:
    walk.page.shows(stable=walk.stable, candidate=walk.candidate, blend="0")
    assert walk.look_often(20) == [YELLOW] * 20


@section.item(54, "The blend is set on the page; 50 shows as 50%.")
def half(walk: Walk) -> str:
    walk.page.set_blend(50)
    walk.page.shows(asked="50")
    assert walk.platform.setting("blendpercent") == "50"
    return "any whole number, where the original had tens"


@section.item(55, "At 50 every other request goes to the candidate.")
def every_other(walk: Walk) -> str:
    walk.waits_for(YELLOW, GREEN)
    seen = walk.look_often(100)
    assert Counter(seen) == {YELLOW: 50, GREEN: 50}
    assert all(one != other for one, other in itertools.pairwise(seen)), seen  # the second is one shorter
    assert "green" in {walk.look().colour, walk.look().colour}
    assert f"v. {GREEN}" in walk.machine.run(commands.RELOAD)
    walk.platform.json("PUT", f"/api/v2/deployments/{walk.candidate}", {"quantities": {"app": 1}})
    until(lambda: len(walk.platform.instances(walk.candidate)) == 1, "the candidate has one instance, stable two")
    assert Counter(walk.look_often(100)) == {YELLOW: 50, GREEN: 50}
    assert clients.look_at_once(walk.app_port) == {YELLOW: 50, GREEN: 50}
    return "100 one by one, alternating; 100 with 2 instances to 1; 100 of ten clients at once: exactly 50 each time"


@section.item(56, "At 100 all requests go to the candidate, at 0 none.")
def all_or_none(walk: Walk) -> str:
    for command, version in ((commands.BLEND_100, GREEN), (commands.BLEND_0, YELLOW)):
        walk.machine.run(command)
        walk.waits_for(version)
        assert walk.look_often(100) == [version] * 100
    return "100 requests each"


@section.item(57, "A further push replaces the candidate on the platform; stable is untouched.")
def replaced(walk: Walk) -> None:
    stable, candidate = walk.stable, walk.candidate
    before = walk.platform.instances(stable)
    printed = walk.machine.run(commands.ORANGE)
    assert "pipeline deploy: passed" in printed, printed
    assert candidate not in walk.platform.deployments()
    assert walk.candidate not in (candidate, NULL)
    assert walk.platform.is_running(walk.candidate)
    assert walk.stable == stable
    assert walk.platform.instances(stable) == before


@section.item(58, "The page shows the new candidate, with the blend back at 0.")
def new_shown(walk: Walk) -> None:
    walk.page.shows(stable=walk.stable, candidate=walk.candidate, blend="0")
    assert walk.look_often(20) == [YELLOW] * 20


@section.item(59, "With a raised blend the new version shows up after some reloads.")
def shows_up(walk: Walk) -> str:
    walk.machine.run(commands.BLEND_50)
    walk.waits_for(YELLOW, ORANGE)
    colours = {walk.look().colour for _ in range(4)}
    assert colours == {"yellow", "orange"}
    assert f"v. {ORANGE}" in walk.machine.run(commands.RELOAD)
    return "orange"


@section.item(60, "Stable and candidate can be chosen freely; the application follows at once, and no request fails.")
def chosen(walk: Walk) -> str:
    walk.await_page()
    walk.page.set_blend(0)
    walk.waits_for(YELLOW)
    stable = walk.stable
    until(lambda: f"{ROUTER_ID} (" in str(walk.page.choices("stable")), "the dropdown is there")
    took = []
    with walk.load() as load:
        for id_, version in ((OTHER, OTHER_VERSION), (stable, YELLOW)):
            began = time.monotonic()
            walk.page.choose("stable", id_)
            until(lambda version=version: walk.look().version == version, f"{version} answers")
            took.append(time.monotonic() - began)
    assert load.failed == [], load.failed[:3]
    walk.waits_for(YELLOW)
    walk.platform.remove(OTHER)
    return f"after {' and '.join(f'{seconds:.1f}' for seconds in took)} s; {load.seen.total()} requests, none failed"
