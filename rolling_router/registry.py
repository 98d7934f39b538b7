"""registry: the one caller of `getPlugins`. Name -> plugin, and a helpful refusal for a name that is not there."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import twisted.plugins
from twisted.plugin import getPlugins

from rolling_router.errors import SettingError
from rolling_router.interfaces import IStore, IStorePlugin, IStrategy, IStrategyPlugin, StoreContext


def store_plugins() -> dict[str, Any]:
    """The stores that can be used here, by name. A drop-in that fails to import is logged by Twisted and left out."""
    return _named(IStorePlugin)


def strategy_plugins() -> dict[str, Any]:
    """The strategies that can be used here, by name."""
    return _named(IStrategyPlugin)


def open_store(text: str, context: StoreContext) -> IStore:
    """
    Open what ``--store`` names, e.g. ``file:rollout.json``.

    :raises SettingError: no such scheme, or a location that the plugin refuses.
    """
    scheme, colon, location = text.partition(":")
    if not colon or not location:
        raise SettingError(f"the store is {text!r}; it must be written SCHEME:LOCATION, such as file:rollout.json")
    return _find("store", scheme, store_plugins()).open(location, context)


def make_strategy(text: str, app: str) -> tuple[str, IStrategy]:
    """
    Make what ``--strategy`` names, e.g. ``cookie`` or ``cookie:lifetime=86400,name=r``.

    :raises SettingError: no such strategy, or an option that the plugin refuses.
    """
    name, _, rest = text.partition(":")
    return name, _find("strategy", name, strategy_plugins()).make(app, _options(text, rest))


def _options(text: str, rest: str) -> Mapping[str, str]:
    options: dict[str, str] = {}
    for part in filter(None, rest.split(",")):
        key, equals, value = part.partition("=")
        if not equals or not key.strip():
            raise SettingError(f"the strategy is {text!r}; its options must be written NAME:key=value,key=value")
        options[key.strip()] = value.strip()
    return options


def _find(kind: str, name: str, known: Mapping[str, Any]) -> Any:
    try:
        return known[name]
    except KeyError:
        there = ", ".join(sorted(known)) or "none; is the package installed?"
        raise SettingError(f"there is no {kind} {name!r}; there are: {there}") from None


def _named(interface: Any) -> dict[str, Any]:
    found: dict[str, Any] = {}
    # Drop-ins provide IPlugin as well as the door's interface; getPlugins asks for the latter by adapting.
    for plugin in getPlugins(interface, twisted.plugins):
        found.setdefault(plugin.name, plugin)
    return found


