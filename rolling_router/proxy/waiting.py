"""proxy.waiting: requests for which every instance of their version is full, in a queue. Owned by `dispatch`."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from rolling_router.proxy.deadlines import NEVER, TICK_SECONDS, Deadlines
from rolling_router.proxy.exchange import Exchange
from rolling_router.proxy.limits import Limits
from rolling_router.routing.fleet import Load
from rolling_router.routing.place import Placement, Reason
from rolling_router.routing.plan import Plan


class Waiting:
    """
    One queue for each version, in the order of arrival. What waits is placed already, and goes to no other version.

    :ivar count: how many wait.    :ivar deadline: see `proxy.deadlines`.
    """

    def __init__(
        self,
        limits: Limits,
        deadlines: Deadlines,
        send: Callable[[Exchange, Placement], None],
        refuse: Callable[[Exchange, str], None],
    ) -> None:
        """:param refuse: called with the name of the limit that acted."""
        self._limits = limits
        self._deadlines = deadlines
        self._send = send
        self._refuse = refuse
        self._queues: dict[str, list[_Turn]] = {}
        self._is_serving = False
        self.count = 0
        self.deadline = NEVER
        deadlines.add(self)

    def counts(self) -> Mapping[str, int]:
        """How many wait, by the id of their version."""
        return {version: len(queue) for version, queue in self._queues.items()}

    def add(self, exchange: Exchange, placement: Placement) -> None:
        """Wait for a free place; it is refused if too many do, or when it has waited too long."""
        exchange.placement = None  # it counts for no instance yet
        turn = _Turn(self, exchange, placement, self._deadlines.now + self._limits.queue_seconds)
        load = self._free(turn)
        if load is not None:
            self._go(turn, load)
            return
        queue = self._queues.get(turn.version, [])
        if len(queue) >= self._limits.queue_length:
            self._refuse(exchange, "queue-length")
            return
        self._queues[turn.version] = [*queue, turn]
        self.count += 1
        self._deadlines.add(turn)
        self.deadline = min(self.deadline, self._deadlines.now + TICK_SECONDS)

    def serve(self, version: str) -> None:
        """A place may be free in this version."""
        if self._is_serving or version not in self._queues:
            return  # what is sent now may end at once; the loop below sees to its place, too
        self._is_serving = True
        try:
            while (found := self._next(version)) is not None:
                turn, load = found
                self._remove(turn)
                self._go(turn, load)
        finally:
            self._is_serving = False

    def forget(self, exchange: Exchange) -> None:
        """Its client left."""
        for queue in list(self._queues.values()):
            for turn in queue:
                if turn.exchange is exchange:
                    exchange.reason = Reason.FULL
                    self._remove(turn)
                    return

    def follow(self, plan: Plan) -> None:
        """Another plan is in force: the same version may have other instances by it."""
        for version in list(self._queues):
            for turn in self._queues[version]:
                role = plan.role_of(turn.placement.fleet.version)
                fleet = None if role is None else plan.fleet(role)
                if role is not None and fleet is not None:
                    turn.placement.plan, turn.placement.role, turn.placement.fleet = plan, role, fleet
            self.serve(version)

    def expire(self) -> None:
        """A tick is over. Nobody says so when an instance that was left alone may be asked again."""
        for version in list(self._queues):
            self.serve(version)
        self.deadline = self._deadlines.now + TICK_SECONDS if self.count else NEVER

    def late(self, turn: _Turn) -> None:
        self._remove(turn)
        self._refuse(turn.exchange, "queue-seconds")

    def _next(self, version: str) -> tuple[_Turn, Load] | None:
        for turn in self._queues.get(version, ()):
            load = self._free(turn)
            if load is not None:
                return turn, load
        return None

    def _free(self, turn: _Turn) -> Load | None:
        """
        The instance that can take it: a pinned client's own, or the least busy one; by now all may be ejected.

        Not one that it has failed on, while there is another.
        """
        placement, most = turn.placement, self._limits.requests_per_instance
        loads = [load for load in placement.fleet.loads if load not in turn.exchange.tried] or placement.fleet.loads
        usable = [load for load in loads if load.out_until <= self._deadlines.now]
        if placement.load not in usable:
            turn.is_pinned = False
        if turn.is_pinned:
            usable = [placement.load]
        load = min(usable or loads, key=lambda one: one.outstanding, default=placement.load)
        return load if load.outstanding < most else None

    def _go(self, turn: _Turn, load: Load) -> None:
        turn.placement.load = load
        self._send(turn.exchange, turn.placement)

    def _remove(self, turn: _Turn) -> None:
        self._deadlines.discard(turn)
        self.count -= 1
        queue = [one for one in self._queues[turn.version] if one is not turn]
        if queue:
            self._queues[turn.version] = queue
        else:
            del self._queues[turn.version]


class _Turn:
    """
    One request that waits.

    :ivar is_pinned: its client stays with one instance, and waits for that.    :ivar deadline: see `proxy.deadlines`.
    """

    def __init__(self, waiting: Waiting, exchange: Exchange, placement: Placement, deadline: float) -> None:
        self._waiting = waiting
        self.exchange = exchange
        self.placement = placement
        self.version = placement.fleet.version.id
        self.is_pinned = placement.pin is not None and placement.pin.instance == placement.load.instance
        self.deadline = deadline

    def expire(self) -> None:
        self._waiting.late(self)
