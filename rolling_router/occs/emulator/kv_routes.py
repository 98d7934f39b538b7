"""occs.emulator.kv_routes: `/api/kv/KEY` on the manager, that and `/v1/kv/KEY` on a worker node. Shapes only."""

from __future__ import annotations

import base64
from collections.abc import Callable
from typing import Any, Protocol

from rolling_router.occs.emulator.asked import TEXT, Answer, Ask, Refusal, wrong_method
from rolling_router.occs.emulator.faults import Missing
from rolling_router.occs.emulator.keyvalues import Entry, KeyValues

PREFIX = "/api/kv/"
NODE_PREFIXES = (PREFIX, "/v1/kv/")
MOST_BYTES = 512 * 1024
"""What Consul takes as one value."""

_TRUE = Answer(200, b"true", TEXT)


class Readable(Protocol):
    """Either view of the store."""

    def get(self, key: str) -> Entry | None: ...

    def under(self, prefix: str) -> list[tuple[str, Entry]]: ...


def read(ask: Ask, key: str, entries: Readable, missing: Missing) -> Answer:
    """
    Answer a GET.

    :param key: the path behind the prefix; nothing is the root, which is read as if with ``?recurse``.
    :param missing: how a key that is not there is told.
    """
    if ask.is_on("keys"):
        names = [name for name, _ in entries.under(key)]
        return Answer.json(names) if names else _nothing(missing)
    if ask.is_on("recurse") or not key:
        found = entries.under(key)
    else:
        entry = entries.get(key)
        if ask.is_on("raw"):
            return _raw(entry, missing)
        found = [] if entry is None else [(key, entry)]
    return Answer.json([_element(*pair) for pair in found]) if found else _nothing(missing)


def write(ask: Ask, key: str, entries: KeyValues) -> Answer:
    """
    Carry out a PUT or DELETE on the manager.

    :raises Refusal: another method, no key, or too large a value.
    """
    if not key and not ask.is_on("recurse"):
        raise Refusal(400, "the key is missing: write it behind /api/kv/")
    if ask.method == "PUT":
        if len(ask.body) > MOST_BYTES:
            raise Refusal(413, f"the value has {len(ask.body)} bytes; {MOST_BYTES} is the most")
        entries.put(key, ask.body)
    elif ask.method == "DELETE":
        for name in [name for name, _ in entries.under(key)] if ask.is_on("recurse") else [key]:
            entries.remove(name)
    else:
        raise wrong_method(ask)
    return _TRUE


def node_answer(ask: Ask, entries: Readable, missing: Callable[[], Missing]) -> Answer:
    """All that a worker node answers: reading, for everybody, by either form of the path."""
    for prefix in NODE_PREFIXES:
        if ask.path.startswith(prefix):
            if ask.method != "GET":
                raise wrong_method(ask)
            return read(ask, ask.path.removeprefix(prefix), entries, missing())
    raise Refusal(404, "not found")


def _element(key: str, entry: Entry) -> dict[str, Any]:
    return {
        "Key": key,
        "Value": base64.b64encode(entry.value).decode("ascii"),
        "Flags": 0,
        "CreateIndex": entry.created,
        "ModifyIndex": entry.modified,
        "LockIndex": 0,
    }


def _raw(entry: Entry | None, missing: Missing) -> Answer:
    if entry is not None:
        return Answer(200, entry.value, TEXT)
    return Answer(404 if missing is Missing.NOT_FOUND else 200, b"", TEXT)


def _nothing(missing: Missing) -> Answer:
    if missing is Missing.NOT_FOUND:
        return Answer(404, b"", TEXT)
    return Answer(200, {Missing.ARRAY: b"[]", Missing.OBJECT: b"{}", Missing.NULL: b"null"}.get(missing, b""))
