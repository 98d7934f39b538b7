"""rollout.state: what the watcher knows, and how well. Read by `control`, `admin` and `observe`; made by `watcher`."""

from __future__ import annotations

import enum

import attrs

from rolling_router.rollout.model import Snapshot


class Source(enum.Enum):
    """Where the snapshot in force came from."""

    STORE = "store"
    SAVED = "saved"


@attrs.frozen
class State:
    """
    What is known of the rollout. Times are of the reactor's clock: seconds since 1970.

    :ivar store: description of the store that told the snapshot; while there is no snapshot, of the one that is asked.
    :ivar snapshot: the one in force; ``None`` until the store, or the disk, has told one.
    :ivar source: where it came from.
    :ivar read_at: when the store last answered well.    :ivar changed_at: when the snapshot came into force.
    :ivar lost_at: since when the store has given no usable answer; ``None`` while it does.
    :ivar trouble: why it gives none.
    :ivar revision: the store's own name for what it held when it last answered well, if it has one.
    """

    store: str
    snapshot: Snapshot | None = None
    source: Source | None = None
    read_at: float | None = None
    changed_at: float | None = None
    lost_at: float | None = None
    trouble: str | None = None
    revision: str | None = None

    def age(self, now: float) -> float | None:
        """
        For how many seconds the snapshot may have been out of date; ``None`` when there is none.

        That is 0 while the store is there, for a store that is watched and silent has not changed.
        """
        if self.snapshot is None:
            return None
        since = self.read_at if self.source is Source.SAVED else self.lost_at
        return 0.0 if since is None else max(0.0, now - since)
