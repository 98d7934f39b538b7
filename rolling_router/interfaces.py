"""
interfaces: the doors through which strategies and stores come in. All that a plugin's author needs, besides the
values of `rolling_router.rollout.model` that plugins are handed.

A plugin is an object that provides `IStrategyPlugin` or `IStorePlugin`, put into a module of the namespace folder
``twisted/plugins/`` of any installed distribution. `rolling_router.registry` finds it by its name.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import attrs
from twisted.internet.defer import Deferred
from zope.interface import Attribute, Interface

from rolling_router.errors import Conflict, RouterError, SettingError, StoreLost
from rolling_router.rollout.model import Instance, Problem, Role, Snapshot, Version

__all__ = [
    "Client",
    "Conflict",
    "IStore",
    "IStorePlugin",
    "IStrategy",
    "IStrategyPlugin",
    "IVersionLister",
    "Instance",
    "KnownVersion",
    "Pin",
    "Problem",
    "Reading",
    "Role",
    "RouterError",
    "SettingError",
    "Snapshot",
    "Split",
    "StoreContext",
    "StoreLost",
    "Version",
]


# Strategies


class Client(Protocol):
    """
    What is known of the client that sent a request. Read only.

    :ivar address: its IP address in text; taken from ``X-Forwarded-For`` only where the peer is a trusted proxy,
        and empty where there is none (a unix socket).
    :ivar is_secure: whether it came by TLS, by our own or by a trusted proxy's word.
    :ivar method: e.g. ``b"GET"``.    :ivar target: the request target as it came, e.g. ``b"/shop?page=2"``.
    :ivar headers: all header fields as pairs of bytes, in the order and case in which they came, without those that
        concern one connection only (``Connection`` and what it names) and without ``Cookie``.
    """

    address: str
    is_secure: bool
    method: bytes
    target: bytes

    @property
    def headers(self) -> Sequence[tuple[bytes, bytes]]: ...

    def cookie(self, name: bytes) -> Sequence[bytes]:
        """All values under this cookie name, in the order in which they came; usually none or one."""


@attrs.frozen
class Split:
    """How the traffic is to be divided. The same object as long as nothing of it changes, so it can key a cache."""

    app: str
    stable: Version | None
    candidate: Version | None
    blend: int


@attrs.frozen
class Pin:
    """The version, and if possible the instance in it, on which a client is to stay."""

    version: Version
    instance: Instance | None = None


class IStrategy(Interface):
    """
    Whether and how a client stays on the version that it first reached.

    Made once per process. Its methods are called while a request waits, so they answer at once, without I/O;
    whatever they raise is logged, and the request is then placed by the blend alone.
    """

    private_cookies = Attribute(
        "``Sequence[bytes]``: names of the cookies that are this strategy's own. Instances never see them."
    )

    def recall(client: Client, split: Split) -> Pin | None:
        """
        Say where this client belongs; ``None`` means "you choose", and the blend decides.

        Called once per request. A pin whose version has no role, has none of the traffic (the candidate at blend 0,
        stable at blend 100) or has no instance that can serve is not followed.
        """

    def remember(client: Client, split: Split, pin: Pin) -> Sequence[tuple[bytes, bytes]]:
        """
        Say what to tell the client, as header fields of the answer, so that `recall` gives this pin next time.

        Called only when a request was served elsewhere than `recall` had said, and only for answers that come from
        an instance and that no shared cache may keep.
        """


class IStrategyPlugin(Interface):
    """Makes a strategy. The object that a drop-in in ``twisted/plugins/`` holds."""

    name = Attribute("``str``: what one writes in ``--strategy`` or in the key ``stickyness``, e.g. ``cookie``.")
    description = Attribute("``str``: one line for ``--help``.")

    def make(app: str, options: Mapping[str, str]) -> IStrategy:
        """
        :param options: from ``--strategy NAME:key=value,key=value``.
        :raises SettingError: an option that is unknown or cannot be used; the text names it and what would do.
        """


# Stores


@attrs.frozen
class Reading:
    """
    What a store held at one moment.

    :ivar revision: changes with every change of the store; ``None`` from a store that cannot tell.
    """

    keys: Mapping[str, str]
    revision: str | None = None


@attrs.frozen
class StoreContext:
    """
    What a store may need of the process that opens it.

    :ivar reactor: clock, connections and file descriptors; hand it on, never import the global one.
    :ivar app: the app whose keys will be asked for.    :ivar environ: where secrets come from.
    """

    reactor: Any
    app: str
    environ: Mapping[str, str]


class IStore(Interface):
    """
    Where the rolling keys live. One instance per process, from start to stop.

    Every Deferred fires, with a value or a failure, within 10 seconds, and may be cancelled.
    """

    description = Attribute("``str``: where it is, for logs and the status; holds no secret.")
    is_atomic = Attribute("``bool``: whether readers see a `put` of several keys whole or not at all.")

    def read(prefixes: Sequence[str]) -> Deferred[Reading]:
        """
        Read all keys that begin with one of these prefixes. Missing keys are simply not there.

        Called by `rollout.watcher`, at the start and after each sign of a change; never while a request waits.

        :raises StoreLost: (as a Failure) no usable answer: unreachable, refused, or unreadable. The text says where
            and why, and shows no secret.
        """

    def put(changes: Mapping[str, str | None], expected: Mapping[str, str | None]) -> Deferred[None]:
        """
        Write several keys, as one change if `is_atomic`, else in the order given.

        :param changes: key to new text; ``None`` removes the key, and removing an absent key is no error.
        :param expected: nothing is written unless each of these keys has this text (``None``: is absent).
        :returns: fires when the store has accepted the change.
        :raises Conflict: (as a Failure) an expectation did not hold; nothing was written.
        :raises SettingError: (as a Failure) it has not been set up to be written; the text says what is wanting.
        :raises StoreLost: (as a Failure) no answer; the change may or may not have happened, so read before retrying.
        """

    def watch(changed: Callable[[], None]) -> None:
        """
        Call `changed` soon after every change of the store, and whenever it cannot be ruled out that there was one.

        Called once. A call is a hint to read again: it may come too often, but never too seldom. A store that cannot
        be reached calls from time to time, so that the reader learns when it is back.
        """

    def close() -> Deferred[None]:
        """Stop watching and let go of everything; fires when that is over. Called once, last."""


@attrs.frozen
class KnownVersion:
    """
    A version that a store knows of, whether it runs or not.

    :ivar id: what its path names, e.g. ``shop-20261123-101500``.    :ivar name: for people; may be the id again.
    :ivar port: the port inside its containers; ``None`` where the store cannot tell.
    :ivar is_ready: whether all of it runs as wanted; ``None`` where the store cannot tell.
    """

    id: str
    name: str
    port: int | None = None
    is_ready: bool | None = None


class IVersionLister(Interface):
    """
    A further door of a store that knows which versions of an app could be chosen, such as a deployments' list.

    Optional: declare it beside `IStore`, on the same object. Of other stores, `rollout.control` takes the versions that
    have instances below ``apps/``.
    """

    def versions() -> Deferred[Sequence[KnownVersion]]:
        """
        Tell all versions that could be chosen, in the order in which people are to see them.

        Called by `rollout.control` when somebody looks at the choice, or changes a version; never while a request
        waits. What it tells is added to what is found below ``apps/``.

        :raises StoreLost: (as a Failure) no usable answer; as for `IStore.read`.
        """


class IStorePlugin(Interface):
    """Opens a store. The object that a drop-in in ``twisted/plugins/`` holds."""

    name = Attribute("``str``: the scheme that one writes in ``--store``, e.g. ``file`` in ``file:rollout.json``.")
    description = Attribute("``str``: one line for ``--help``.")

    def open(location: str, context: StoreContext) -> IStore:
        """
        :param location: what follows the scheme and its colon in ``--store``.
        :raises SettingError: the location cannot be meant; a store that is merely away is opened all the same.
        """
