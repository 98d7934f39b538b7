"""cli.rollout: from a command's options and environment to a `Control` on the store they name."""

from __future__ import annotations

import random
from argparse import ArgumentParser, Namespace
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import attrs
from twisted.internet.defer import maybeDeferred
from twisted.internet.threads import deferToThreadPool

from rolling_router.cli.command import World
from rolling_router.errors import SettingError
from rolling_router.interfaces import IStore, StoreContext
from rolling_router.options import OPTIONS, STORE_VARIABLES, node_store
from rolling_router.registry import open_store, strategy_plugins
from rolling_router.rollout.control import Control
from rolling_router.rollout.history import History
from rolling_router.rollout.keys import check_app

_KNOWN = {option.name: option for option in OPTIONS}
_OF_STORES = [name for name in STORE_VARIABLES if name != "occs-poll-seconds"]  # nothing is followed here
SHARED = ("app", "store", "state-dir", *_OF_STORES)
"""The options that a command has in common with the router."""
OCCS = "occs:"
"""What names a store whose platform runs deployments."""


def add_rollout_options(parser: ArgumentParser) -> None:
    """``--app``, ``--store``, ``--state-dir`` and those of stores, as the router has them, with their variables."""
    for name in SHARED:
        option = _KNOWN[name]
        variables = " or ".join((option.variable, *option.aliases))
        text = "directory of the history; without it none is kept" if name == "state-dir" else option.help
        how: dict[str, Any] = {"action": "store_true"} if option.is_flag else {"metavar": "TEXT"}
        parser.add_argument(f"--{name}", help=f"{text} [{variables}]", **how)


@attrs.frozen
class Rollout:
    """
    A rollout, opened.

    :ivar store: where it is.    :ivar keys: the store itself.    :ivar environ: what that found in its environment.
    """

    control: Control
    store: str
    keys: IStore
    environ: Mapping[str, str]


@asynccontextmanager
async def opened(arguments: Namespace, world: World, reactor: Any) -> AsyncIterator[Rollout]:
    """
    Open the store that is named, and close it in the end.

    :raises SettingError: something is not named, or cannot be meant.
    """
    app = check_app(_required("app", arguments.app, world))
    named = named_store(arguments, world) or _required("store", None, world)
    environ = _environ(arguments, world)
    store = open_store(named, StoreContext(reactor, app, environ))
    control: Control | None = None
    try:
        strategies = tuple(strategy_plugins())
        state_dir = arguments.state_dir or _KNOWN["state-dir"].text(world.environ)
        aside = partial(deferToThreadPool, reactor, reactor.getThreadPool())
        control = Control(
            app,
            store,
            strategies=strategies,
            default=_default_strategy(world),
            clock=reactor,
            random=random.random,
            history=History(state_dir, app, aside) if state_dir else None,
        )
        yield Rollout(control, store.description, store, environ)
    finally:
        if control is not None:
            await control.settled()
        await maybeDeferred(store.close)


def named_store(arguments: Namespace, world: World) -> str | None:
    """What is to be opened, if anybody says so."""
    named: str | None = arguments.store or _KNOWN["store"].text(world.environ) or node_store(world.environ)
    return named


def _environ(arguments: Namespace, world: World) -> dict[str, str]:
    """What a store finds in the environment: what is there, and its options by the variables that it knows."""
    environ = dict(world.environ)
    for name in _OF_STORES:
        option, typed = _KNOWN[name], getattr(arguments, name.replace("-", "_"))
        text = "1" if typed is True else typed or option.text(world.environ)
        if text:
            environ[STORE_VARIABLES[name]] = text
    return environ


def _required(name: str, typed: str | None, world: World) -> str:
    option = _KNOWN[name]
    text = typed or option.text(world.environ)
    if not text:
        variables = " or ".join((option.variable, *option.aliases))
        variables += ", or KV_IP and KV_PORT" if name == "store" else ""
        raise SettingError(f"--{name} is missing; give it, or set {variables}")
    return text


def _default_strategy(world: World) -> str:
    """What stickiness 1 means, as far as this process can know: what the same environment would tell a router."""
    return (_KNOWN["strategy"].text(world.environ) or "cookie").split()[0].partition(":")[0]
