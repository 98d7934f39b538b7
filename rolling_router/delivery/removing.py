"""
delivery.removing: takes registrations of a version away, where only the operator starts instances. Called by
`registering`, of a candidate that was replaced, and by the command. Never leaves a role without an instance.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

from rolling_router.delivery.keys import Keys
from rolling_router.errors import Conflict, SettingError
from rolling_router.rollout.keys import parse_path, setting_keys, version_path
from rolling_router.rollout.model import Instance

_ROLES = {
    "stable": ("stable", "make another version stable first"),
    "candidate": ("the candidate", "let it go first, by: rolling-router rollback"),
}
"""How it is said, and what mends it."""


class Needed(SettingError):
    """A role would be left without an instance.    :ivar key: names the version in that role."""

    def __init__(self, version: str, key: str) -> None:
        app, _, role = key.removeprefix("rolling/").removesuffix("/id").rpartition("/")
        word, mend = _ROLES[role]
        super().__init__(f"{version} is {word} of {app} ({key}), and would be left without an instance; {mend}")
        self.key = key


async def unregister(keys: Keys, version: str, instances: Collection[Instance] = ()) -> tuple[str, ...]:
    """
    Take the registrations of these instances away, or all of the version. On stores with transactions, what that was
    decided on still holds when they go.

    :returns: the texts of those that went; none where none was there.
    :raises Needed: nothing was written.    :raises SettingError: one is not registered; nothing was written.
    :raises StoreLost:
    """
    while True:
        roles, there = await keys.roles(), await keys.registrations(version)
        going = _going(version, there, instances)
        stays = {key: text for key, text in there.items() if key not in going}
        _check_roles(version, roles, stays)
        if not going:
            return ()
        try:
            await keys.write(dict.fromkeys(going), {**dict.fromkeys(setting_keys(keys.app)[:2]), **roles, **stays})
        except Conflict:
            continue
        return tuple(dict.fromkeys(going.values()))


def _going(version: str, there: Mapping[str, str], instances: Collection[Instance]) -> Mapping[str, str]:
    if not instances:
        return there
    registered = {key: _read(text) for key, text in there.items()}
    unknown = [str(one) for one in instances if one not in registered.values()]
    if unknown:
        known = ", ".join(dict.fromkeys(str(one) for one in registered.values() if one is not None)) or "none"
        raise SettingError(f"no instance of {version} is registered as {', '.join(unknown)}; there are: {known}")
    return {key: text for key, text in there.items() if registered[key] in instances}


def _check_roles(version: str, roles: Mapping[str, str], stays: Mapping[str, str]) -> None:
    for key, text in roles.items():
        try:
            path = parse_path(text)
        except ValueError:
            continue
        if path is not None and path[0] == version:
            prefix = version_path(*path) + "/"
            if not any(one.startswith(prefix) and _read(stays[one]) for one in stays):
                raise Needed(version, key)


def _read(text: str) -> Instance | None:
    """``None`` for one that no router could use."""
    try:
        return Instance.parse(text)
    except ValueError:
        return None
