"""
admin.samples: the last 15 minutes, second by second. Pure: what was counted until now -> what happened since.

Used by `feed`, once a second. The proxy knows nothing of it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping
from typing import Any

import attrs

from rolling_router.observe.counts import CHOICES, QUANTILES, ROLES, Counts, Tally
from rolling_router.rollout.model import Role, Snapshot

WINDOW = 900
"""Seconds that are kept."""

_PARTS = ("requests", "errors", "cut", *QUANTILES)


@attrs.frozen
class Sample:
    """
    One second. Where samples were missed before it, its numbers are the average over that time.

    :ivar roles: role -> `_PARTS` -> number.    :ivar reasons: word -> requests.
    """

    roles: Mapping[str, Mapping[str, float | None]]
    asked: Mapping[str, float]
    served: Mapping[str, float]
    reasons: Mapping[str, float]


class Sampler:
    """Makes samples out of sums that only grow."""

    def __init__(self) -> None:
        self._before: _Sums | None = None
        self._at = 0

    def take(self, counts: Counts, at: int) -> Sample | None:
        """
        What happened since the last call; ``None`` for the first one, and where a sum has shrunk: a worker's counts
        end with it.
        """
        now, before, seconds = _Sums.of(counts), self._before, max(1, at - self._at)
        self._before, self._at = now, at
        return None if before is None else now.since(before, seconds)


@attrs.frozen
class _Sums:
    tallies: Mapping[str, Tally]
    asked: Mapping[str, int]
    served: Mapping[str, int]
    reasons: Mapping[str, int]

    @classmethod
    def of(cls, counts: Counts) -> _Sums:
        tallies = {role: Tally() for role in ROLES}
        asked, served, reasons = dict.fromkeys(CHOICES, 0), dict.fromkeys(ROLES, 0), dict[str, int]()
        for kind, tally in counts.tallies():
            tallies[kind.role].add(tally)
            requests = tally.requests
            reasons[kind.reason] = reasons.get(kind.reason, 0) + requests
            if kind.asked is not None:
                asked[kind.asked] += requests
                served[kind.role] += requests
        return cls(tallies, asked, served, reasons)

    def since(self, before: _Sums, seconds: int) -> Sample | None:
        tallies = {role: _minus(tally, before.tallies[role]) for role, tally in self.tallies.items()}
        if any(number < 0 for tally in tallies.values() for number in (*tally.hundreds, *tally.buckets)):
            return None
        return Sample(
            {role: _parts(tallies[role], seconds) for role in CHOICES},
            _rates(self.asked, before.asked, seconds),
            _rates(self.served, before.served, seconds),
            {word: rate for word, rate in _rates(self.reasons, before.reasons, seconds).items() if rate},
        )


def _minus(now: Tally, before: Tally) -> Tally:
    return Tally(
        hundreds=[a - b for a, b in zip(now.hundreds, before.hundreds, strict=True)],
        buckets=[a - b for a, b in zip(now.buckets, before.buckets, strict=True)],
    )


def _parts(tally: Tally, seconds: int) -> Mapping[str, float | None]:
    codes = tally.codes()
    quantiles = {name: tally.quantile(share) for name, share in QUANTILES.items()}
    return {
        "requests": _rate(tally.requests, seconds),
        "errors": _rate(codes["5xx"], seconds),
        "cut": _rate(codes["cut"], seconds),
        **{name: None if value is None else round(value, 5) for name, value in quantiles.items()},
    }


def _rates(now: Mapping[str, int], before: Mapping[str, int], seconds: int) -> dict[str, float]:
    return {name: max(0, _rate(number - before.get(name, 0), seconds)) for name, number in now.items()}


def _rate(number: int, seconds: int) -> float:
    return number if seconds == 1 else round(number / seconds, 2)


class Series:
    """
    The samples of the window, with the rollout's changes in it.

    :ivar last_at: the second of the newest sample.
    """

    def __init__(self) -> None:
        self._samples: deque[Sample | None] = deque(maxlen=WINDOW)
        self._changes: deque[dict[str, Any]] = deque(maxlen=WINDOW)
        self.last_at: int | None = None

    def add(self, at: int, sample: Sample | None) -> None:
        """:param at: later than `last_at`; seconds between are seconds without a sample."""
        if self.last_at is not None:
            self._samples.extend([None] * min(WINDOW, at - self.last_at - 1))
        self._samples.append(sample)
        self.last_at = at

    def changed(self, at: int, snapshot: Snapshot) -> None:
        """Note what is in force from now on."""
        told = {
            "at": at,
            **{role.word: version.id if (version := snapshot.version(role)) else None for role in Role},
            "blend": snapshot.blend,
            "stickiness": snapshot.stickiness,
        }
        self._changes.append(told)
        while len(self._changes) > 1 and self._changes[1]["at"] <= at - WINDOW:
            self._changes.popleft()

    def has(self, at: int) -> bool:
        """Whether all after that second is here."""
        return self.last_at is not None and self.last_at - len(self._samples) <= at <= self.last_at

    def told(self, run: str, after: int | None = None) -> dict[str, Any]:
        """
        As the event ``series`` tells it.

        :param after: only what came after this second, which must be one that `has` knows.
        """
        last, kept = self.last_at, list(self._samples)
        if last is not None and after is not None:
            kept = kept[len(kept) - (last - after) :] if last > after else []
        first = None if not kept or last is None else last - len(kept) + 1
        words = sorted({word for one in kept if one for word in one.reasons})
        return {
            "complete": after is None,
            "run": run,
            "step": 1,
            "from": first,
            "to": None if first is None else last,
            **{role: {part: [one and one.roles[role][part] for one in kept] for part in _PARTS} for role in CHOICES},
            "asked": {role: [one and one.asked[role] for one in kept] for role in CHOICES},
            "served": {role: [one and one.served[role] for one in kept] for role in ROLES},
            "reasons": {word: [one and one.reasons.get(word, 0) for one in kept] for word in words},
            "rollout": self._told_changes(first),
        }

    def _told_changes(self, first: int | None) -> Iterable[dict[str, Any]]:
        if first is None:
            return []
        changes = list(self._changes)
        while len(changes) > 1 and changes[1]["at"] <= first:
            del changes[0]
        return [{**one, "at": max(first, one["at"])} for one in changes]
