"""
delivery.deploy: from a build to the candidate, step by step. Called by the command; the order of steps is here alone.

Every step looks first whether it is done already. So a deploy that was broken off, anywhere, is finished by running it
again, and there is nothing that a break could leave half done and unseen.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping

import attrs
from twisted.internet.defer import CancelledError

from rolling_router.delivery.build import Build
from rolling_router.delivery.keys import Keys
from rolling_router.delivery.moves import seat
from rolling_router.delivery.patience import Patience
from rolling_router.delivery.running import NotReady, Running
from rolling_router.delivery.telling import Teller
from rolling_router.delivery.turn import Turn
from rolling_router.errors import Conflict, RouterError, SettingError, StoreLost
from rolling_router.rollout.change import SetCandidate, SetUp
from rolling_router.rollout.control import Control, Outcome, Stale
from rolling_router.rollout.standing import Standing

Follow = Callable[[Outcome], Awaitable[None]]
"""Waits until routers follow a change."""


@attrs.frozen
class Ways:
    """
    How a deploy is wanted.

    :ivar timeout_seconds: for the new version to get ready.    :ivar grace_seconds: between the change and the stop of
        the version that was replaced: routers follow, and requests end.
    :ivar keep_failed: leave a version that failed, to be looked at.    :ivar who: for the history; `why` likewise.
    """

    timeout_seconds: float
    grace_seconds: float
    keep_failed: bool
    who: str
    why: str


@attrs.frozen
class Done:
    """
    What a deploy has done.

    :ivar outcome: the last look at the settings, and what was changed.    :ivar removed: whom it took away.
    """

    version: str
    outcome: Outcome
    removed: tuple[str, ...] = ()


@attrs.define(eq=False)
class Casting:
    """Gives the candidate's role to a version that is ready."""

    control: Control
    keys: Keys
    patience: Patience
    teller: Teller
    turn: Turn

    async def view(self) -> Standing:
        """:raises StoreLost:"""
        return await self.patience.ask(self.control.view)

    async def cast(self, version: str, port: int, began_with: str | None, ways: Ways, is_noted: bool = True) -> Outcome:
        """
        Blend 0, and this version the candidate, by one change.

        :param began_with: the candidate's id when this deploy began.
        :param is_noted: note before whom it replaces, so that `to_remove` tells.
        :raises Conflict: another version was given the role since this deploy began.
        :raises SettingError: it is refused.    :raises StoreLost:
        """
        async with self.turn.of(version):
            try:
                return await self._cast(version, port, began_with, ways, is_noted)
            finally:
                await self.control.settled()  # a change goes on to its end when we are told to leave

    async def _cast(self, version: str, port: int, began_with: str | None, ways: Ways, is_noted: bool) -> Outcome:
        noted: set[str] = set()
        while True:
            now = await self.view()
            place = seat(now, began_with, version, port)
            replaced = None if place.replaced is None else place.replaced.id
            if is_noted and replaced is not None and replaced not in noted:
                noted.add(replaced)
                await self.keys.note(replaced, version)
            if place.other is not None:
                await self._forget(noted)
                raise Conflict(
                    f"{place.other.id} was made the candidate of {now.app} while {version} was being deployed; "
                    "look at it, then deploy again if this one is to replace it"
                )
            if place.is_ours:
                self.teller.step(f"{version} is {self._role(now, version)} already")
                return Outcome(now, now, False)
            try:
                outcome = await self._change(now, version, port, ways)
            except Stale:
                continue  # somebody else has changed something: look again
            except (SettingError, Conflict):
                await self._forget(noted)
                raise
            await self._forget(noted - {replaced})
            over = "" if replaced is None else f", in place of {replaced}"
            self.teller.step(f"made {version} the candidate{over}; blend 0")
            return outcome

    async def _change(self, now: Standing, version: str, port: int, ways: Ways) -> Outcome:
        operation = SetCandidate(version, port) if now.is_set_up else SetUp(candidate=version, port=port)
        if not now.is_set_up:
            self.teller.step(f"setting {now.app} up, which had no keys yet: no stable version, blend 0, not sticky")
        return await self.patience.ask(
            lambda: self.control.change(operation, who=ways.who, why=ways.why, based_on=now.revision)
        )

    async def _forget(self, noted: set[str]) -> None:
        for one in noted:
            await self.keys.forget(one)

    def _role(self, now: Standing, version: str) -> str:
        stable = now.snapshot.stable
        return "stable" if stable is not None and stable.id == version else "the candidate"

    async def to_remove(self, version: str) -> tuple[str, ...]:
        """
        Whom `version` has replaced, and whom those had, by deploys that were broken off before they removed them; also
        whom the stable version had replaced.
        """
        notes: Mapping[str, str] = await self.keys.notes()
        stable = (await self.view()).snapshot.stable if notes else None
        heirs = {version} | ({stable.id} if stable is not None else set())
        found: dict[str, None] = {}
        while more := [old for old, by in notes.items() if by in heirs and old not in found]:
            found.update(dict.fromkeys(more))
            heirs.update(more)
        return tuple(one for one in found if one != version)


@attrs.define(eq=False)
class Deploy:
    """Deploys of one app, on a platform that runs deployments."""

    casting: Casting
    running: Running

    async def run(self, build: Build, ways: Ways, follow: Follow) -> Done:
        """
        :param follow: called after the change, before anything is removed.
        :raises NotReady: the new deployment did not get ready; no key was changed.
        :raises Refused: the platform will not have it.    :raises Conflict: another deploy was faster.
        :raises SettingError: it cannot be.    :raises StoreLost: run the same again when the platform is back.
        """
        teller, clock = self.running.teller, self.running.patience.clock
        now = await self.casting.view()
        began_with = now.snapshot.candidate.id if now.snapshot.candidate is not None else None
        found = await self.running.find(build)
        id = build.id(clock.seconds()) if found is None else found.id
        try:
            was_ready = found is not None and await self.running.is_ready(found, build.port)
            try:
                stable = now.snapshot.stable
                if stable is None or stable.id != id:  # its owner may have changed it since; it serves
                    await self.running.bring_up(build, id, ways.timeout_seconds)
                outcome = await self.casting.cast(id, build.port, began_with, ways)
            except (NotReady, Conflict, SettingError):
                await self._clean_up(id, was_ready, ways)
                raise
            await follow(outcome)
            return Done(id, outcome, await self._remove_replaced(id, ways))
        except CancelledError:
            teller.warn(
                f"{id} is left as it is now; the same deploy again, with --started or its tag, goes on from there"
            )
            raise
        except StoreLost:
            teller.warn(
                f"{id} is left as it is now; when the platform answers again, the same deploy again goes on from there"
            )
            raise

    async def _clean_up(self, id: str, was_ready: bool, ways: Ways) -> None:
        """A deployment that failed is nobody's."""
        teller = self.running.teller
        if ways.keep_failed or was_ready:
            why = "as asked" if ways.keep_failed else "which ran before this deploy began"
            teller.step(f"left {id} there, {why}")
            return
        try:
            if await self.running.is_there(id):
                await self.running.take_away(id)
        except RouterError as wrong:  # the failure itself is what gets told at the end
            teller.warn(f"{id} could not be removed: {wrong}; remove it by hand")

    async def _remove_replaced(self, id: str, ways: Ways) -> tuple[str, ...]:
        removed = []
        for number, old in enumerate(await self.casting.to_remove(id)):
            if number == 0 and ways.grace_seconds and await self.running.is_there(old):
                await self.running.patience.pause(ways.grace_seconds)
            if await self.running.take_away(old):
                removed.append(old)
                await self.casting.keys.forget(old)
        return tuple(removed)
