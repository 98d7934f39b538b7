"""admin.identity: who somebody is on the settings port, and what that allows. Made by `tokens`, `sign_in`."""

from __future__ import annotations

import enum
from typing import Any

import attrs


class Rights(enum.Enum):
    """What a token or a session allows."""

    VIEWER = "viewer"
    OPERATOR = "operator"


@attrs.frozen
class Identity:
    """
    :ivar name: for the history and the log.
    :ivar token: fingerprint of the router's token that was shown; ``None`` for an OCCS sign-in.
    :ivar control: what this person's changes go through (a `rollout.control.Control`), where they brought a store of
        their own along; ``None``: the router's.
    :ivar port: the container port that was entered at the sign-in.
    """

    name: str
    rights: Rights
    token: str | None = None
    control: Any = attrs.field(default=None, repr=False, eq=False)
    port: int | None = None

    @property
    def is_operator(self) -> bool:
        return self.rights is Rights.OPERATOR
