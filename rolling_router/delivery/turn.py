"""
delivery.turn: one deploy at a time gives the candidate's role away. Called by `deploy`, on stores without transactions.

Whoever wants a turn writes a mark of its own and then reads all marks. Of two who both want it, at least one sees the
other; who sees another takes its mark back, waits for a while drawn by lot, and tries again. So at most one has it.
"""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager

import attrs

from rolling_router.delivery.keys import Keys
from rolling_router.delivery.patience import Patience

GONE_SECONDS = 60.0
"""After this, a mark that does not change is that of a deploy that was killed: nobody has a turn for so long."""
PAUSE_SECONDS = 1.0


@attrs.define(eq=False)
class Turn:
    """The turns of one app's deploys."""

    keys: Keys
    patience: Patience
    random: Callable[[], float]

    @asynccontextmanager
    async def of(self, version: str) -> AsyncIterator[None]:
        """
        Have it, for a few calls of the store.

        :raises StoreLost: it could not be had.
        """
        if self.keys.store.is_atomic:
            yield
            return
        try:
            await self._take(version)
            yield
            await self.keys.unmark(version)
        except BaseException:
            await self.keys.try_to_unmark(version)
            raise

    async def _take(self, version: str) -> None:
        first_seen: dict[tuple[str, str], float] = {}
        while True:
            own = secrets.token_hex(8)
            await self.keys.mark(version, own)
            marks = dict(await self.keys.marks())
            is_ours = marks.pop(version, None) == own
            gone = self._gone(marks, first_seen)
            if is_ours and len(gone) == len(marks):
                for one in gone:
                    await self.keys.unmark(one)
                return
            if is_ours:  # else another run of the same build has it, whose mark it is
                await self.keys.unmark(version)
            self.patience.teller.progress(f"another deploy is changing the candidate: {', '.join(marks) or version}")
            await self.patience.pause(PAUSE_SECONDS * self.random())

    def _gone(self, marks: Mapping[str, str], first_seen: dict[tuple[str, str], float]) -> list[str]:
        now = self.patience.clock.seconds()
        for one in set(first_seen) - set(marks.items()):
            del first_seen[one]
        return [
            version
            for version, mark in marks.items()
            if now - first_seen.setdefault((version, mark), now) >= GONE_SECONDS
        ]
