"""rollout.keys: the store's keys and their texts <-> the model, both ways, and what is wrong with a bad text. Pure."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Collection, Mapping
from typing import Any

import attrs

from rolling_router.errors import SettingError
from rolling_router.rollout.model import HealthKeys, Instance, Problem, Role, Snapshot, Version

NULL = "rolling/null"
"""How "no version" is written. The original's page also wrote ``apps/app-rolling/null-PORT/containers``."""

_PATH = re.compile(r"apps/app-(?P<version>.+)-(?P<port>[0-9]{1,5})/containers/?\Z", re.DOTALL)
_HEALTH_PATH = re.compile(r"(?:/[!-~]*|tcp|off)\Z")
_BLEND = re.compile(r"[0-9]{1,3}\Z")


def check_app(app: str) -> str:
    """:raises SettingError: when `app` cannot be a segment of a key."""
    if not app or "/" in app or app != app.strip() or not app.isprintable():
        raise SettingError(f"the app's name is {app!r}; it must be a printable word without '/', such as hello-world")
    return app


def app_prefix(app: str) -> str:
    return f"rolling/{app}/"


def role_key(app: str, role: Role) -> str:
    return f"rolling/{app}/{role.value}/id"


def blend_key(app: str) -> str:
    return f"rolling/{app}/blendpercent"


def stickiness_key(app: str) -> str:
    return f"rolling/{app}/stickyness"  # the key's own spelling


def health_key(app: str, name: str) -> str:
    """:param name: a field of `HealthKeys`."""
    return f"rolling/{app}/health/{name.replace('_', '-')}"


def parse_health(name: str, text: str) -> str | float | int:
    """
    Read one setting of the health probes, from the store or from an option.

    :param name: a field of `HealthKeys`.
    :raises ValueError: with a sentence that says what it must be.
    """
    text = text.strip()
    if name == "path":
        if not _HEALTH_PATH.match(text):
            raise ValueError("it must be a path such as /healthz, or tcp, or off")
        return text
    whole = name in ("rise", "fall")
    least, most = (1, 100) if whole else (0.1, 3600)
    try:
        value: float | int = int(text) if whole else float(text)
    except ValueError:
        value = -1
    if not least <= value <= most:
        raise ValueError(f"it must be a {'whole ' if whole else ''}number from {least} to {most}")
    return value


def version_path(version: str, port: int) -> str:
    """The text of a role's key for this version, and the prefix of its instances' keys."""
    return f"apps/app-{version}-{port}/containers"


def setting_keys(app: str) -> tuple[str, str, str, str]:
    """The keys of an app's stable and candidate versions, blend and stickiness, in this order."""
    return role_key(app, Role.STABLE), role_key(app, Role.CANDIDATE), blend_key(app), stickiness_key(app)


def revision(app: str, keys: Mapping[str, str | None]) -> str:
    """
    A short name for the texts of the app's four settings: the same for the same texts, in every process and store.

    Instances do not count, so that their coming and going stands in nobody's way.
    """
    texts = [keys.get(key) for key in setting_keys(app)]
    return hashlib.sha256(json.dumps(texts).encode("ascii")).hexdigest()[:12]


def parse_path(text: str) -> tuple[str, int] | None:
    """
    Read a role's text.

    :returns: version and container port, or ``None`` for either spelling of "no version".
    :raises ValueError: with a sentence that says what is wrong.
    """
    text = text.strip()
    if text == NULL:
        return None
    matched = _PATH.match(text)
    if matched is None:
        raise ValueError("it is neither rolling/null nor of the form apps/app-VERSION-PORT/containers")
    version, port = matched["version"], int(matched["port"])
    if version == NULL:
        return None
    if "/" in version:
        raise ValueError(f"the version {version!r} contains a '/'")
    if not 1 <= port <= 65535:
        raise ValueError(f"the port {port} is not a number from 1 to 65535")
    return version, port


def instance_prefixes(app: str, keys: Mapping[str, str]) -> list[str]:
    """The prefixes below which the instances of the versions in play are found: none, one or two."""
    prefixes = []
    for role in Role:
        try:
            path = parse_path(keys.get(role_key(app, role), NULL))
        except ValueError:
            continue
        if path is not None:
            prefixes.append(version_path(*path) + "/")
    return list(dict.fromkeys(prefixes))


def read_snapshot(app: str, keys: Mapping[str, str], strategies: Collection[str], default: str) -> Snapshot:
    """
    Make the snapshot that these keys describe. Never fails: a bad text is taken as `design.md` says, and named.

    :param keys: whatever is known; keys of other apps do no harm.
    :param strategies: names that ``stickyness`` may have.    :param default: the one that ``1`` means.
    """
    problems: list[Problem] = []
    if not any(key.startswith(app_prefix(app)) for key in keys):
        problems.append(Problem(app_prefix(app), None, "the app is not set up; write its keys to begin"))
        return Snapshot(app, problems=tuple(problems), revision=revision(app, keys))
    stable = _read_version(app, keys, Role.STABLE, problems)
    candidate = _read_version(app, keys, Role.CANDIDATE, problems)
    if stable is not None and candidate is not None and stable.id == candidate.id:
        key = role_key(app, Role.CANDIDATE)
        problems.append(Problem(key, keys[key], "it is the stable version; taken as no candidate"))
        candidate = None
    return Snapshot(
        app,
        stable,
        candidate,
        _read_blend(app, keys, problems),
        _read_stickiness(app, keys, strategies, default, problems),
        health=_read_health(app, keys, problems),
        problems=tuple(problems),  # last: the others add to them
        revision=revision(app, keys),
    )


def _read_version(app: str, keys: Mapping[str, str], role: Role, problems: list[Problem]) -> Version | None:
    key = role_key(app, role)
    text = keys.get(key)
    if text is None:
        problems.append(Problem(key, None, f"taken as no {role.value} version"))
        return None
    try:
        path = parse_path(text)
    except ValueError as wrong:
        problems.append(Problem(key, text, f"{wrong}; taken as no {role.value} version"))
        return None
    if path is None:
        return None
    instances = _read_instances(version_path(*path) + "/", keys, problems)
    if not instances:
        problems.append(Problem(key, text, "no instance is registered below that path; it cannot serve"))
    return Version(path[0], path[1], instances)


def _read_instances(prefix: str, keys: Mapping[str, str], problems: list[Problem]) -> tuple[Instance, ...]:
    found: dict[Instance, None] = {}  # a dict, for its order: every router then walks the instances in the same one
    for key in sorted(key for key in keys if key.startswith(prefix)):
        try:
            found[Instance.parse(keys[key])] = None
        except ValueError as wrong:
            problems.append(Problem(key, keys[key], f"{wrong}; that instance is left out"))
    return tuple(found)


def _read_blend(app: str, keys: Mapping[str, str], problems: list[Problem]) -> int:
    key = blend_key(app)
    text = keys.get(key)
    if text is not None and _BLEND.match(text.strip()) and int(text) <= 100:
        return int(text)
    problems.append(Problem(key, text, "it must be a whole number from 0 to 100; taken as 0"))
    return 0


def _read_stickiness(
    app: str, keys: Mapping[str, str], strategies: Collection[str], default: str, problems: list[Problem]
) -> str | None:
    key = stickiness_key(app)
    text = keys.get(key)
    word = None if text is None else text.strip()
    if word == "0":
        return None
    if word == "1":
        return default
    if word in strategies:
        return word
    known = ", ".join(sorted(strategies))
    problems.append(Problem(key, text, f"it must be 0, 1 or one of: {known}; taken as 0"))
    return None


def _read_health(app: str, keys: Mapping[str, str], problems: list[Problem]) -> HealthKeys:
    found: dict[str, Any] = {}
    for field in attrs.fields(HealthKeys):
        key = health_key(app, field.name)
        if key in keys:
            try:
                found[field.name] = parse_health(field.name, keys[key])
            except ValueError as wrong:
                problems.append(Problem(key, keys[key], f"{wrong}; the option's value stays in force"))
    return HealthKeys(**found)
