"""proxy.score: what is told of everything that happens, so that it can be counted. `observe.score` has the real one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from rolling_router.health import Failing
from rolling_router.rollout.model import Role
from rolling_router.routing.fleet import Load
from rolling_router.routing.place import Placement

if TYPE_CHECKING:
    from rolling_router.proxy.exchange import Exchange


class Score(Protocol):
    """:ivar opened: connections made to instances.    :ivar reused: requests that went over a kept one."""

    opened: int
    reused: int

    def ended(self, exchange: Exchange) -> None:
        """An exchange is over, well or not; called once for each."""

    def unreachable(self, load: Load) -> None:
        """An instance did not take a connection."""

    def failed(self, placement: Placement, how: Failing) -> None:
        """An attempt to have a request answered failed, whatever became of the request."""

    def retried(self, why: str) -> None:
        """A request is sent once more: `why` is the word of a `Failing`, or ``closed`` for a kept connection."""

    def ejected(self, role: Role, how: Failing) -> None:
        """An instance of the version of this role is left alone for a while."""

    def limited(self, limit: str) -> None:
        """A limit acted: one of `proxy.limits.ACTING`."""
