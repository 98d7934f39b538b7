"""cli.words: settings, versions and changes as lines for people and as values for programs. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import attrs

from rolling_router.rollout.choices import Choice
from rolling_router.rollout.history import Entry
from rolling_router.rollout.model import Version
from rolling_router.rollout.shown import choice_value, role_of, setting_values, stickiness_word
from rolling_router.rollout.standing import Standing, Texts


def plain(text: str) -> str:
    """Fit for a terminal: what is not printable is written as its escape. Anybody may have typed it."""
    return "".join(one if one.isprintable() else one.encode("unicode_escape").decode("ascii") for one in text)


# Settings


def changes(before: Texts, after: Texts) -> list[str]:
    """What differs, a line for each setting."""
    old, new = setting_values(before), setting_values(after)
    lines = []
    for name in old:
        if old[name] == new[name]:
            continue
        one, other = _short(old[name]), _short(new[name])
        if one == other:  # one version by another port
            one, other = _short(old[name], has_port=True), _short(new[name], has_port=True)
        lines.append(f"{name}: {one} -> {other}")
    return lines


def _short(value: Any, has_port: bool = False) -> str:
    if value is None:
        return "none"
    if not isinstance(value, Mapping):
        return plain(str(value))
    if "version" in value:
        return plain(value["version"]) + (f" (port {value['port']})" if has_port else "")
    return "absent" if value["text"] is None else f"unreadable ({plain(value['text'][:60])})"


# Standing


def standing_lines(standing: Standing, store: str) -> list[str]:
    """The settings, their instances, and what is wrong with them."""
    snapshot = standing.snapshot
    lines = [f"{plain(standing.app)} in {plain(store)}, revision {standing.revision}"]
    if not standing.is_set_up:
        return [*lines, "  not set up; begin with: rolling-router setup"]
    written = "off" if snapshot.stickiness is None else stickiness_word(standing.texts.stickiness or "0")
    lines += [
        f"  stable      {_version_words(snapshot.stable)}",
        f"  candidate   {_version_words(snapshot.candidate)}",
        f"  blend       {snapshot.blend} %",
        f"  stickiness  {plain(written)}",
    ]
    if standing.problems:
        lines.append("problems:")
        lines += [f"  {plain(str(problem))}" for problem in standing.problems]
    return lines


def _version_words(version: Version | None) -> str:
    if version is None:
        return "none"
    number = len(version.instances)
    return f"{plain(version.id)}, port {version.port}, {number} instance{'' if number == 1 else 's'}"


def standing_value(standing: Standing, store: str) -> dict[str, Any]:
    snapshot = standing.snapshot
    return {
        "app": standing.app,
        "store": store,
        "revision": standing.revision,
        "is_set_up": standing.is_set_up,
        "stable": _version_value(snapshot.stable),
        "candidate": _version_value(snapshot.candidate),
        "blend": snapshot.blend,
        "stickiness": snapshot.stickiness,
        "texts": attrs.asdict(standing.texts),
        "problems": [attrs.asdict(problem) for problem in standing.problems],
    }


def _version_value(version: Version | None) -> dict[str, Any] | None:
    if version is None:
        return None
    return {"version": version.id, "port": version.port, "instances": [str(one) for one in version.instances]}


# Versions


def version_lines(choices: Iterable[Choice], standing: Standing) -> list[str]:
    lines = []
    for one in choices:
        words = [f"port {one.port or '?'}", f"{one.instances} instance{'' if one.instances == 1 else 's'}"]
        if one.name != one.id:
            words.insert(0, plain(one.name))
        words += {True: ["ready"], False: ["not ready"], None: []}[one.is_ready]
        role = role_of(one, standing.snapshot)
        words += [role] if role else []
        lines.append(f"{plain(one.id)}  {', '.join(words)}")
    return lines


def version_values(choices: Iterable[Choice], standing: Standing) -> list[dict[str, Any]]:
    return [choice_value(one, standing.snapshot) for one in choices]


# History


def history_lines(entries: Sequence[Entry]) -> list[str]:
    lines = []
    for entry in entries:
        why = f" ({plain(entry.why)})" if entry.why else ""
        lines.append(f"{entry.as_dict()['when']}  {plain(entry.what)} by {plain(entry.who)}{why}")
        lines += [f"    {line}" for line in changes(entry.old, entry.new)]
    return lines


def interrupted_lines(entry: Entry) -> list[str]:
    """Of a change whose writer went away in the middle of it."""
    who = f"{plain(entry.what)} by {plain(entry.who)} of {entry.as_dict()['when']}"
    return [f"half done: {who}; do the same again to finish it, or: rolling-router undo"]


def history_value(entry: Entry) -> dict[str, Any]:
    return {**entry.as_dict(), "from": setting_values(entry.old), "to": setting_values(entry.new)}


# Routers


def router_lines(url: str, status: Mapping[str, Any], revision: str) -> list[str]:
    """What a router says of itself and of its traffic."""
    snapshot, store = status["snapshot"], status["store"]
    if snapshot["revision"] == revision:
        state = "has this in force"
    else:
        state = f"has revision {plain(str(snapshot['revision'] or 'none'))} in force"
    trouble = f"; store lost: {plain(str(store['trouble']))}" if store.get("trouble") else ""
    lines = [f"router {plain(url)} {state}{trouble}"]
    roles = status["counts"]["roles"]
    for role in ("stable", "candidate"):
        version, told = snapshot[role], roles.get(role, {})
        if version is None and not told.get("requests"):
            continue
        instances = version["instances"] if version else []
        usable = sum(one["usable"] for one in instances)
        in_flight = sum(one["in_flight"] for one in instances)
        name = plain(version["version"]) if version else "(no version now)"
        lines.append(
            f"  {role:10}  {name}: {told.get('requests', 0)} requests as {role}, {in_flight} in flight, "
            f"{usable} of {len(instances)} instances usable"
        )
        lines += [
            f"              {plain(one['instance'])} is {one['state']}: {plain(one['text'])}"
            for one in status.get("health", {}).get("problems", ())
            if one["role"] == role
        ]
    if snapshot.get("stickiness"):  # what `on` means is told by the router's options, which are not ours
        lines.append(f"  stickiness  {plain(snapshot['stickiness'])}")
    return lines
