"""
occs_sight: looks at keys, and for a moment remembers what it saw. Used by `occs_store` alone.

A poll that finds a change makes the router read; what the poll has just seen need not be asked for again. So each
prefix is read once for each poll, also when a version comes into play and its instances are asked for in a second step.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import attrs
from twisted.internet.defer import Deferred, FirstError, gatherResults

from rolling_router.interfaces import StoreLost
from rolling_router.occs.calls import Patience
from rolling_router.occs.keys import Keys

FRESH_SECONDS = 0.1
"""For how long what was seen counts as what is there."""

Keyed = Mapping[str, str]


@attrs.frozen
class _Seen:
    at: float
    outcome: Keyed | StoreLost


class Sight:
    """What one store's keys are."""

    def __init__(self, clock: Any, keys: Keys) -> None:
        self._clock = clock
        self._keys = keys
        self._seen: dict[str, _Seen] = {}
        self._blinks = 0

    def forget(self) -> None:
        """What was seen, and what is being looked at now, may not be so any more."""
        self._seen.clear()
        self._blinks += 1

    async def look(self, prefixes: Sequence[str], patience: Patience) -> Mapping[str, Keyed]:
        """
        The keys below each prefix, all of them looked at together.

        :raises StoreLost: one of them could not be read; the others are let go.
        """
        looks = [Deferred.fromCoroutine(self._look(prefix, patience)) for prefix in prefixes]
        return dict(zip(prefixes, await together(looks), strict=True))

    async def _look(self, prefix: str, patience: Patience) -> Keyed:
        seen = self._seen.get(prefix)
        if seen is None or self._clock.seconds() - seen.at > FRESH_SECONDS:
            blinks = self._blinks
            outcome: Keyed | StoreLost
            try:
                outcome = await self._keys.below(prefix, patience)
            except StoreLost as lost:
                outcome = lost
            seen = _Seen(self._clock.seconds(), outcome)
            if blinks == self._blinks:
                self._seen[prefix] = seen
        if isinstance(seen.outcome, StoreLost):
            raise type(seen.outcome)(str(seen.outcome))
        return seen.outcome


async def together(calls: Sequence[Deferred[Any]]) -> Sequence[Any]:
    """What they all give; at the first failure, the others are let go."""
    try:
        return await gatherResults(calls, consumeErrors=True)
    except FirstError as first:
        for one in calls:
            one.cancel()
        cause: Any = first.subFailure.value
        raise cause from None
