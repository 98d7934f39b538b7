"""contract: what every strategy and every store passes, shipped or not. Copy it next to a plugin's own tests."""

from __future__ import annotations

import itertools
import os
import re
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from typing import Any

import attrs
import pytest
from twisted.plugin import IPlugin
from zope.interface.verify import verifyObject

from rolling_router.interfaces import (
    Instance,
    IStrategy,
    IStrategyPlugin,
    Pin,
    SettingError,
    Split,
    Version,
)

# Strategies


@attrs.frozen
class FakeClient:
    """A client as strategies see it, and as much of a browser as it takes to keep what it is told."""

    address: str = "192.0.2.7"
    is_secure: bool = False
    method: bytes = b"GET"
    target: bytes = b"/"
    headers: Sequence[tuple[bytes, bytes]] = ()
    cookies: Sequence[tuple[bytes, bytes]] = ()

    def cookie(self, name: bytes) -> Sequence[bytes]:
        return [value for its_name, value in self.cookies if its_name == name]

    def told(self, headers: Sequence[tuple[bytes, bytes]]) -> FakeClient:
        """The same client, after an answer with these header fields."""
        kept = dict(self.cookies)
        for field, text in headers:
            if field.lower() == b"set-cookie":
                name, _, value = text.partition(b";")[0].partition(b"=")
                kept[name] = value
        return attrs.evolve(self, cookies=tuple(kept.items()))


APP = "shop"
STABLE = Version("shop-20261123-101500", 8080, (Instance("10.0.0.1", 32768), Instance("10.0.0.2", 32768)))
CANDIDATE = Version("shop-20261124-090000", 8080, (Instance("10.0.0.1", 32769), Instance("app_3.internal", 80)))
SPLITS = {
    "both": Split(APP, STABLE, CANDIDATE, 50),
    "no candidate": Split(APP, STABLE, None, 0),
    "no stable": Split(APP, None, CANDIDATE, 100),
    "no version": Split(APP, None, None, 50),
    "no instances": Split(APP, attrs.evolve(STABLE, instances=()), attrs.evolve(CANDIDATE, instances=()), 50),
    "one version in both roles": Split(APP, STABLE, STABLE, 50),
    "odd names": Split(APP, Version("\ud800 ü-\0", 1, (Instance("fe80::1", 1),)), CANDIDATE, 1),
}
HOSTILE = [
    b"",
    b".",
    b"=",
    b'"',
    b"\x00" * 17,
    b"\xff\xfe" * 9,
    b"A" * 12,
    b"AAAAAAAAAAAA.AAAA",
    b"A" * 100_000,
    "ü€𝄞".encode(),
    b"../../etc/passwd",
    b"%00%0d%0a",
    b"-1",
    b"1e999",
]


class StrategyContract:
    """
    What every strategy passes. Inherit it in a test class (``class TestMine(StrategyContract)``) and set the plugin.

    :cvar plugin: the object that the drop-in holds.    :cvar options: what it cannot be made without.
    """

    plugin: Any
    options: Mapping[str, str] = {}

    def make(self) -> Any:
        return self.plugin.make(APP, self.options)

    def test_plugin_and_strategy_provide_their_interfaces(self):
        assert verifyObject(IPlugin, self.plugin)
        assert verifyObject(IStrategyPlugin, self.plugin)
        assert verifyObject(IStrategy, self.make())
        assert re.fullmatch(r"[a-z][a-z0-9-]*", self.plugin.name), "it is written in NAME:key=value,key=value"
        assert re.fullmatch(r".+", self.plugin.description), "one line, for --help"

    def test_private_cookies_are_names_in_bytes(self):
        assert all(isinstance(name, bytes) and name for name in self.make().private_cookies)

    @pytest.mark.parametrize("split", SPLITS.values(), ids=SPLITS)
    def test_an_unknown_client_is_left_to_the_blend_or_pinned_within_the_split(self, split):
        _check_pin(self.make().recall(FakeClient(), split), split)

    @pytest.mark.parametrize("split", SPLITS.values(), ids=SPLITS)
    def test_what_is_remembered_is_recalled_by_any_router(self, split):
        here, elsewhere = self.make(), self.make()
        for pin, is_secure in itertools.product(_pins(split), (False, True)):
            client = FakeClient(is_secure=is_secure)
            headers = here.remember(client, split, pin)
            if not headers:
                continue  # a strategy need not tell its clients anything
            assert here.recall(client.told(headers), split) == pin
            assert elsewhere.recall(client.told(headers), attrs.evolve(split)) == pin

    @pytest.mark.parametrize("split", SPLITS.values(), ids=SPLITS)
    def test_what_is_told_is_whole_header_fields(self, split):
        strategy = self.make()
        for pin in _pins(split):
            for field, text in strategy.remember(FakeClient(), split, pin):
                assert re.fullmatch(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+", field)
                assert re.fullmatch(rb"[\x20-\x7e]+", text)
                if field.lower() == b"set-cookie":
                    assert text.partition(b"=")[0] in strategy.private_cookies

    def test_a_pin_from_another_split_is_no_error(self):
        strategy = self.make()
        gone = Pin(Version("shop-gone", 8080, (Instance("10.9.9.9", 1),)), Instance("10.9.9.9", 1))
        new_instance = Pin(STABLE, Instance("10.9.9.9", 1))
        for split, pin in itertools.product(SPLITS.values(), (gone, new_instance)):
            client = FakeClient().told(strategy.remember(FakeClient(), split, pin))
            _check_pin(strategy.recall(client, split), split)

    @pytest.mark.parametrize("split", SPLITS.values(), ids=SPLITS)
    def test_hostile_cookies_and_addresses_never_raise(self, split):
        strategy = self.make()
        for name, value in itertools.product([*strategy.private_cookies, b"other"], HOSTILE):
            client = FakeClient(cookies=((name, value), (name, value + b"x")))
            _check_pin(strategy.recall(client, split), split)
        for value in HOSTILE:
            _check_pin(strategy.recall(FakeClient(address=value.decode("latin-1")), split), split)

    def test_answers_at_once(self):
        strategy, split = self.make(), SPLITS["both"]
        client = FakeClient()
        client = client.told(strategy.remember(client, split, Pin(STABLE, STABLE.instances[0])))
        begun = time.perf_counter()
        for _ in range(1000):
            strategy.recall(client, split)
        assert time.perf_counter() - begun < 1.0, "1 ms a call is far too long: it is made for every request"

    def test_an_unknown_option_is_refused_by_name(self):
        with pytest.raises(SettingError, match="no-such-option"):
            self.plugin.make(APP, {**self.options, "no-such-option": "1"})

    def test_its_module_does_not_install_a_reactor(self):
        code = f"import sys, {type(self.plugin).__module__}; sys.exit('twisted.internet.reactor' in sys.modules)"
        path = os.pathsep.join(filter(None, sys.path))
        ended = subprocess.run([sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": path}, check=False)
        assert ended.returncode == 0


def _pins(split: Split) -> list[Pin]:
    versions = [version for version in (split.stable, split.candidate) if version is not None]
    return [Pin(version, instance) for version in versions for instance in (None, *version.instances)]


def _check_pin(pin: Pin | None, split: Split) -> None:
    if pin is not None:
        assert isinstance(pin, Pin), "a plain answer: nothing waits for a Deferred or a coroutine here"
        assert pin in _pins(split)
