"""
rollout.order: in which order a change's keys are written where they cannot be written at once. Pure; used by `change`.

Between two writes, every router serves by what is there. So the order is the one in which each version's share stays
between what it was and what it is to be, or strays from that the least.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import permutations

import attrs

from rolling_router.rollout.keys import parse_path, setting_keys
from rolling_router.rollout.standing import Texts

_NAMES = ("stable", "blend", "candidate")


def safe_order(app: str, before: Texts, after: Texts) -> Sequence[str]:
    """
    All four keys, the first to be written first.

    A promote gives stable, blend, candidate; a new candidate: blend, candidate; an undone promote: blend, candidate,
    stable.
    """
    fields = min(permutations(_NAMES), key=lambda names: _strayed(before, after, names))  # of equals, the first one
    keys = dict(zip(("stable", "candidate", "blend", "stickiness"), setting_keys(app), strict=True))
    return [keys[name] for name in (*fields, "stickiness")]


def stages(app: str, before: Texts, after: Texts) -> list[Texts]:
    """The settings before, after each single write, and after the last one."""
    old, new = before.as_keys(app), after.as_keys(app)
    found = [before]
    for key in safe_order(app, before, after):
        if old[key] != new[key]:
            old[key] = new[key]
            found.append(Texts(*old.values()))
    return found


def shares(texts: Texts) -> dict[str | None, int]:
    """Version -> percent of the traffic that it gets, all instances being well. ``None``: those whom nobody serves."""
    stable, candidate = _version(texts.stable), _version(texts.candidate)
    blend = _blend(texts.blend)
    if candidate is None or candidate == stable or blend == 0:
        return {stable: 100}
    if stable is None or blend == 100:
        return {candidate: 100}
    return {stable: 100 - blend, candidate: blend}


def _strayed(before: Texts, after: Texts, names: Sequence[str]) -> int:
    """How far, in percent, the shares of the states between lie outside of those before and after; added up."""
    first, last = shares(before), shares(after)
    strayed, texts = 0, before
    for name in names:
        texts = attrs.evolve(texts, **{name: getattr(after, name)})
        now = shares(texts)
        for version in {*first, *last, *now}:
            bounds = sorted((first.get(version, 0), last.get(version, 0)))
            share = now.get(version, 0)
            strayed += max(0, bounds[0] - share, share - bounds[1])
    return strayed


def _version(text: str | None) -> str | None:
    try:
        path = parse_path(text or "rolling/null")
    except ValueError:
        return None
    return None if path is None else path[0]


def _blend(text: str | None) -> int:
    text = (text or "").strip()
    return int(text) if text.isascii() and text.isdigit() and len(text) <= 3 and int(text) <= 100 else 0
