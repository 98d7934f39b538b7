"""What was in force when, who died when, and what the rules of routing make of that. Pure; times are monotonic."""

from __future__ import annotations

from collections.abc import Mapping

import attrs

from rolling_router.health import LONGEST_SECONDS
from rolling_router.proxy.deadlines import TICK_SECONDS
from rolling_router.proxy.draining import GOODBYE_SECONDS

Name = tuple[str, str]
"""Of an instance: its version, and its own."""

LAG_SECONDS = 2.0
"""By which a client on a busy machine may see the end of its stream late."""

FOREVER = float("inf")


@attrs.frozen
class Rollout:
    """:ivar sticky: as in the store: ``0``, ``cookie`` or ``ip-hash``.    :ivar names: of the instances in play."""

    stable: str
    candidate: str | None
    blend: int
    sticky: str
    names: Mapping[str, tuple[str, ...]]

    def instances(self, version: str | None) -> set[Name]:
        return {(version, name) for name in self.names[version]} if version is not None else set()

    @property
    def in_play(self) -> set[Name]:
        return self.instances(self.stable) | self.instances(self.candidate)

    @property
    def versions(self) -> set[str]:
        """Those that have a share."""
        stable = {self.stable} if self.blend < 100 or self.candidate is None else set()
        return stable | ({self.candidate} if self.candidate is not None and self.blend > 0 else set())


@attrs.define
class InForce:
    """:ivar begins: when it was about to be written.    :ivar ends: when the router told of what came after it."""

    rollout: Rollout
    begins: float
    ends: float = FOREVER


@attrs.define
class Death:
    """:ivar at: just before the signal.    :ivar over: its sockets are closed.    :ivar back: it listens again."""

    name: Name
    at: float
    over: float = FOREVER
    back: float = FOREVER


@attrs.define
class Handover:
    """:ivar over: when the old process was gone."""

    at: float
    over: float = FOREVER


@attrs.define
class Record:
    """:ivar drain_seconds: the router's."""

    drain_seconds: float
    states: list[InForce] = attrs.field(factory=list)
    deaths: list[Death] = attrs.field(factory=list)
    handovers: list[Handover] = attrs.field(factory=list)

    def forget(self, before: float) -> None:
        """What concerns no request that began then or later."""
        self.states = [one for one in self.states if one.ends >= before]
        self.deaths = [one for one in self.deaths if one.back + LONGEST_SECONDS + 1 >= before]
        self.handovers = [one for one in self.handovers if one.over >= before]

    def between(self, began: float, ended: float) -> list[Rollout]:
        """All that was in force at any moment of that time."""
        return [one.rollout for one in self.states if one.begins <= ended and began <= one.ends]

    def died(self, began: float, ended: float) -> list[Death]:
        """Those that were dying at any moment of that time, while requests may have been in flight on them."""
        return [one for one in self.deaths if one.at <= ended and began <= one.over]

    def is_impaired(self, name: Name, began: float, ended: float) -> bool:
        """Whether the router may have left this instance alone: it was dead, or a short while before."""
        return any(
            one.name == name and one.at <= ended and began <= one.back + LONGEST_SECONDS + TICK_SECONDS
            for one in self.deaths
        )

    def can_serve(self, rollout: Rollout, version: str, began: float, ended: float) -> bool:
        """Whether this version had an instance for certain."""
        return not all(self.is_impaired(name, began, ended) for name in rollout.instances(version))

    def may_answer(self, began: float, ended: float) -> set[str]:
        """The versions that the rules let answer a request of that time."""
        found: set[str] = set()
        for rollout in self.between(began, ended):
            found |= rollout.versions
            # A candidate that cannot serve leaves its share to stable, all of it.
            if rollout.candidate is not None and not self.can_serve(rollout, rollout.candidate, began, ended):
                found.add(rollout.stable)
        return found

    def must_answer(self, pin: str, began: float, ended: float) -> bool:
        """Whether a client with a cookie of this version must be answered by it."""
        return all(
            one.sticky == "cookie" and pin in one.versions and self.can_serve(one, pin, began, ended)
            for one in self.between(began, ended)
        )

    def must_serve(self, pin: Name, began: float, ended: float) -> bool:
        """Whether it must be this very instance."""
        return (
            self.must_answer(pin[0], began, ended)
            and all(pin in one.in_play for one in self.between(began, ended))
            and not self.is_impaired(pin, began, ended)
        )

    def may_end_stream(self, name: Name, began: float, ended: float) -> bool:
        """Whether the router may have ended a stream from this instance: that left, or the process was replaced."""
        if any(one.at <= ended and began <= one.over for one in self.handovers):
            return True
        # A goodbye takes a while; the clock of the deadlines is coarse; and when a change came into force is not known
        # better than from its writing to its successor's being seen.
        earliest = ended - GOODBYE_SECONDS - TICK_SECONDS - LAG_SECONDS
        return any(
            left + self.drain_seconds - 2 * TICK_SECONDS <= min(back, ended) and back >= earliest
            for left, back in self._absences(name)
        )

    def _absences(self, name: Name) -> list[tuple[float, float]]:
        """When this instance may have been out of play, from when to when at most."""
        found: list[tuple[float, float]] = []
        was_in_play = True
        for one in self.states:
            is_in_play = name in one.rollout.in_play
            if not is_in_play:
                left = one.begins if was_in_play else found.pop()[0]
                found.append((left, one.ends))
            was_in_play = is_in_play
        return found
