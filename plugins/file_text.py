"""file_text: the file store's text <-> its keys, and where a hand's edit went wrong. Pure; called by `file` alone."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

_SPACE = re.compile(r"[ \t\n\r]*")
_KINDS = {bool: "true or false", float: "a number", list: "a list", dict: "an object", type(None): "null"}
# Every number is of the wrong type here; reading whole ones as floats spares us Python's limit on their digits.
_PAIRS = json.JSONDecoder(object_pairs_hook=list, parse_int=float)
_VALUES = json.JSONDecoder(parse_int=float)


class BadText(ValueError):
    """
    The text is not one flat JSON object of strings. Its own text says why, and what would mend it.

    :ivar line: where, counted from 1.    :ivar column: in characters, counted from 1.
    """

    def __init__(self, why: str, line: int, column: int) -> None:
        super().__init__(why)
        self.line = line
        self.column = column


def parse(content: bytes) -> dict[str, str]:
    """
    Read the whole file's content: UTF-8, with or without a byte order mark.

    :raises BadText: at the first thing that is wrong with it.
    """
    try:
        return _parse(_decode(content))
    except json.JSONDecodeError as wrong:
        why = f"{wrong.msg}; look there and just before for a comma or a quote that is missing or too many"
        raise BadText(why, wrong.lineno, wrong.colno) from None
    except RecursionError:
        raise BadText("it is nested too deeply; it must be one flat object of strings", 1, 1) from None


def render(keys: Mapping[str, str]) -> bytes:
    """Write keys as a person likes to find them: sorted, one on a line, with a newline at the end."""
    text = json.dumps(keys, ensure_ascii=False, indent=2, sort_keys=True) + "\n"
    # Half a surrogate pair has no UTF-8; Python's way to escape it happens to be JSON's.
    return text.encode("utf-8", "backslashreplace")


def _decode(content: bytes) -> str:
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as wrong:
        before = wrong.object[: wrong.start].decode("utf-8")  # the mark is cut off `object` already
        raise _bad_at(before, len(before), "it is not UTF-8 there; save the file as UTF-8") from None


def _parse(text: str) -> dict[str, str]:
    if not text.strip():
        raise BadText("it is empty; write {} for a store without keys", 1, 1)
    pairs = _PAIRS.decode(text)
    if not text.lstrip().startswith("{"):
        raise _bad_at(text, _skip(text, 0), "it must be one object, {...}, with a string for each key")
    keys = dict(pairs)
    if len(keys) < len(pairs) or not all(isinstance(value, str) for value in keys.values()):
        raise _first_wrong_pair(text)
    return keys


def _first_wrong_pair(text: str) -> BadText:
    first_line: dict[str, int] = {}
    for key_at, key, value_at, value in _walk(text):
        if key in first_line:
            why = f"the key {key!r} is there already on line {first_line[key]}; remove one of the two"
            return _bad_at(text, key_at, why)
        if not isinstance(value, str):
            why = f"the value of {key!r} is {_KINDS[type(value)]}; it must be text in double quotes"
            return _bad_at(text, value_at, why)
        first_line[key] = text.count("\n", 0, key_at) + 1
    raise AssertionError("called for a text without fault")


def _walk(text: str) -> Iterator[tuple[int, str, int, Any]]:
    """Go through a sound JSON object: where each key begins, the key, where its value begins, the value."""
    at = _skip(text, _skip(text, 0) + 1)
    while text[at] != "}":
        key, end = _VALUES.raw_decode(text, at)
        value_at = _skip(text, _skip(text, end) + 1)
        value, end = _VALUES.raw_decode(text, value_at)
        yield at, key, value_at, value
        at = _skip(text, end)
        if text[at] == ",":
            at = _skip(text, at + 1)


def _skip(text: str, at: int) -> int:
    matched = _SPACE.match(text, at)
    assert matched is not None  # it matches the empty string
    return matched.end()


def _bad_at(text: str, at: int, why: str) -> BadText:
    return BadText(why, text.count("\n", 0, at) + 1, at - text.rfind("\n", 0, at))
