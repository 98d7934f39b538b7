"""proxy.budget: how many requests may be sent a second time. Asked by `proxy.dispatch` before it does."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

import attrs

from rolling_router.proxy.deadlines import Deadlines

WINDOW_SECONDS = 10
"""What the share is taken of: the requests of so long."""

FLOOR_PER_SECOND = 10
"""Always allowed: a share of next to nothing is nothing, and one instance that restarts costs a few."""


@attrs.frozen
class Retrying:
    """
    What may be tried elsewhere; made from the options.

    :ivar percent: of the requests that may be sent a second time.
    :ivar statuses: answers that are worth a try elsewhere; none by default.
    """

    percent: float = 20.0
    statuses: frozenset[int] = frozenset()


class Budget:
    """
    Counts over the last seconds. One per process; costs nothing on the way of a request that goes well.

    :param sent: tells how many requests were sent to instances so far.
    :ivar spent: those that were sent again.    :ivar refused: those that were not, for want of budget.
    :ivar deadline: see `proxy.deadlines`.
    """

    def __init__(self, percent: float, sent: Callable[[], int], deadlines: Deadlines) -> None:
        self._percent = percent
        self._sent = sent
        self._deadlines = deadlines
        self.spent = 0
        self.refused = 0
        self._seconds: deque[tuple[int, int]] = deque([(0, 0)], maxlen=WINDOW_SECONDS)
        self.deadline = deadlines.now + 1
        deadlines.add(self)

    def spend(self) -> bool:
        """Whether one more request may be sent again; it is counted with the answer."""
        sent, spent = self._seconds[0]
        of_late = self.spent - spent
        requests = max(0, self._sent() - sent - of_late)
        allowed = FLOOR_PER_SECOND * WINDOW_SECONDS + requests * self._percent / 100
        if self._percent == 0 or of_late + 1 > allowed:
            self.refused += 1
            return False
        self.spent += 1
        return True

    def expire(self) -> None:
        """A second is over."""
        self._seconds.append((self._sent(), self.spent))
        self.deadline = self._deadlines.now + 1
