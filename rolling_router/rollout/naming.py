"""
rollout.naming: a version's name, as people write it -> the version with its port. Pure; called by `change`, and by the
command, of a version that is to have no role.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from rolling_router.errors import SettingError
from rolling_router.rollout.choices import Choice
from rolling_router.rollout.keys import NULL
from rolling_router.rollout.model import Role, Version

_MOST_SHOWN = 20


def find_version(
    name: str,
    port: int | None,
    role: Role,
    choices: Sequence[Choice],
    *,
    present: Version | None,
    other: Version | None,
    is_forced: bool,
) -> Version:
    """
    Find what is meant by a version's name.

    :param port: the one inside its containers; ``None`` where it is to be found, too.
    :param present: the version that plays the role now.    :param other: the one that plays the other role.
    :param is_forced: whether one that nobody knows may be meant.
    :raises SettingError: none is meant, or more than one.
    """
    _check_name(role, name)
    if port is not None and not 1 <= port <= 65535:
        raise SettingError(f"the port is {port}; it must be a number from 1 to 65535")
    known = [one for one in choices if one.id == name]
    is_same = present is not None and present.id == name
    if not known and not is_same and not is_forced:
        raise SettingError(f"there is no version {name!r}; there are: {_names(choices)}")
    ports = {one.port for one in known if one.port is not None}
    if port is not None:
        if ports and port not in ports and not is_forced:
            there = ", ".join(map(str, sorted(ports)))
            raise SettingError(f"the version {name} is not registered with port {port}; it is with: {there}")
        return Version(name, port)
    if present is not None and is_same:
        return present
    usual = [one.port for one in (other, present) if one is not None]
    return Version(name, _guess_port(name, ports, usual, choices))


def _guess_port(name: str, ports: Collection[int], usual: Sequence[int], choices: Sequence[Choice]) -> int:
    """
    :param ports: those that it is registered with.    :param usual: those of the versions in play, the likeliest first.
    """
    if len(ports) == 1:
        return min(ports)
    likely = [port for port in usual if not ports or port in ports]
    if likely:
        return likely[0]
    if not ports:
        # A version that never ran: what all others have, it has, too.
        all_ports = {one.port for one in choices if one.port is not None}
        if len(all_ports) == 1:
            return min(all_ports)
        raise SettingError(f"the port of {name} is not known; give it: the one inside its containers, such as 3000")
    there = ", ".join(map(str, sorted(ports)))
    raise SettingError(f"the version {name} is registered with more than one port; give one of: {there}")


def is_name(text: str) -> bool:
    """Whether a version can have this name."""
    return bool(text) and "/" not in text and text.isprintable() and text == text.strip() and len(text) <= 500


def _check_name(role: Role, name: str) -> None:
    if not is_name(name):
        shown = repr(name[:100])
        raise SettingError(f"the {role.value} version is {shown}; it must be a version's name without '/', or {NULL}")


def _names(choices: Sequence[Choice]) -> str:
    names = list(dict.fromkeys(one.id for one in choices))
    more = f" and {len(names) - _MOST_SHOWN} more" if len(names) > _MOST_SHOWN else ""
    return (", ".join(names[:_MOST_SHOWN]) + more) or "none; start an instance of it first, or force it"
