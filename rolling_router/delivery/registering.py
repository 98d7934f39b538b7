"""
delivery.registering: a deploy where only the operator starts instances. Those that run already are registered as a new
version, and that is made the candidate. Called by the command.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

import attrs
from twisted.internet.defer import CancelledError, Deferred, gatherResults

from rolling_router.delivery.deploy import Casting, Done, Follow, Ways
from rolling_router.delivery.removing import Needed, unregister
from rolling_router.delivery.running import NotReady
from rolling_router.errors import Conflict, SettingError
from rolling_router.occs.calls import sealed
from rolling_router.rollout.keys import version_path
from rolling_router.rollout.model import Instance

AGAIN_SECONDS = 0.5

Ask = Callable[[Instance], Awaitable[str | None]]
"""Asks an instance how it is: what is wrong, or ``None``."""


@attrs.define(eq=False)
class Registering:
    """Deploys of one app's instances."""

    casting: Casting
    ask: Ask

    async def run(
        self,
        version: str,
        port: int | None,
        instances: Sequence[Instance],
        ways: Ways,
        is_old_removed: bool,
        follow: Follow,
    ) -> Done:
        """
        :param port: a part of the version's path; ``None``: that of the versions in play, else that of the instances.
        :param is_old_removed: take away the registrations of the candidate that is replaced.
        :raises NotReady: an instance does not answer; nothing was written.
        :raises Conflict: another deploy was faster.    :raises SettingError: it is refused.    :raises StoreLost:
        """
        teller, keys = self.casting.teller, self.casting.keys
        now = await self.casting.view()
        stable, candidate = now.snapshot.stable, now.snapshot.candidate
        if port is None:
            port = next((one.port for one in (stable, candidate) if one is not None), instances[0].port)
        try:
            await self._until_all_answer(instances, ways.timeout_seconds)
            path = version_path(version, port)
            there = await keys.instances(version, port)
            added = {f"{path}/{one}": str(one) for one in instances if str(one) not in there.values()}
            if added:
                await keys.write({**added})
                teller.step(f"registered below {path}: {', '.join(added.values())}")
            else:
                teller.step(f"registered already below {path}")
            began_with = candidate.id if candidate is not None else None
            try:
                outcome = await self.casting.cast(version, port, began_with, ways, is_noted=is_old_removed)
            except (Conflict, SettingError):
                if added and not ways.keep_failed and await keys.naming(version) is None:
                    await keys.write(dict.fromkeys(added))
                    teller.step(f"took them away again from {path}")
                raise
            await follow(outcome)
            removed = await self._remove(version, ways) if is_old_removed else ()
            return Done(version, outcome, removed)
        except CancelledError:
            teller.warn(f"{version} is left as it is now; the same deploy again goes on from there")
            raise

    async def _until_all_answer(self, instances: Sequence[Instance], seconds: float) -> None:
        teller, patience = self.casting.teller, self.casting.patience
        began = patience.clock.seconds()
        waiting = dict.fromkeys(instances, "")
        while True:
            asked = [Deferred.fromCoroutine(self._ask(one)) for one in waiting]
            told = await sealed(gatherResults(asked, consumeErrors=True))
            waiting = {one: why for one, why in zip(waiting, told, strict=True) if why is not None}
            if not waiting:
                teller.step(f"healthy: {', '.join(map(str, instances))}")
                return
            whys = "; ".join(f"{one}: {why}" for one, why in waiting.items())
            if patience.clock.seconds() - began >= seconds:
                raise NotReady(f"not healthy after {seconds:g} s: {whys}; nothing was registered")
            teller.progress(f"waiting for {whys}")
            await patience.pause(AGAIN_SECONDS)

    async def _ask(self, instance: Instance) -> str | None:
        return await self.ask(instance)

    async def _remove(self, version: str, ways: Ways) -> tuple[str, ...]:
        old = await self.casting.to_remove(version)
        if old and ways.grace_seconds:
            await self.casting.patience.pause(ways.grace_seconds)
        removed = [one for one in old if await self._unregister(one)]
        for one in old:
            await self.casting.keys.forget(one)
        return tuple(removed)

    async def _unregister(self, old: str) -> bool:
        """Take all registrations of a version away, unless a key names it."""
        teller = self.casting.teller
        try:
            gone = await unregister(self.casting.keys, old)
        except Needed as needed:
            teller.step(f"kept {old}: {needed.key} names it")
            return False
        teller.step(f"removed the registrations of {old}: {', '.join(gone)}" if gone else f"{old} is gone already")
        return True
