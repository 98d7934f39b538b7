"""
registry: the one place that looks for plugins. Name -> plugin, and a helpful refusal for a name that is not there.

A plugin that cannot be used is named in the log and in refusals, and takes nothing else along.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from importlib import import_module
from typing import Any

import attrs
import twisted.plugins
from twisted.logger import Logger
from twisted.plugin import CachedDropin, getCache
from twisted.python.modules import getModule

from rolling_router.errors import SettingError
from rolling_router.interfaces import IStore, IStorePlugin, IStrategy, IStrategyPlugin, StoreContext

_log = Logger()

_SHIPPED = "twisted.plugins.rolling_router_shipped"


def store_plugins() -> Mapping[str, Any]:
    """The stores that can be used here, by name."""
    return _found(IStorePlugin).plugins


def strategy_plugins() -> Mapping[str, Any]:
    """The strategies that can be used here, by name."""
    return _found(IStrategyPlugin).plugins


def open_store(text: str, context: StoreContext) -> IStore:
    """
    Open what ``--store`` names, e.g. ``file:rollout.json``.

    :raises SettingError: no such scheme, or a location that the plugin refuses.
    """
    scheme, colon, location = text.partition(":")
    if not colon or not location:
        raise SettingError(f"the store is {text!r}; it must be written SCHEME:LOCATION, such as file:rollout.json")
    return _find("store", scheme, _found(IStorePlugin)).open(location, context)


def make_strategy(text: str, app: str) -> tuple[str, IStrategy]:
    """
    Make what ``--strategy`` names, e.g. ``cookie`` or ``cookie:lifetime=86400,name=r``.

    :raises SettingError: no such strategy, or an option that the plugin refuses.
    """
    name, _, rest = text.partition(":")
    return name, _find("strategy", name, _found(IStrategyPlugin)).make(app, _options(text, rest))


def make_strategies(texts: Sequence[str], app: str) -> dict[str, IStrategy]:
    """
    All strategies that ``stickyness`` may name: those of the options first, then every other one that is installed.

    :raises SettingError: one of the options' cannot be made.
    """
    made = dict(make_strategy(text, app) for text in texts)
    for name in strategy_plugins():
        if name not in made:
            try:
                made.update([make_strategy(name, app)])
            except Exception as wrong:  # a third party's plugin that nobody asked for must not stop the start
                _log.warn("strategy {name} cannot be used: {wrong}", name=name, wrong=wrong)
    return made


def _options(text: str, rest: str) -> Mapping[str, str]:
    options: dict[str, str] = {}
    for part in filter(None, rest.split(",")):
        key, equals, value = part.partition("=")
        if not equals or not key.strip():
            raise SettingError(f"the strategy is {text!r}; its options must be written NAME:key=value,key=value")
        options[key.strip()] = value.strip()
    return options


def _find(kind: str, name: str, found: _Found) -> Any:
    try:
        return found.plugins[name]
    except KeyError:
        there = ", ".join(sorted(found.plugins)) or "none; is the package installed?"
        broken = "".join(f"; {one} cannot be used ({why})" for one, why in sorted(found.broken.items()))
        raise SettingError(f"there is no {kind} {name!r}; there are: {there}{broken}") from None


@attrs.frozen
class _Found:
    """
    The plugins of one kind.

    :ivar plugins: by their names.    :ivar broken: what could not even be asked for its name: module -> why.
    """

    plugins: Mapping[str, Any]
    broken: Mapping[str, str]


# What is installed does not change while a process runs, and at each look Twisted logs anew what it cannot import.
@cache
def _found(interface: Any) -> _Found:
    dropins, broken = _dropins()
    broken = dict(broken)
    plugins: dict[str, Any] = {}
    origins: dict[str, str] = {}
    for dropin in dropins:
        for entry in dropin.plugins:
            try:
                # An entry of Twisted's cache imports its drop-in only when it provides what it is asked for.
                plugin = interface(entry, None)
                name = None if plugin is None else plugin.name
            except Exception as wrong:
                broken[dropin.moduleName] = _cannot_be_used(f"{dropin.moduleName}.{entry.name}", wrong)
                continue
            if name is None:
                continue
            if name in plugins:
                _log.warn(
                    "two plugins have the name {name}: the one of {origin} is used, the one of {other} is not",
                    name=name,
                    origin=origins[name],
                    other=dropin.moduleName,
                )
                continue
            plugins[name], origins[name] = plugin, dropin.moduleName
    return _Found(plugins, broken)


@cache
def _dropins() -> tuple[Sequence[CachedDropin], Mapping[str, str]]:
    """All drop-ins in a settled order, ours first; and those that fail to import: module -> why."""
    known = getCache(twisted.plugins)
    broken = {}
    for module in getModule(twisted.plugins.__name__).iterModules():
        if module.name.rpartition(".")[2] not in known:
            # Twisted has logged a traceback, but says nowhere whose. The module's own words are had by trying again.
            try:
                import_module(module.name)
            except (Exception, SystemExit) as wrong:
                broken[module.name] = _cannot_be_used(module.name, wrong)
    return sorted(known.values(), key=lambda one: (one.moduleName != _SHIPPED, one.moduleName)), broken


def _cannot_be_used(name: str, wrong: BaseException) -> str:
    why = f"{type(wrong).__name__}: {wrong}"
    _log.warn("plugin {name} cannot be used: {why}", name=name, why=why)
    return why
