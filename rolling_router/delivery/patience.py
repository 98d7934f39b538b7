"""delivery.patience: asks a platform that may be away for a while. Used by all of this room that asks one."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import attrs
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater

from rolling_router.delivery.telling import Teller
from rolling_router.errors import StoreLost
from rolling_router.occs.calls import Refused, TokenRefused

AWAY_SECONDS = 60.0
"""How long it may be away."""
AGAIN_SECONDS = 1.0

T = TypeVar("T")


@attrs.define(eq=False)
class Patience:
    """Asks again while there is no answer. For calls that do no harm twice."""

    clock: Any
    teller: Teller
    away_seconds: float = AWAY_SECONDS

    async def ask(self, call: Callable[[], Awaitable[T]]) -> T:
        """
        :raises StoreLost: or `Refused`: no usable answer for `away_seconds`. At once where the token is refused, for
            waiting mends nothing.
        """
        lost_at: float | None = None
        while True:
            try:
                return await call()
            except TokenRefused:
                raise
            except (StoreLost, Refused) as lost:
                if isinstance(lost, Refused) and not lost.is_passing:
                    raise
                now = self.clock.seconds()
                lost_at = now if lost_at is None else lost_at
                if now - lost_at >= self.away_seconds:
                    raise
                self.teller.progress(f"{lost}; trying again")
            await self.pause(AGAIN_SECONDS)

    def pause(self, seconds: float) -> Deferred[None]:
        return deferLater(self.clock, seconds)
