"""
rollout.shown: settings and versions as values fit for JSON, the same from the settings port and from the command. Pure.

Read by `admin.view` and `cli.words`.
"""

from __future__ import annotations

from typing import Any

from rolling_router.rollout.choices import Choice
from rolling_router.rollout.keys import parse_path
from rolling_router.rollout.model import Role, Snapshot
from rolling_router.rollout.standing import Texts


def setting_values(texts: Texts) -> dict[str, Any]:
    """The four settings as they are written. What cannot be read is shown as ``{"text": …}``."""
    return {
        "stable": _version(texts.stable),
        "candidate": _version(texts.candidate),
        "blend": _blend(texts.blend),
        "stickiness": {"text": None} if texts.stickiness is None else stickiness_word(texts.stickiness),
    }


def _version(text: str | None) -> Any:
    if text is None:
        return {"text": None}
    try:
        path = parse_path(text)
    except ValueError:
        return {"text": text}
    return None if path is None else {"version": path[0], "port": path[1]}


def _blend(text: str | None) -> Any:
    word = "" if text is None else text.strip()
    return int(word) if word.isascii() and word.isdigit() and len(word) <= 3 and int(word) <= 100 else {"text": text}


def stickiness_word(text: str) -> str:
    """``off``, ``on`` or a strategy's name."""
    word = text.strip()
    return {"0": "off", "1": "on"}.get(word, word)


def choice_value(choice: Choice, snapshot: Snapshot | None) -> dict[str, Any]:
    """A version that can be chosen."""
    return {
        "version": choice.id,
        "name": choice.name,
        "port": choice.port,
        "instances": choice.instances,
        "ready": choice.is_ready,
        "role": role_of(choice, snapshot),
    }


def role_of(choice: Choice, snapshot: Snapshot | None) -> str | None:
    """The word of the role that it plays."""
    for role in Role:
        version = None if snapshot is None else snapshot.version(role)
        if version is not None and version.id == choice.id and choice.port in (None, version.port):
            return role.word
    return None
