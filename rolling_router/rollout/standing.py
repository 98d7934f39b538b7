"""rollout.standing: an app's settings as they are written, and what they mean. Pure; made by `control` and `change`."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import attrs

from rolling_router.rollout.keys import NULL, read_snapshot, revision, setting_keys
from rolling_router.rollout.model import Problem, Snapshot


@attrs.frozen
class Texts:
    """The texts of an app's four settings, as a store holds them; ``None`` for one that is absent."""

    stable: str | None = None
    candidate: str | None = None
    blend: str | None = None
    stickiness: str | None = None

    @classmethod
    def of(cls, app: str, keys: Mapping[str, str]) -> Texts:
        """Those among a store's keys."""
        return cls(*(keys.get(key) for key in setting_keys(app)))

    def as_keys(self, app: str) -> dict[str, str | None]:
        """All four, by the names of their keys."""
        return dict(zip(setting_keys(app), attrs.astuple(self), strict=True))

    def revision(self, app: str) -> str:
        """Their short name; see `rollout.keys.revision`."""
        return revision(app, self.as_keys(app))


@attrs.frozen
class Standing:
    """
    How an app stands: its settings as written, and as they are taken.

    :ivar texts: as written.    :ivar snapshot: what they mean, with the instances that are registered.
    :ivar has_null: whether ``rolling/null`` is there, on which others' scripts rely.
    """

    app: str
    texts: Texts
    snapshot: Snapshot
    has_null: bool = True

    @classmethod
    def read(cls, app: str, keys: Mapping[str, str], strategies: Collection[str], default: str) -> Standing:
        """:param keys: the app's, and the instances' of the versions in play.    The rest is as for `read_snapshot`."""
        return cls(app, Texts.of(app, keys), read_snapshot(app, keys, strategies, default), NULL in keys)

    @property
    def revision(self) -> str:
        """Names these settings' texts; a change can be made to depend on it."""
        return self.snapshot.revision

    @property
    def problems(self) -> tuple[Problem, ...]:
        return self.snapshot.problems

    @property
    def is_set_up(self) -> bool:
        """Whether any of the four is there."""
        return self.texts != Texts()
