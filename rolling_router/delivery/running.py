"""delivery.running: brings a deployment up, and takes one away. Does what `moves` decides; called by `deploy`."""

from __future__ import annotations

from collections.abc import Awaitable

import attrs

from rolling_router.delivery.build import Build
from rolling_router.delivery.keys import Keys
from rolling_router.delivery.moves import Move, to_be_gone, to_run
from rolling_router.delivery.patience import Patience
from rolling_router.delivery.telling import Teller
from rolling_router.errors import RouterError, StoreLost
from rolling_router.occs.calls import Refused, TokenRefused
from rolling_router.occs.deployments import Deployment, Deployments

LOOK_SECONDS = 0.5
"""Between two looks whether a deployment has got where it is to be."""
TRIES = 30
"""How often a deployment is asked to be gone. A refusal is usual for a while after it has stopped."""
TRY_SECONDS, TRY_GROWTH, TRY_MOST_SECONDS = 0.5, 1.5, 10.0
STOP_SECONDS = 300.0
"""How long a deployment may take to stop."""


class NotReady(RouterError):
    """A deployment did not get ready in time."""


@attrs.define(eq=False)
class Running:
    """What runs on a platform."""

    deployments: Deployments
    keys: Keys
    patience: Patience
    teller: Teller

    async def find(self, build: Build) -> Deployment | None:
        """
        What an earlier run of the same build left, if it did.

        :raises SettingError: another build has its name.    :raises StoreLost:
        """
        if build.started is not None:
            found = await self._get(build.id(0))
        else:
            all_ = await self.patience.ask(self.deployments.all)
            found = max((one for one in all_ if build.is_of(one)), key=lambda one: one.id, default=None)
        if found is not None:
            build.check_same(found)
        return found

    async def is_ready(self, found: Deployment, port: int) -> bool:
        """:raises StoreLost:"""
        return to_run(found, len(await self.keys.instances(found.id, port))) is Move.DONE

    async def is_there(self, id: str) -> bool:
        """:raises StoreLost:"""
        return await self._get(id) is not None

    async def bring_up(self, build: Build, id: str, timeout_seconds: float) -> None:
        """
        Have it made, running and registered.

        :raises NotReady: it is not, `timeout_seconds` after this was called.
        :raises Refused: the platform does not want it.    :raises StoreLost:
        """
        clock, began = self.patience.clock, self.patience.clock.seconds()
        said: str | None = None
        while True:
            found = await self._get(id)
            instances = 0 if found is None else len(await self.keys.instances(id, build.port))
            move = to_run(found, instances)
            if move is Move.DONE:
                self.teller.step(f"{id} is ready: {_counted(instances)}")
                return
            if clock.seconds() - began >= timeout_seconds:
                lacking = said or _lacking(found, build, id)
                raise NotReady(f"{id} is not ready after {timeout_seconds:g} s: {lacking}")
            said = None
            if move is Move.CREATE:
                said = await self._create(build, id)
            elif move is Move.START:
                await self._harmless(self.deployments.start(id))
                self.teller.step(f"started {id} again, which was there and had stopped")
            else:
                self.teller.progress(f"waiting for {id}: {_lacking(found, build, id)}")
                await self.patience.pause(LOOK_SECONDS)

    async def _create(self, build: Build, id: str) -> str | None:
        """:returns: why it may not have been created. The next look tells."""
        try:
            await self.deployments.create(build.document(id))
        except TokenRefused:
            raise
        except (StoreLost, Refused) as wrong:
            is_final = isinstance(wrong, Refused) and not wrong.is_passing
            if is_final and await self._get(id) is None:
                raise
            self.teller.progress(f"{wrong}; looking what became of it")
            await self.patience.pause(LOOK_SECONDS)
            return str(wrong)
        self.teller.step(f"created {id}: {build.full_image}, {_counted(build.scale)}")
        return None

    async def take_away(self, id: str) -> bool:
        """
        Stop and remove it, unless a key names it, which is looked up right before each act.

        :returns: whether nothing is left to be done. If something is, that was told.    :raises StoreLost:
        """
        now, began = self.patience.clock.seconds, self.patience.clock.seconds()
        tries, wait, is_first, said = 0, TRY_SECONDS, True, "it does not stop"
        while tries < TRIES and (tries or now() - began < STOP_SECONDS):
            found = await self._get(id)
            naming = None if found is None else await self.keys.naming(id)
            move = to_be_gone(found, naming is not None)
            if move is Move.DONE:
                self.teller.step(f"{id} is gone already" if is_first else f"removed {id}")
                return True
            if move is Move.KEEP:
                self.teller.step(f"kept {id}: {naming} names it")
                return True
            is_first = False
            if move is Move.DELETE:
                tries += 1
                refused = await self._harmless(self.deployments.delete(id))
                if refused is not None:
                    self.teller.progress(f"try {tries} of {TRIES} to remove {id}: {refused}")
                said = refused or "it is still there after its removal"
                await self.patience.pause(wait if tries > 1 else 0)
                wait = min(TRY_MOST_SECONDS, wait * TRY_GROWTH)
                continue
            if move is Move.STOP:
                said = await self._harmless(self.deployments.stop(id)) or said
                self.teller.step(f"stopping {id}")
            elif move is Move.START:
                await self._harmless(self.deployments.start(id))
                self.teller.step(f"starting {id} again: {naming} names it now")
            else:
                self.teller.progress(f"waiting for {id} to stop")
            await self.patience.pause(LOOK_SECONDS)
        self.teller.warn(f"{id} could not be removed: {said}; run this deploy again, or remove it by hand")
        return False

    async def _harmless(self, call: Awaitable[object]) -> str | None:
        """Do it if it can be done; the next look tells what came of it.    :returns: why not, if so."""
        try:
            await call
        except TokenRefused:
            raise
        except (Refused, StoreLost) as wrong:
            return str(wrong)
        return None

    async def _get(self, id: str) -> Deployment | None:
        return await self.patience.ask(lambda: self.deployments.get(id))


def _counted(instances: int) -> str:
    return f"{instances} instance{'' if instances == 1 else 's'}"


def _lacking(found: Deployment | None, build: Build, id: str) -> str:
    if found is None:
        return "it is not there"
    if found.current_state != found.desired_state:
        return "the platform has not got it running yet; look at its containers there"
    return f"it runs, and no instance is registered below {build.path(id)}/; look whether its port is {build.port}"
