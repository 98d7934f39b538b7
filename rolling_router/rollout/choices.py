"""rollout.choices: the versions that can be chosen, of a store's keys and what it lists. Pure; used by `control`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import attrs

from rolling_router.interfaces import KnownVersion
from rolling_router.rollout.keys import parse_path
from rolling_router.rollout.model import Instance

PREFIX = "apps/app-"
"""What the keys of all instances begin with."""


@attrs.frozen
class Choice:
    """
    A version that can be chosen, with one of its ports.

    :ivar port: the port inside its containers; ``None`` where nobody knows.
    :ivar instances: how many are registered.    :ivar is_ready: whether it runs as wanted; ``None`` if nobody knows.
    :ivar is_listed: whether the store's own list has it.
    """

    id: str
    name: str
    port: int | None
    instances: int
    is_ready: bool | None = None
    is_listed: bool = False


def find_choices(keys: Mapping[str, str], listed: Iterable[KnownVersion] = ()) -> tuple[Choice, ...]:
    """
    All that can be chosen, each version once for each of its ports: first what the store lists, in its order, then
    what else has instances below ``apps/``, by name.
    """
    counts = _count_instances(keys)
    found: list[Choice] = []
    told: set[tuple[str, int | None]] = set()
    for known in listed:
        registered: list[int | None] = [port for version, port in sorted(counts) if version == known.id]
        for port in registered or [known.port]:
            if (known.id, port) not in told:
                told.add((known.id, port))
                number = 0 if port is None else counts.get((known.id, port), 0)
                found.append(Choice(known.id, known.name or known.id, port, number, known.is_ready, True))
    for version, port in sorted(set(counts) - told):
        found.append(Choice(version, version, port, counts[version, port]))
    return tuple(found)


def _count_instances(keys: Mapping[str, str]) -> dict[tuple[str, int], int]:
    """Version and port -> how many different instances are registered; those that cannot be read do not count."""
    found: dict[tuple[str, int], set[Instance]] = {}
    for key, text in keys.items():
        path, _, instance = key.rpartition("/")
        if not key.startswith(PREFIX) or not instance:
            continue
        try:
            version = parse_path(path)
            if version is not None:
                found.setdefault(version, set()).add(Instance.parse(text))
        except ValueError:
            continue
    return {version: len(instances) for version, instances in found.items()}
