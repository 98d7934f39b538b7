"""rollout.reader: asks a store for the keys of one app, in one piece. Used by `watcher` alone."""

from __future__ import annotations

from collections.abc import Mapping

from twisted.internet.defer import maybeDeferred

from rolling_router.errors import StoreLost
from rolling_router.interfaces import IStore, Reading
from rolling_router.rollout.keys import app_prefix, instance_prefixes

CHASES = 5
"""Reads in a row, at most, while the roles' ids move from under us."""


class Reader:
    """Remembers which versions were in play, so that one read of the store is enough unless others came into play."""

    def __init__(self, app: str, store: IStore) -> None:
        self._app = app
        self._store = store
        self._instances: list[str] = []  # prefixes of the instances of the versions in play, as last read

    async def read(self) -> Reading:
        """
        The roles' keys and the instances' of the versions in play, all of the same moment; there may be some more.

        Each attempt asks for everything again. Ids of one read and instances of another might never have been
        there together.

        :raises StoreLost: from the store, or because the ids change faster than they can be followed.
        """
        for _ in range(CHASES):
            asked = self._instances
            reading = await maybeDeferred(self._store.read, [app_prefix(self._app), *asked])
            self._instances = instance_prefixes(self._app, reading.keys)
            if set(self._instances) <= set(asked):
                return reading
        raise StoreLost(f"the ids in {self._store.description} changed {CHASES} times while they were read")

    def relevant(self, keys: Mapping[str, str]) -> dict[str, str]:
        """Those of a reading's keys that make the snapshot."""
        prefixes = (app_prefix(self._app), *instance_prefixes(self._app, keys))
        return {key: text for key, text in keys.items() if key.startswith(prefixes)}
