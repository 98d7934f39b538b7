"""
admin.view: what the settings port shows, as values fit for JSON. Made of what others know; decides and changes nothing.

Read by `api` and `feed`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import attrs

from rolling_router.observe.figures import Figures
from rolling_router.observe.report import Report
from rolling_router.rollout.history import Entry
from rolling_router.rollout.keys import revision
from rolling_router.rollout.model import Role
from rolling_router.rollout.shown import setting_values
from rolling_router.rollout.state import Source, State


@attrs.frozen
class About:
    """
    What does not change while the process runs.

    :ivar run: another word for each start.    :ivar store_kind: the scheme of ``--store``.
    :ivar strategies: names that stickiness may have; the default one first.
    """

    app: str
    run: str
    started_at: float
    workers: int
    store_kind: str
    strategies: Sequence[str]
    has_history: bool


def state_json(about: About, report: Report, state: State, figures: Figures, newest: Entry | None) -> dict[str, Any]:
    """:param newest: the last entry of the history."""
    shown = report.status(figures)
    del shown["counts"]
    there = revision_of(about.app, state)
    return {
        **shown,
        "now": report.now(),
        "revision": there,
        "in_force": figures.revision == there,
        "is_set_up": there != revision(about.app, {}),
        "router": {
            **shown["router"],
            "run": about.run,
            "started_at": about.started_at,
            "workers": about.workers,
        },
        "store": {
            **shown["store"],
            "kind": about.store_kind,
            "state": store_word(state),
            "read_at": state.read_at,
            "lost_at": state.lost_at,
        },
        "strategies": {"default": about.strategies[0], "names": sorted(about.strategies)},
        "has_history": about.has_history,
        "undo": None if newest is None or newest.after != there else entry_json(newest),
    }


def revision_of(app: str, state: State) -> str:
    """Names the settings that a write is to be based on; where none are known, that there are none."""
    return revision(app, {}) if state.snapshot is None else state.snapshot.revision


def store_word(state: State) -> str:
    if state.snapshot is None:
        return "waiting"
    if state.source is Source.SAVED:
        return "saved"
    return "there" if state.lost_at is None else "lost"


def entry_json(entry: Entry) -> dict[str, Any]:
    return {
        "at": entry.when,
        "who": entry.who,
        "what": entry.what,
        "why": entry.why,
        "from": setting_values(entry.old),
        "to": setting_values(entry.new),
        "before": entry.before,
        "after": entry.after,
    }


def in_play(shown: Mapping[str, Any]) -> dict[str, Any]:
    """Of a state: what each second's sample says of the versions as they are now."""
    roles = {role.word: shown["snapshot"][role.word] for role in Role}
    return {
        word: {
            "version": None if one is None else one["version"],
            "instances": [] if one is None else one["instances"],
        }
        for word, one in roles.items()
    }
