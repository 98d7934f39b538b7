"""occs.emulator.faults: what goes wrong, and how slowly the rest goes. Values; set by options and by `control`."""

from __future__ import annotations

import enum
import math
from collections.abc import Mapping
from typing import Any, NoReturn

import attrs

from rolling_router.errors import SettingError


class Missing(enum.Enum):
    """How a key that is not there is told."""

    ARRAY = "array"
    OBJECT = "object"
    NULL = "null"
    EMPTY = "empty"
    NOT_FOUND = "404"


class Outage(enum.Enum):
    """What a door does instead of answering."""

    NONE = "none"
    REFUSE = "refuse"
    ERROR = "500"
    HANG = "hang"


@attrs.frozen
class Faults:
    """
    All that can be set. Times are in seconds.

    :ivar delete_refusals: how many times DELETE of a deployment is refused after each stop.
    :ivar token_seconds: how long a bearer is good; 0 is for ever.
    :ivar node_delay_seconds: how much later a worker node sees a write.
    """

    ready_seconds: float = 0.5
    stop_seconds: float = 2.0
    delete_refusals: int = 0
    missing: Missing = Missing.ARRAY
    token_seconds: float = 0.0
    outage: Outage = Outage.NONE
    node_outage: Outage = Outage.NONE
    latency_seconds: float = 0.0
    node_latency_seconds: float = 0.0
    node_delay_seconds: float = 0.0

    def changed(self, changes: Mapping[str, Any]) -> Faults:
        """
        The same with some of them set otherwise.

        :param changes: name to value, a number or a word, as JSON has them; a text with a number in it will do.
        :raises SettingError: a name is not known, or its value cannot be meant.
        """
        return attrs.evolve(self, **{name: _value(name, value) for name, value in changes.items()})

    def as_json(self) -> dict[str, Any]:
        return attrs.asdict(self, value_serializer=lambda _, __, value: getattr(value, "value", value))


NAMES = tuple(field.name for field in attrs.fields(Faults))

HELP = {
    "ready_seconds": "how long a deployment's containers take to begin",
    "stop_seconds": "how long a container runs on after its discovery keys are gone",
    "delete_refusals": "how many times DELETE is refused after each stop",
    "missing": "how a missing key is told: array, object, null, empty or 404",
    "token_seconds": "how long a bearer token is good; 0 is for ever",
    "outage": "what the manager does instead of answering: none, refuse, 500 or hang",
    "node_outage": "the same of the node endpoint",
    "latency_seconds": "how late the manager answers",
    "node_latency_seconds": "how late the node endpoint answers",
    "node_delay_seconds": "how much later the node endpoint sees a write",
}


def _value(name: str, value: Any) -> Any:
    default = getattr(Faults(), name, None) if name in NAMES else None
    if default is None:
        raise SettingError(f"there is no fault {name!r}; there are: {', '.join(NAMES)}")
    if isinstance(default, enum.Enum):
        words = {one.value: one for one in type(default)}
        return words[str(value)] if str(value) in words else _refuse(name, value, f"one of: {', '.join(words)}")
    whole = isinstance(default, int)
    kind = "a whole number" if whole else "a number of seconds"
    try:
        number = int(str(value)) if whole else float(value)
    except (TypeError, ValueError, OverflowError):
        _refuse(name, value, f"{kind} from 0 on")
    if not 0 <= number <= 1e9 or not math.isfinite(number) or isinstance(value, bool):
        _refuse(name, value, f"{kind} from 0 on")
    return number


def _refuse(name: str, value: Any, would_do: str) -> NoReturn:
    raise SettingError(f"{name.replace('_', '-')} is {value!r}; it must be {would_do}")
