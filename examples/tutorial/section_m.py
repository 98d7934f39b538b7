"""tutorial.section_m: end to end."""

from __future__ import annotations

from examples.tutorial.player import Section, State
from examples.tutorial.walk import Walk

section = Section("M", "End to end")


@section.item(68, "The whole walk is done on one machine, without Oracle, Wercker or Docker Hub.")
def all_done(walk: Walk) -> str:
    failed = [result.item.number for result in walk.results if result.state is State.FAILED]
    assert not failed, f"these failed: {', '.join(map(str, failed))}"
    assert sorted(result.item.number for result in walk.results) == list(range(1, 68))
    assert walk.browser.mistakes == [], walk.browser.mistakes
    return "items 1 to 67, and no script of the page failed"
