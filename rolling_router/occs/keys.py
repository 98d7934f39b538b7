"""
occs.keys: the platform's key-value store, through the manager or through a node. Called by the store plugin.

The rule on what is not there: 404, ``null``, ``[]`` and ``{}`` mean *missing*; so does an empty answer for one key, but
for a recursive read it means *lost*. Everything else that cannot be understood is *lost*, never *missing*.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping, Sequence
from typing import Any

from rolling_router.errors import StoreLost
from rolling_router.occs.calls import PATIENCE, Answer, Calls, Patience

Form = tuple[str, ...]
"""The segments of a path before those of the key."""

MANAGER_FORMS: Sequence[Form] = (("api", "kv"),)
NODE_FORMS: Sequence[Form] = (("v1", "kv"), ("api", "kv"))
"""confd knows the first, scripts know the second; which of them a node has is found by asking."""


class Keys:
    """Key -> text. A value that is no UTF-8 is shown with replacement characters."""

    def __init__(self, calls: Calls, forms: Sequence[Form] = MANAGER_FORMS) -> None:
        self._calls = calls
        self._forms = list(forms)  # the one that worked last comes first

    async def get(self, key: str, patience: Patience = PATIENCE) -> str | None:
        """
        One key's text; ``None``: missing.

        :raises StoreLost: no usable answer.
        """
        found = await self._read(key, None, patience)
        return next(iter(found.values()), None)

    async def below(self, prefix: str, patience: Patience = PATIENCE) -> Mapping[str, str]:
        """
        All keys that begin with `prefix`, with their texts; one call.

        :raises StoreLost: no usable answer.
        """
        found = await self._read(prefix, "recurse", patience)
        return {key: text for key, text in found.items() if key.startswith(prefix)}

    async def put(self, key: str, text: str) -> None:
        """:raises StoreLost: it may or may not have been written."""
        answer = await self._calls.ask("PUT", self._path(key), body=text.encode())
        if not answer.is_ok or answer.json() is not True:
            raise answer.odd("not with true; look whether keys can be written there")

    async def delete(self, key: str) -> None:
        """
        Remove a key, there or not.

        :raises StoreLost: it may or may not have been removed.
        """
        answer = await self._calls.ask("DELETE", self._path(key))
        if not answer.is_ok and answer.status != 404:
            raise answer.odd("the key was not removed")

    def _path(self, key: str) -> list[str]:
        return [*self._forms[0], *key.split("/")]

    async def _read(self, key: str, query: str | None, patience: Patience) -> dict[str, str]:
        trouble: StoreLost | None = None
        for form in tuple(self._forms):
            path = [*form, *key.split("/")]
            answer = await self._calls.ask("GET", path, query=query, patience=patience)
            if answer.status == 404:
                continue  # the key is missing, or this form is not known there: another form may tell
            try:
                found = _elements(answer, is_recursive=query is not None)
            except StoreLost as wrong:
                trouble = trouble or wrong
                continue
            self._forms.sort(key=lambda one: one != form)
            return found
        if trouble is not None:
            raise trouble
        return {}


def _elements(answer: Answer, is_recursive: bool) -> dict[str, str]:
    """:raises StoreLost: this is not how keys are told."""
    if not answer.is_ok:
        raise answer.odd("no keys")
    if not answer.body.strip():
        if is_recursive:
            raise answer.odd("nothing at all")
        return {}
    found = answer.json()
    if found is None or found in ([], {}):
        return {}
    if not isinstance(found, list):
        raise answer.odd("JSON that is no array of keys")
    try:
        return {_key(one["Key"]): _text(one["Value"]) for one in found}
    except (TypeError, KeyError, AttributeError, binascii.Error, ValueError):
        raise answer.odd("an array of something else than keys and their values") from None


def _key(key: Any) -> str:
    if not isinstance(key, str):
        raise TypeError(key)
    return key


def _text(value: str | None) -> str:
    # Consul, which this store resembles, tells an empty value as null.
    return "" if value is None else base64.b64decode(value, validate=True).decode("utf-8", "replace")
