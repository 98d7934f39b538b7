"""
proxy.witness: how instances are, by what becomes of requests: for `health`, which decides, the score and the log.

Owned by `dispatch`. It never decides where a request goes.
"""

from __future__ import annotations

from twisted.logger import Logger

from rolling_router import health
from rolling_router.health import Failing, Rules
from rolling_router.proxy.deadlines import Deadlines
from rolling_router.proxy.score import Score
from rolling_router.routing.fleet import Load
from rolling_router.routing.place import Placement
from rolling_router.routing.router import Router

_log = Logger()


class Witness:
    """Sees what instances do with requests, and says when one is left alone for it, or is back."""

    def __init__(self, router: Router, deadlines: Deadlines, score: Score, rules: Rules) -> None:
        """:param rules: what ejects an instance."""
        self._router = router
        self._deadlines = deadlines
        self._score = score
        self._rules = rules

    def reached(self, load: Load) -> None:
        """It took a connection. Called where it had failed before."""
        if health.reached(load, self._deadlines.now):
            self._say_back(load, "takes connections")

    def unreachable(self, placement: Placement, why: BaseException | None) -> None:
        """It took no connection."""
        self._score.unreachable(placement.load)
        self._score.failed(placement, Failing.CONNECT)
        if health.unreachable(placement.load, self._deadlines.now, self._rules):
            self._say_ejected(placement, Failing.CONNECT, health.no_connection(why))

    def failed(self, placement: Placement, how: Failing, why: str) -> None:
        """It took a request, and did not answer as it should."""
        self._score.failed(placement, how)
        if health.failed(placement.load, placement.fleet, self._deadlines.now, self._rules):
            self._say_ejected(placement, how, why)

    def answered(self, load: Load, status: int) -> None:
        """An answer of it is complete. Called where it had failed before."""
        if status not in self._rules.statuses and health.answered(load, self._deadlines.now):
            self._say_back(load, "answers")

    def _say_ejected(self, placement: Placement, how: Failing, why: str) -> None:
        load, now = placement.load, self._deadlines.now
        load.why = why
        self._score.ejected(placement.role, how)
        # The 1st, 2nd, 4th, 8th time in a row: a dead one must not flood the log.
        if load.ejections & (load.ejections - 1) == 0:
            _log.error(
                "{role} {version}: instance {instance} is left alone for {seconds:g} s ({how}{again}): {why}",
                role=placement.role.word,
                version=placement.fleet.version.id,
                instance=str(load.instance),
                seconds=load.ejected_until - now,
                again=f", {load.ejections} times in a row" if load.ejections > 1 else "",
                how=how.value,
                why=why,
            )

    def _say_back(self, load: Load, sign: str) -> None:
        whose = self._router.plan.whose(load)
        if whose is not None:  # it is in play
            _log.info(
                "{role} {version}: instance {instance} {sign} again and gets traffic",
                role=whose[0].word,
                version=whose[1].id,
                instance=str(load.instance),
                sign=sign,
            )
