"""
delivery.keys: what a deploy reads and notes in the store, beside the app's settings, which are `rollout.control`'s.

A note says which version another one replaces. It is written before the change and removed when the replaced one is
gone: a deploy that was broken off between the two could not know any more what it had still to remove.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress

import attrs
from twisted.internet.defer import maybeDeferred

from rolling_router.delivery.patience import Patience
from rolling_router.interfaces import IStore, StoreLost
from rolling_router.rollout.keys import parse_path, version_path

NOTES = "rolling-deploy/"
"""Not below ``rolling/``, which every router follows."""
_ROLES = ("/stable/id", "/candidate/id")


@attrs.define(eq=False)
class Keys:
    """The store of one app, as a deploy sees it."""

    app: str
    store: IStore
    patience: Patience

    async def naming(self, version: str) -> str | None:
        """
        A key that names this version as stable or candidate: of this app, or of any other.

        :raises StoreLost:
        """
        return next((key for key, text in (await self.roles()).items() if _version(text) == version), None)

    async def roles(self) -> Mapping[str, str]:
        """What is written of stable and candidate versions, of this app and of any other: key -> text."""
        return {key: text for key, text in (await self._read("rolling/")).items() if key.endswith(_ROLES)}

    async def instances(self, version: str, port: int) -> Mapping[str, str]:
        """The registrations of a version: key -> ``host:port``."""
        return await self._read(version_path(version, port) + "/")

    async def registrations(self, version: str) -> Mapping[str, str]:
        """The same, with whatever port."""
        found = await self._read(f"apps/app-{version}-")
        return {key: text for key, text in found.items() if _version(key.rpartition("/")[0]) == version}

    async def notes(self) -> Mapping[str, str]:
        """Who was replaced, by whom."""
        prefix = self._note("")
        return {key.removeprefix(prefix): by for key, by in (await self._read(prefix)).items()}

    async def note(self, replaced: str, by: str) -> None:
        await self.write({self._note(replaced): by})

    async def forget(self, replaced: str) -> None:
        await self.write({self._note(replaced): None})

    async def marks(self) -> Mapping[str, str]:
        """Whose turn it is, or who wants it: version -> its mark. See `turn`."""
        prefix = self._mark("")
        return {key.removeprefix(prefix): mark for key, mark in (await self._read(prefix)).items()}

    async def mark(self, version: str, mark: str) -> None:
        await self.write({self._mark(version): mark})

    async def unmark(self, version: str) -> None:
        await self.write({self._mark(version): None})

    async def try_to_unmark(self, version: str) -> None:
        """Once: we may be leaving. A mark that stays is taken for what it is after a while."""
        with suppress(StoreLost):
            await maybeDeferred(self.store.put, {self._mark(version): None}, {})

    async def write(self, changes: Mapping[str, str | None], expected: Mapping[str, str | None] | None = None) -> None:
        """:raises Conflict: an expectation does not hold; nothing was written.    :raises StoreLost:"""
        await self.patience.ask(lambda: maybeDeferred(self.store.put, changes, expected or {}))

    async def _read(self, prefix: str) -> dict[str, str]:
        found = await self.patience.ask(lambda: maybeDeferred(self.store.read, [prefix]))
        return {key: text for key, text in found.keys.items() if key.startswith(prefix)}

    def _mark(self, version: str) -> str:
        return f"{NOTES}{self.app}/turn/{version}"

    def _note(self, replaced: str) -> str:
        return f"{NOTES}{self.app}/replaced/{replaced}"


def _version(text: str) -> str | None:
    try:
        path = parse_path(text)
    except ValueError:
        return None
    return None if path is None else path[0]
