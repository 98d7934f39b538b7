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
import pytest_twisted
from twisted.internet.defer import Deferred, DeferredList, succeed
from twisted.internet.task import deferLater
from twisted.plugin import IPlugin
from zope.interface.verify import verifyObject

from rolling_router.interfaces import (
    Conflict,
    Instance,
    IStore,
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
        begun = time.process_time()  # a busy machine may take longer
        for _ in range(1000):
            strategy.recall(client, split)
        assert time.process_time() - begun < 1.0, "1 ms a call is far too long: it is made for every request"

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


# Stores

PATH = "apps/app-shop-20261123-101500-8080/containers"
KEYS = {
    "rolling/null": "-",
    "rolling/shop/stable/id": PATH,
    "rolling/shop/candidate/id": "rolling/null",
    "rolling/shop/blendpercent": "0",
    "rolling/shop/stickyness": "1",
    f"{PATH}/a": "10.0.0.1:32768",
    f"{PATH}/b": "10.0.0.2:32768",
}


class StoreContract:
    """
    What every store passes. Inherit it in a test class and give it two fixtures (``pytest_twisted`` may await):

    ``store``: an open `IStore` on a place of its own that holds no keys yet; the fixture closes it at the end, unless
    ``store.close`` was called. ``other``: a second `IStore` on the same place, as another router opens it.

    :cvar hint_seconds: how soon at the latest a watching store tells of a change.
    """

    hint_seconds = 10.0

    def test_the_store_provides_its_interface(self, store):
        assert verifyObject(IStore, store)
        assert isinstance(store.description, str)
        assert store.description
        assert store.is_atomic in (True, False)

    @pytest_twisted.ensureDeferred
    async def test_what_is_put_is_read_by_this_router_and_any_other(self, store, other):
        await store.put(KEYS, {})
        for one in (store, other):
            assert dict((await one.read(["rolling/", "apps/"])).keys) == KEYS

    @pytest_twisted.ensureDeferred
    async def test_only_keys_below_the_prefixes_are_read(self, store):
        await store.put({**KEYS, "rolling/shop2/blendpercent": "1"}, {})
        reading = await store.read(["rolling/shop/", f"{PATH}/", "apps/app-gone-1/containers/"])
        assert dict(reading.keys) == {key: text for key, text in KEYS.items() if key != "rolling/null"}

    @pytest_twisted.ensureDeferred
    async def test_no_prefix_and_overlapping_prefixes_are_no_trouble(self, store):
        await store.put(KEYS, {})
        assert dict((await store.read([])).keys) == {}
        assert dict((await store.read(["rolling/", "rolling/shop/", "apps/"])).keys) == KEYS

    @pytest_twisted.ensureDeferred
    async def test_none_removes_a_key_that_is_there_or_not(self, store):
        await store.put(KEYS, {})
        await store.put({f"{PATH}/a": None, f"{PATH}/never": None, "rolling/shop/blendpercent": "20"}, {})
        keys = (await store.read(["rolling/shop/", f"{PATH}/"])).keys
        assert f"{PATH}/a" not in keys
        assert keys[f"{PATH}/b"] == "10.0.0.2:32768"
        assert keys["rolling/shop/blendpercent"] == "20"

    @pytest_twisted.ensureDeferred
    async def test_a_put_that_expects_what_is_there_is_accepted(self, store):
        await store.put(KEYS, {"rolling/shop/stable/id": None})
        await store.put({"rolling/shop/blendpercent": "20"}, {"rolling/shop/blendpercent": "0", "rolling/none": None})
        assert (await store.read(["rolling/shop/blend"])).keys == {"rolling/shop/blendpercent": "20"}

    @pytest.mark.parametrize(
        "wrong",
        [{"rolling/shop/blendpercent": "1"}, {"rolling/shop/blendpercent": None}, {"rolling/none": "x"}],
        ids=["other text", "there, not absent", "absent, not there"],
    )
    @pytest_twisted.ensureDeferred
    async def test_a_put_that_expects_something_else_writes_nothing(self, store, wrong):
        await store.put(KEYS, {})
        with pytest.raises(Conflict, match=next(iter(wrong))):
            await store.put({"rolling/null": None, "rolling/shop/stickyness": "0"}, wrong)
        assert dict((await store.read(["rolling/", "apps/"])).keys) == KEYS

    @pytest_twisted.ensureDeferred
    async def test_a_revision_if_there_is_one_changes_with_the_keys_only(self, store):
        await store.put(KEYS, {})
        first, again = await store.read(["rolling/"]), await store.read(["rolling/"])
        await store.put({"rolling/shop/blendpercent": "20"}, {})
        changed = await store.read(["rolling/"])
        if first.revision is not None:
            assert first.revision == again.revision != changed.revision

    @pytest_twisted.ensureDeferred
    async def test_a_change_by_another_router_is_hinted_at(self, store, other):
        await store.put(KEYS, {})
        seen = _Hints(store)
        for blend in ("10", "20"):
            await other.put({"rolling/shop/blendpercent": blend}, {})
            while True:
                count = seen.count
                if (await store.read(["rolling/shop/blend"])).keys == {"rolling/shop/blendpercent": blend}:
                    break
                await seen.more_than(count, self.hint_seconds)

    @pytest_twisted.ensureDeferred
    async def test_close_ends_everything(self, store, other):
        from twisted.internet import reactor

        before = _at_work(reactor)
        await store.put(KEYS, {})
        seen = _Hints(store)
        reading = store.read(["rolling/"])
        await store.close()
        reading.addErrback(lambda reason: None)  # it may end either way, but it must end
        await reading
        assert _at_work(reactor) <= before
        count = seen.count
        await other.put({"rolling/shop/blendpercent": "99"}, {})
        await deferLater(reactor, 0.2)
        assert seen.count == count

    @pytest_twisted.ensureDeferred
    async def test_a_read_can_be_cancelled(self, store):
        reading = store.read(["rolling/"])
        reading.addErrback(lambda reason: None)
        reading.cancel()
        await reading

    @pytest_twisted.ensureDeferred
    async def test_an_atomic_store_never_shows_half_a_change(self, store, other):
        if not store.is_atomic:
            pytest.skip("this store does not claim to be atomic")
        both = ["rolling/shop/stable/id", "rolling/shop/candidate/id"]
        await store.put(dict.fromkeys(both, "0"), {})
        for turn in range(1, 30):
            written = other.put(dict.fromkeys(both, str(turn)), {})
            while not written.called:
                keys = (await store.read(["rolling/shop/"])).keys
                assert len({keys[key] for key in both}) == 1
            await written

    @pytest_twisted.ensureDeferred
    async def test_an_atomic_store_lets_one_of_two_conditional_writers_win(self, store, other):
        if not store.is_atomic:
            pytest.skip("this store does not claim to be atomic")
        await store.put(KEYS, {})
        for turn in range(10):
            expected = {"rolling/shop/blendpercent": str(turn)}
            changes = {"rolling/shop/blendpercent": str(turn + 1)}
            puts = [one.put({**changes, "rolling/by": name}, expected) for name, one in (("a", store), ("b", other))]
            results = await DeferredList(puts, consumeErrors=True)
            assert sorted(is_ok for is_ok, _ in results) == [False, True]
            assert all(is_ok or reason.check(Conflict) for is_ok, reason in results)


class _Hints:
    """Counts a store's hints, and waits for more."""

    def __init__(self, store: Any) -> None:
        self.count = 0
        self._waiting: Deferred[None] | None = None
        store.watch(self._changed)

    def _changed(self) -> None:
        self.count += 1
        waiting, self._waiting = self._waiting, None
        if waiting is not None:
            waiting.callback(None)

    def more_than(self, count: int, seconds: float) -> Deferred[None]:
        from twisted.internet import reactor

        if self.count > count:
            return succeed(None)
        self._waiting = Deferred()
        return self._waiting.addTimeout(seconds, reactor)


def _at_work(reactor: Any) -> set[Any]:
    """The waits and the file descriptors of this moment."""
    return {*reactor.getDelayedCalls(), *reactor.getReaders(), *reactor.getWriters()}
