"""admin.bodies: a request's JSON -> checked fields and `rollout.change` operations. Shapes only."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Collection, Mapping
from typing import Any, NoReturn

import attrs

from rolling_router.admin.problems import Problem, bad_field
from rolling_router.rollout.change import (
    Operation,
    Promote,
    RollBack,
    SetBlend,
    SetCandidate,
    SetStable,
    SetStickiness,
    SetUp,
    read_stickiness,
)
from rolling_router.rollout.keys import NULL

LONGEST_VERSION, LONGEST_WORD, LONGEST_WHY = 500, 200, 1000
_REVISION = re.compile(r'(?:W/)?"([A-Za-z0-9._-]{1,100})"\Z')


def read_object(request: Any, known: Collection[str]) -> dict[str, Any]:
    """
    A request's body: one JSON object with no other members than those.

    :raises Problem: it is something else.
    """
    kind = (request.getHeader(b"Content-Type") or b"").decode("latin-1")
    if kind.partition(";")[0].strip().lower() != "application/json":
        raise Problem(415, "not-json", f"Content-Type is {kind[:100]!r}; it must be application/json")
    try:
        found = json.loads(request.content.read().decode("utf-8"), parse_constant=_refuse, object_pairs_hook=_once)
        json.dumps(found, ensure_ascii=False).encode("utf-8")  # refuses halves of characters
    except (ValueError, RecursionError) as wrong:
        raise Problem(400, "bad-json", f"the body cannot be read as JSON: {_why(wrong)}") from None
    if not isinstance(found, dict):
        raise Problem(400, "bad-json", "the body must be a JSON object, such as {}")
    for name in found:
        if name not in known:
            raise bad_field(name[:100], f"there is no field {name[:100]!r} here; there are: {', '.join(sorted(known))}")
    return found


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is no JSON")


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a member is there twice")
    return found


def _why(wrong: Exception) -> str:
    if isinstance(wrong, RecursionError):
        return "it is nested too deeply"
    if isinstance(wrong, UnicodeError):
        return "it is no UTF-8"
    return str(wrong)[:200]


def text(body: Mapping[str, Any], name: str, most: int = LONGEST_WORD) -> str | None:
    """A member that is a string, or not there, or null.    :raises Problem: it is something else."""
    value = body.get(name)
    if value is None:
        return None
    if not isinstance(value, str):
        raise bad_field(name, f"{name} is {_shown(value)}; it must be a string")
    if len(value) > most:
        raise bad_field(name, f"{name} has {len(value)} characters; it may have {most}")
    return value


def number(body: Mapping[str, Any], name: str, least: int, most: int) -> int | None:
    value = body.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        raise bad_field(name, f"{name} is {_shown(value)}; it must be a whole number from {least} to {most}")
    return value


def flag(body: Mapping[str, Any], name: str) -> bool:
    value = body.get(name, False)
    if not isinstance(value, bool):
        raise bad_field(name, f"{name} is {_shown(value)}; it must be true or false")
    return value


def _shown(value: Any) -> str:
    shown = json.dumps(value)
    return shown if len(shown) <= 100 else shown[:100] + "…"


def _must(body: Mapping[str, Any], name: str, value: Any) -> Any:
    """:raises Problem: there is none."""
    if value is None:
        state = "null" if name in body else "missing"
        raise bad_field(name, f"{name} is {state}; give it")
    return value


# Writes


@attrs.frozen
class Wish:
    """What a write asks for. :ivar operation: ``None`` for an undo, which `control` makes by itself."""

    operation: Operation | None
    why: str
    is_forced: bool


def read_wish(request: Any, kind: str, port: int | None) -> Wish:
    """
    :param kind: a key of `_KINDS`, or ``undo``.    :param port: what was entered at sign-in, where none is named.
    :raises Problem: the body cannot be meant.
    """
    fields, make = _KINDS[kind]
    body = read_object(request, (*fields, "why", "force"))
    why = text(body, "why", LONGEST_WHY) or ""
    return Wish(make(body, port), why, flag(body, "force"))


def _port(body: Mapping[str, Any], port: int | None) -> int | None:
    named = number(body, "port", 1, 65535)
    return port if named is None else named


def _version(body: Mapping[str, Any], name: str = "version") -> str | None:
    version = text(body, name, LONGEST_VERSION)
    if version == "":
        raise bad_field(name, f"{name} is empty; give a version's id, or null for none")
    return version


def _set_up(body: Mapping[str, Any], port: int | None) -> Operation:
    versions = {
        name: (NULL if body[name] is None else _version(body, name)) if name in body else None
        for name in ("stable", "candidate")
    }
    word = text(body, "stickiness")
    return SetUp(
        stable=versions["stable"],
        candidate=versions["candidate"],
        blend=number(body, "blend", 0, 100),
        stickiness=None if word is None else read_stickiness(word),
        port=_port(body, port) if any(one not in (None, NULL) for one in versions.values()) else None,
    )


def _set_stable(body: Mapping[str, Any], port: int | None) -> Operation:
    return SetStable(_role_version(body), _port(body, port) if body["version"] is not None else None)


def _set_candidate(body: Mapping[str, Any], port: int | None) -> Operation:
    return SetCandidate(_role_version(body), _port(body, port) if body["version"] is not None else None)


def _role_version(body: Mapping[str, Any]) -> str | None:
    if "version" not in body:
        raise bad_field("version", "version is missing; give a version's id, or null for none")
    return _version(body)


def _set_blend(body: Mapping[str, Any], port: int | None) -> Operation:
    return SetBlend(_must(body, "blend", number(body, "blend", 0, 100)))


def _set_stickiness(body: Mapping[str, Any], port: int | None) -> Operation:
    return SetStickiness(read_stickiness(_must(body, "stickiness", text(body, "stickiness"))))


def _promote(body: Mapping[str, Any], port: int | None) -> Operation:
    return Promote(_version(body))


def _roll_back(body: Mapping[str, Any], port: int | None) -> Operation:
    return RollBack()


def _nothing(body: Mapping[str, Any], port: int | None) -> None:
    return None


_KINDS: Mapping[str, tuple[tuple[str, ...], Callable[[Mapping[str, Any], int | None], Operation | None]]] = {
    "setup": (("stable", "candidate", "port", "blend", "stickiness"), _set_up),
    "stable": (("version", "port"), _set_stable),
    "candidate": (("version", "port"), _set_candidate),
    "blend": (("blend",), _set_blend),
    "stickiness": (("stickiness",), _set_stickiness),
    "promote": (("version",), _promote),
    "rollback": ((), _roll_back),
    "undo": ((), _nothing),
}


def read_revision(request: Any) -> str:
    """What a write was based on.    :raises Problem: it does not say."""
    value = request.getHeader(b"If-Match")
    if value is None:
        raise Problem(428, "if-match-needed", 'If-Match is missing; give the revision that was seen: If-Match: "…"')
    matched = _REVISION.match(value.decode("latin-1").strip())
    if matched is None:
        raise Problem(
            428, "if-match-needed", "If-Match must be one revision in double quotes, as the status' ETag has it"
        )
    return matched[1]
