"""delivery.telling: a line for each step, with its time. Used by all of this room; what it is told holds no secret."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import attrs

PROGRESS_SECONDS = 5.0


@attrs.define(eq=False)
class Teller:
    """
    Tells what happens.

    :ivar step: takes the line of a step that is done.    :ivar say: takes a line that goes beside the result.
    """

    clock: Any
    _step: Callable[[str], None]
    _say: Callable[[str], None]
    steps: list[tuple[float, str]] = attrs.field(factory=list)
    _began: float = attrs.field(init=False)
    _told_at: float = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self._began = self._told_at = self.clock.seconds()

    @property
    def seconds(self) -> float:
        """Since the beginning."""
        elapsed: float = self.clock.seconds() - self._began
        return elapsed

    def step(self, text: str) -> None:
        """A step that is done, or need not be done."""
        self.steps.append((round(self.seconds, 3), text))
        self._told_at = self.clock.seconds()
        self._step(f"{self.seconds:6.1f} s  {text}")

    def warn(self, text: str) -> None:
        self._say(text)

    def progress(self, text: str) -> None:
        """What is waited for; told now and then."""
        if self.clock.seconds() - self._told_at >= PROGRESS_SECONDS:
            self._told_at = self.clock.seconds()
            self._say(f"after {self.seconds:.0f} s: {text}")
