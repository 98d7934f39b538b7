"""tutorial.section_f: an application whose keyvalues are there already."""

from __future__ import annotations

import time

from examples.tutorial import commands
from examples.tutorial.platform import NULL
from examples.tutorial.player import Section
from examples.tutorial.section_e import FIRST
from examples.tutorial.walk import Walk

section = Section("F", "An application that is there already")


@section.item(25, "Where keyvalues exist the port may be left out at sign-in; all of them are found.")
def found(walk: Walk) -> None:
    walk.platform.set(stable=walk.path(FIRST), candidate=NULL, blend="30", sticky="1")
    other = walk.open_page()
    other.fill_setup(walk.manager, walk.platform.token)
    other.shows(stable=FIRST, candidate=NULL, sticky="true (cookie)", blend="30", port="port 3000")
    other.page.context.close()


@section.item(26, "The port that was found is shown beside the name, also if only a candidate tells it.")
def port(walk: Walk) -> None:
    walk.platform.set(blend="0", sticky="0", stable=NULL, candidate=walk.path(FIRST))
    other = walk.open_page()
    other.fill_setup(walk.manager, walk.platform.token)
    other.shows(stable=NULL, candidate=FIRST, port="port 3000")
    other.page.context.close()


@section.item(27, "A change that is made elsewhere shows on the page by itself, within 10 seconds.")
def live(walk: Walk) -> str:
    walk.page.shows(asked="0", candidate=FIRST)
    walk.machine.run(commands.BLEND_BY_CURL)
    began = time.monotonic()
    walk.page.shows(asked="20")
    seconds = time.monotonic() - began
    assert "20" in walk.machine.run(commands.STATUS)
    assert "blendpercent = 20" in walk.machine.run(commands.KEYS)
    walk.platform.set(candidate=NULL, blend="0")
    walk.page.shows(candidate=NULL, blend="0")
    walk.platform.remove(FIRST)
    return f"here after {seconds:.1f} s"
