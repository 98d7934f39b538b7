"""occs.emulator.state: what outlives the process, as one JSON file. Read at the start, written after each change."""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import attrs

from rolling_router.errors import SettingError
from rolling_router.occs.emulator.accounts import Secrets
from rolling_router.occs.emulator.keyvalues import Entry

FORMAT = 1


@attrs.frozen
class State:
    """
    All of it.

    :ivar deployments: one mapping for each, as `deployments` writes and reads them.
    """

    secrets: Secrets
    index: int = 0
    keys: Mapping[str, Entry] = attrs.field(factory=dict)
    deployments: Iterable[Mapping[str, Any]] = ()

    def to_bytes(self) -> bytes:
        """For the disk."""
        told = {
            "format": FORMAT,
            "user": self.secrets.user,
            "password": self.secrets.password,
            "bearer": self.secrets.bearer,
            "issued_at": self.secrets.issued_at if math.isfinite(self.secrets.issued_at) else None,
            "index": self.index,
            "keys": {key: _told(entry) for key, entry in sorted(self.keys.items()) if entry.is_lasting},
            "deployments": list(self.deployments),
        }
        # JSON may have half a character in a text, and UTF-8 may not: one such deployment must not spoil all saving.
        return json.dumps(told, indent=1, ensure_ascii=False).encode("utf-8", "surrogatepass") + b"\n"


def load(path: Path) -> State | None:
    """
    What is kept, or ``None``: nothing is yet.

    :raises SettingError: the file is damaged. It is left as it is: to go on without it would lose what it holds.
    """
    try:
        return _parse(json.loads(path.read_bytes()))
    except FileNotFoundError:
        return None
    except json.JSONDecodeError as wrong:
        why = f"line {wrong.lineno}, column {wrong.colno}: {wrong.msg}"
    except OSError as wrong:
        why = wrong.strerror or str(wrong)
    except (ValueError, TypeError, RecursionError) as wrong:
        why = str(wrong)
    except KeyError as wrong:
        why = f"it has no {wrong}"
    raise SettingError(unreadable(path, why))


def unreadable(path: Path, why: str) -> str:
    """One line that says what is wrong with the file, and the mend."""
    return f"{path} cannot be read: {why}; mend it, or move it away to begin with nothing"


def _parse(told: Any) -> State:
    if not isinstance(told, dict):
        raise ValueError("it is not a JSON object")
    if told["format"] != FORMAT:
        raise ValueError(f"its format is {told['format']!r}, and only {FORMAT} is known")
    user, password, bearer = told["user"], told["password"], told["bearer"]
    if not all(isinstance(text, str) and text for text in (user, password, bearer)):
        raise ValueError("user, password and bearer must be texts")
    issued_at = float("-inf") if told["issued_at"] is None else float(told["issued_at"])
    keys, deployments = told["keys"], told["deployments"]
    if not isinstance(keys, dict) or not isinstance(deployments, list):
        raise ValueError("keys must be an object, and deployments a list")
    return State(
        Secrets(user, password, bearer, issued_at),
        int(told["index"]),
        {key: _entry(key, entry) for key, entry in keys.items()},
        deployments,
    )


def _told(entry: Entry) -> dict[str, Any]:
    try:
        value = {"text": entry.value.decode("utf-8")}
    except UnicodeDecodeError:
        value = {"base64": base64.b64encode(entry.value).decode("ascii")}
    return {**value, "created": entry.created, "modified": entry.modified}


def _entry(key: str, told: Any) -> Entry:
    if not isinstance(told, dict) or not isinstance(told.get("text", ""), str):
        raise ValueError(f"the key {key!r} has no text")
    value = told["text"].encode("utf-8") if "text" in told else base64.b64decode(told["base64"], validate=True)
    return Entry(value, int(told["created"]), int(told["modified"]))
