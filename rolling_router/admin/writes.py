"""admin.writes: brings a wish to `rollout.control`, and tells what became of it. Used by `api`; knows no rule."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred
from twisted.logger import Logger

from rolling_router.admin.bodies import Wish
from rolling_router.admin.problems import Problem
from rolling_router.errors import Conflict, SettingError, StoreLost
from rolling_router.rollout.control import Control, Outcome, Stale, Unfinished
from rolling_router.rollout.shown import setting_values

_log = Logger()


class Writes:
    """
    :param follow: has the watcher read the store anew; fires when it has.
    :param state: how all stands now, for the answer.
    """

    def __init__(self, follow: Callable[[], Deferred[Any]], state: Callable[[], Deferred[dict[str, Any]]]) -> None:
        self._follow = follow
        self._state = state

    async def carry_out(self, control: Control, wish: Wish, who: str, based_on: str) -> dict[str, Any]:
        """
        :returns: the answer's JSON.
        :raises Problem: it was not done, or not wholly.
        """
        try:
            outcome = await _to_its_end(_order(control, wish, who, based_on))
        except Stale as stale:
            standing = stale.standing
            more = {
                "revision": standing.revision,
                "settings": setting_values(standing.texts),
                "state": await self._state(),
            }
            raise Problem(412, "stale", str(stale), more, {"ETag": f'"{standing.revision}"'}) from None
        except Conflict as conflict:
            raise Problem(409, "busy", str(conflict)) from None
        except SettingError as wrong:
            raise Problem(422, "refused", str(wrong)) from None
        except Unfinished as lost:
            raise Problem(503, "unfinished", str(lost)) from None
        except StoreLost as lost:
            raise Problem(503, "store-lost", str(lost)) from None
        await self._follow()
        state, there = await self._state(), outcome.standing.revision
        return {
            "changed": outcome.is_changed,
            "revision": there,
            "in_force": state["in_force"] and state["revision"] == there,
            "settings": setting_values(outcome.standing.texts),
            "trouble": outcome.trouble,
            "state": state,
        }


def _order(control: Control, wish: Wish, who: str, based_on: str) -> Deferred[Outcome]:
    if wish.operation is None:
        doing = control.undo(who=who, why=wish.why, based_on=based_on, force=wish.is_forced)
    else:
        doing = control.change(wish.operation, who=who, why=wish.why, based_on=based_on, force=wish.is_forced)
    return Deferred.fromCoroutine(doing)


def _to_its_end(doing: Deferred[Outcome]) -> Deferred[Outcome]:
    """A client who leaves ends the waiting, not the change."""
    waiting: Deferred[Outcome] = Deferred(lambda one: None)

    def over(result: Any) -> None:
        if not waiting.called:
            waiting.callback(result)  # a Failure, too

    doing.addBoth(over)
    return waiting
