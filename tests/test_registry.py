"""The registry: what it finds, what it says of plugins that cannot be used, and which of two by one name it takes."""

from __future__ import annotations

import sys

import pytest
import twisted.plugins
from twisted.logger import capturedLogs, formatEvent

from rolling_router import registry
from rolling_router.interfaces import SettingError, StoreContext

STRATEGY = """
from rolling_router.interfaces import IStrategyPlugin
from twisted.plugin import IPlugin
from zope.interface import implementer

@implementer(IPlugin, IStrategyPlugin)
class Plugin:
    name = {name!r}
    description = "of a test"
    def make(self, app, options): return {name!r}, app, options

plugin = Plugin()
"""
CONTEXT = StoreContext(None, "shop", {})


@pytest.fixture
def dropin(tmp_path, monkeypatch):
    """Adds a drop-in, by its module's name and text."""

    def add(name, text):
        (tmp_path / f"{name}.py").write_text(text)

    monkeypatch.setattr(twisted.plugins, "__path__", [*twisted.plugins.__path__, str(tmp_path)])
    forget()
    yield add
    forget()
    for path in tmp_path.glob("*.py"):
        sys.modules.pop(f"twisted.plugins.{path.stem}", None)


def forget():
    """Have the registry look anew, as a new process does."""
    registry._found.cache_clear()
    registry._dropins.cache_clear()


def logged(events, *words):
    """The lines of the registry that hold all these words."""
    lines = [formatEvent(event) for event in events if event["log_namespace"] == "rolling_router.registry"]
    return [line for line in lines if all(word in line for word in words)]


def test_the_shipped_plugins_are_found_by_their_names():
    assert registry.store_plugins()["file"].name == "file"
    assert {"cookie", "ip-hash"} <= set(registry.strategy_plugins())


def test_a_plugin_elsewhere_is_found_and_handed_its_options(dropin):
    dropin("acme", STRATEGY.format(name="acme"))
    assert registry.make_strategy("acme", "shop") == ("acme", ("acme", "shop", {}))
    assert registry.make_strategy("acme:a=1, b = x=y,", "shop")[1][2] == {"a": "1", "b": "x=y"}


@pytest.mark.parametrize("text", ["file", "file:", ":x", ""])
def test_a_store_without_scheme_or_location_is_refused(text):
    with pytest.raises(SettingError, match=r"SCHEME:LOCATION|there is no store ''"):
        registry.open_store(text, CONTEXT)


@pytest.mark.parametrize("text", ["cookie:lifetime", "cookie:=1"])
def test_strategy_options_of_another_form_are_refused(text):
    with pytest.raises(SettingError, match="NAME:key=value"):
        registry.make_strategy(text, "shop")


def test_an_unknown_name_is_refused_with_those_that_exist(dropin):
    dropin("acme", STRATEGY.format(name="acme"))
    with pytest.raises(SettingError, match=r"^there is no strategy 'cooky'; there are: acme, cookie, .*ip-hash[^;]*$"):
        registry.make_strategy("cooky", "shop")
    with pytest.raises(SettingError, match=r"^there is no store 'fil'; there are: .*file[^;]*$"):
        registry.open_store("fil:x", CONTEXT)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("import no_such_module", "ModuleNotFoundError: No module named 'no_such_module'"),
        ("def (", "SyntaxError: invalid syntax"),
        ("raise SystemExit(3)", "SystemExit: 3"),
    ],
)
def test_a_dropin_that_fails_to_import_is_named_once_and_breaks_nothing(dropin, text, why):
    dropin("acme_broken", text)
    dropin("acme_sound", STRATEGY.format(name="acme"))
    with capturedLogs() as events:
        assert {"cookie", "ip-hash", "acme"} <= set(registry.strategy_plugins())
        assert "file" in registry.store_plugins()
    assert len(logged(events, "plugin twisted.plugins.acme_broken cannot be used", why)) == 1
    with pytest.raises(SettingError, match=r"; twisted\.plugins\.acme_broken cannot be used \(\w+: "):
        registry.make_strategy("acme-broken", "shop")


def test_a_plugin_without_a_name_is_named_by_its_module(dropin):
    dropin("acme_nameless", STRATEGY.format(name="acme").replace("    name =", "    nome ="))
    with capturedLogs() as events:
        assert {"cookie", "ip-hash"} <= set(registry.strategy_plugins())
    assert logged(events, "plugin twisted.plugins.acme_nameless.plugin cannot be used", "AttributeError")


@pytest.mark.parametrize("module", ["acme", "aaa_before_ours", "zzz_after_ours"])
def test_a_shipped_plugin_keeps_its_name_wherever_the_other_lies(dropin, module):
    dropin(module, STRATEGY.format(name="cookie"))
    with capturedLogs() as events:
        kept = registry.strategy_plugins()["cookie"]
    assert type(kept).__module__ == "rolling_router_plugins.cookie"
    assert logged(events, "the name cookie", f"twisted.plugins.{module}", "twisted.plugins.rolling_router_shipped")


def test_of_two_others_the_first_by_module_name_is_taken(dropin):
    dropin("beta", STRATEGY.format(name="acme"))
    dropin("alpha", STRATEGY.format(name="acme"))
    with capturedLogs() as events:
        assert type(registry.strategy_plugins()["acme"]).__module__ == "twisted.plugins.alpha"
    assert logged(events, "the name acme", "the one of twisted.plugins.alpha is used, the one of twisted.plugins.beta")
