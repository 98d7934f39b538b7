"""rollouts: short ways to write versions, snapshots, clients and strategies in tests of routing."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import attrs
from zope.interface import implementer

from rolling_router.interfaces import Client, IStrategy, Pin, Split
from rolling_router.rollout.model import Instance, Snapshot, Version
from rolling_router.routing.router import Router

APP = "shop"


def version(name: str, count: int = 1) -> Version:
    """A version of `count` instances, which no other version shares."""
    return Version(name, 8080, tuple(Instance(f"{name}.test", 1000 + at) for at in range(count)))


STABLE = version("old", 2)
CANDIDATE = version("new", 2)


def snapshot(blend: int = 50, stickiness: str | None = None, **changes: Any) -> Snapshot:
    """Two versions of two instances each, unless `changes` say otherwise."""
    versions = {"stable": STABLE, "candidate": CANDIDATE}
    return Snapshot(APP, blend=blend, stickiness=stickiness, **{**versions, **changes})


@attrs.frozen
class Visitor:
    """A client as strategies see it."""

    address: str = "192.0.2.7"
    is_secure: bool = False
    method: bytes = b"GET"
    target: bytes = b"/"
    headers: Sequence[tuple[bytes, bytes]] = ()
    cookies: tuple[tuple[bytes, bytes], ...] = ()

    def cookie(self, name: bytes) -> Sequence[bytes]:
        return [value for its_name, value in self.cookies if its_name == name]

    def told(self, headers: Sequence[tuple[bytes, bytes]]) -> Visitor:
        """The same client after an answer with these header fields."""
        kept = dict(self.cookies)
        for _, text in headers:
            name, _, value = text.partition(b";")[0].partition(b"=")
            kept[name] = value
        return attrs.evolve(self, cookies=tuple(kept.items()))


@implementer(IStrategy)
class Named:
    """A strategy that recalls what the test says, and remembers on a list."""

    private_cookies: Sequence[bytes] = (b"named",)

    def __init__(self, recall: Callable[[Client, Split], Pin | None] = lambda client, split: None) -> None:
        self._recall = recall
        self.remembered: list[Pin] = []

    def recall(self, client: Client, split: Split) -> Pin | None:
        return self._recall(client, split)

    def remember(self, client: Client, split: Split, pin: Pin) -> Sequence[tuple[bytes, bytes]]:
        self.remembered.append(pin)
        return [(b"Set-Cookie", b"named=%d" % len(self.remembered))]


def router(first: Snapshot, **strategies: IStrategy) -> Router:
    made = Router(APP, strategies)
    made.follow(first)
    return made
