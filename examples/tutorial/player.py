"""
tutorial.player: the items of the walk, and their playing one after the other. Knows nothing of what they do.

An item is a function that looks and raises when it does not see what it should. It may give back a note for the line
that is printed, or `Elsewhere`: then this machine could not show it all, and the line says where the rest is checked.
"""

from __future__ import annotations

import enum
import time
import traceback
from collections.abc import Callable, Sequence
from typing import Any

import attrs

Check = Callable[[Any], "str | Elsewhere | None"]


class State(enum.Enum):
    PASSED = "passed"
    FAILED = "failed"
    ELSEWHERE = "checked elsewhere"


@attrs.frozen
class Elsewhere:
    """
    Not all of it can be seen without a container engine, or without Wercker.

    :ivar where: what checks the rest, a command.    :ivar here: what was seen here instead.
    """

    where: str
    here: str


@attrs.frozen
class Item:
    """:ivar number: the tutorial's, 1 to 68.    :ivar sentence: what a reader can rely on."""

    number: int
    sentence: str
    check: Check


@attrs.frozen
class Result:
    item: Item
    state: State
    note: str
    seconds: float

    def line(self) -> str:
        note = f": {self.note}" if self.note else ""
        return f"{self.item.number:2}. {self.item.sentence}\n    {self.state.value}{note} ({self.seconds:.1f} s)"


class Section:
    """One letter of the walk; `item` registers its functions."""

    def __init__(self, letter: str, title: str) -> None:
        self.letter, self.title = letter, title
        self.items: list[Item] = []

    def item(self, number: int, sentence: str) -> Callable[[Check], Check]:
        def register(check: Check) -> Check:
            self.items.append(Item(number, sentence, check))
            return check

        return register


def play(sections: Sequence[Section], walk: Any, say: Callable[[str], None]) -> list[Result]:
    """Play all items in their order; what fails is told, and the next one is played."""
    results: list[Result] = []
    for section in sections:
        say(f"\n{section.letter}. {section.title}\n")
        for item in section.items:
            walk.results = tuple(results)
            results.append(_play(item, walk))
            say(results[-1].line())
    return results


def _play(item: Item, walk: Any) -> Result:
    began = time.monotonic()
    try:
        told = item.check(walk)
    except Exception as wrong:  # whatever it is, it is this item's result
        state, note = State.FAILED, _reason(wrong)
    else:
        if isinstance(told, Elsewhere):
            state, note = State.ELSEWHERE, f"{told.where}; seen here: {told.here}"
        else:
            state, note = State.PASSED, told or ""
    return Result(item, state, note, time.monotonic() - began)


def _reason(wrong: Exception) -> str:
    """In one paragraph, with the line of the walk that did not hold."""
    place = next((f for f in reversed(traceback.extract_tb(wrong.__traceback__)) if "section_" in f.filename), None)
    where = f"{place.filename.rpartition('/')[2]}:{place.lineno}: {place.line}" if place else ""
    return " | ".join(part for part in (f"{type(wrong).__name__}: {wrong}".strip(": "), where) if part)


def summary(results: Sequence[Result], seconds: float) -> str:
    counts = {state: sum(result.state is state for result in results) for state in State}
    told = ", ".join(f"{count} {state.value}" for state, count in counts.items() if count)
    return f"{len(results)} items in {seconds:.0f} s: {told}"
