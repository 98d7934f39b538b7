"""The occs store, against the emulator's process, by the manager and by the node."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import pytest_twisted
from twisted.internet.task import deferLater
from twisted.logger import formatEvent, globalLogPublisher
from twisted.plugin import IPlugin
from zope.interface.verify import verifyObject

from rolling_router import registry
from rolling_router.interfaces import IStorePlugin, IVersionLister, KnownVersion, SettingError, StoreContext, StoreLost
from rolling_router.occs.calls import Refused
from rolling_router.occs.client import OccsClient
from rolling_router.occs.deployments import RUNNING, STOPPED
from rolling_router.occs.token import Token
from rolling_router_plugins.occs import OccsStorePlugin
from tests.contract import StoreContract
from tests.occs import Emulator, deployment, emulating

KEY = "rolling/shop/blendpercent"


@pytest.fixture(scope="module")
def emulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Emulator]:
    with emulating(tmp_path_factory.mktemp("emulator")) as emulator:
        yield emulator


@pytest.fixture(autouse=True)
def _mended(request: pytest.FixtureRequest) -> None:
    """Every test begins without faults and without keys."""
    if "emulator" in request.fixturenames:
        emulator: Emulator = request.getfixturevalue("emulator")
        emulator.control.mend()
        for key in emulator.keys(""):
            emulator.ask("DELETE", f"/api/kv/{key}")


def environ(emulator: Emulator, **more: str) -> dict[str, str]:
    return {"OCCS_API_TOKEN_FILE": str(emulator.token_file), "OCCS_CA": str(emulator.ca_file), **more}


def opened(where: str, environ: dict[str, str]) -> Any:
    from twisted.internet import reactor

    return OccsStorePlugin().open(where, StoreContext(reactor, "shop", environ))


def by_manager(emulator: Emulator) -> Any:
    return opened(emulator.manager, environ(emulator, OCCS_POLL_SECONDS="0.3"))


def by_node(emulator: Emulator) -> Any:
    return opened(emulator.node, environ(emulator, OCCS_POLL_SECONDS="0.3", OCCS_MANAGER=emulator.manager))


class OccsContract(StoreContract):
    open: Any
    # It is not atomic, and does not claim to be.
    test_an_atomic_store_never_shows_half_a_change = None
    test_an_atomic_store_lets_one_of_two_conditional_writers_win = None

    @pytest_twisted.async_yield_fixture
    async def store(self, emulator):
        store = type(self).open(emulator)
        yield store
        await store.close()

    @pytest_twisted.async_yield_fixture
    async def other(self, emulator):
        other = type(self).open(emulator)
        yield other
        await other.close()


class TestByTheManager(OccsContract):
    open = staticmethod(by_manager)


class TestByANode(OccsContract):
    open = staticmethod(by_node)


class TestByANodeThatIsLate(OccsContract):
    open = staticmethod(by_node)

    @pytest.fixture(autouse=True)
    def _late(self, emulator, _mended):
        emulator.control.faults(node_delay_seconds=0.3)


# The plugin


def test_the_plugin_is_found_by_its_name():
    plugin = registry.store_plugins()["occs"]
    assert verifyObject(IPlugin, plugin)
    assert verifyObject(IStorePlugin, plugin)


def test_its_drop_in_loads_neither_a_reactor_nor_an_http_client():
    code = (
        "import sys, rolling_router_plugins.occs;"
        "sys.exit(bool({'twisted.internet.reactor', 'treq', 'twisted.web.client', 'OpenSSL'} & set(sys.modules)))"
    )
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    assert subprocess.run([sys.executable, "-c", code], env=environ, check=False).returncode == 0


def test_opening_loads_no_reactor():
    code = (
        "import sys; from twisted.internet.task import Clock; from rolling_router_plugins.occs import OccsStorePlugin;"
        "from rolling_router.interfaces import StoreContext;"
        "OccsStorePlugin().open('http://127.0.0.1:9', StoreContext(Clock(), 'shop', {}));"
        "sys.exit('twisted.internet.reactor' in sys.modules)"
    )
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    assert subprocess.run([sys.executable, "-c", code], env=environ, check=False).returncode == 0


@pytest.mark.parametrize(
    "location", ["", "10.0.0.1", "ftp://x", "https://x/api", "https://", "https://a:b@x", "http:x"]
)
def test_a_place_that_cannot_be_meant_is_refused(location):
    with pytest.raises(SettingError, match=r"occs:https://10\.0\.0\.1 for a manager") as caught:
        opened(location, {"OCCS_API_TOKEN": "x"})
    assert "a:b" not in str(caught.value)


@pytest.mark.parametrize(
    ("variables", "words"),
    [
        ({}, "wants a token"),
        ({"OCCS_API_TOKEN": "x", "OCCS_POLL_SECONDS": "0.01"}, "OCCS_POLL_SECONDS is '0.01'"),
        ({"OCCS_API_TOKEN": "x", "OCCS_POLL_SECONDS": "often"}, "from 0.1 to 60"),
        ({"OCCS_API_TOKEN": "x", "OCCS_INSECURE": "perhaps"}, "OCCS_INSECURE is 'perhaps'"),
        ({"OCCS_API_TOKEN": "x", "OCCS_INSECURE": "1", "OCCS_CA": __file__}, "choose one"),
        ({"OCCS_API_TOKEN": "x", "OCCS_CA": "/no/such"}, "OCCS_CA is '/no/such', which cannot be read"),
        ({"OCCS_API_TOKEN": "x", "OCCS_CA": __file__}, "holds no certificate"),
    ],
)
def test_an_environment_that_cannot_be_meant_is_refused(variables, words):
    with pytest.raises(SettingError, match=words):
        opened("https://10.0.0.1", variables)


def test_the_manager_of_a_node_may_be_named_by_its_address_alone():
    store = opened("http://172.17.0.1:9109", {"OCCS_MANAGER": "10.0.0.1", "OCCS_API_TOKEN": "x"})
    assert store.description == "occs:http://172.17.0.1:9109"
    assert IVersionLister.providedBy(store)
    with pytest.raises(SettingError, match=r"OCCS_MANAGER is .http://10\.0\.0\.1"):
        opened("http://172.17.0.1:9109", {"OCCS_MANAGER": "http://10.0.0.1", "OCCS_API_TOKEN": "x"})


# Certificates


async def lost(store: Any) -> str:
    try:
        with pytest.raises(StoreLost) as caught:
            await store.read(["rolling/"])
        return str(caught.value)
    finally:
        await store.close()


def with_token(emulator: Emulator, **more: str) -> dict[str, str]:
    return {"OCCS_API_TOKEN": emulator.token, **more}


@pytest_twisted.ensureDeferred
async def test_a_certificate_that_nobody_vouches_for_is_refused(emulator):
    said = await lost(opened(emulator.manager, with_token(emulator)))
    assert "certificate verify failed" in said
    assert "OCCS_CA" in said


@pytest_twisted.ensureDeferred
async def test_another_authority_does_not_vouch_for_it(emulator, tmp_path_factory):
    with emulating(tmp_path_factory.mktemp("other")) as other:
        said = await lost(opened(emulator.manager, with_token(emulator, OCCS_CA=str(other.ca_file))))
    assert "certificate verify failed" in said


@pytest_twisted.ensureDeferred
async def test_the_switch_that_checks_nothing_is_logged_once(emulator):
    seen: list[Any] = []
    globalLogPublisher.addObserver(seen.append)
    try:
        store = opened(emulator.manager, with_token(emulator, OCCS_INSECURE="1"))
        for _ in range(3):
            await store.read(["rolling/"])
        await store.close()
    finally:
        globalLogPublisher.removeObserver(seen.append)
    told = [formatEvent(one) for one in seen if "certificate" in formatEvent(one)]
    assert len(told) == 1
    assert emulator.manager in told[0]
    assert emulator.token not in repr(seen)


# With a real manager


@pytest_twisted.ensureDeferred
async def test_connections_are_kept(emulator):
    store = by_manager(emulator)
    await store.read(["rolling/"])
    before = connections(emulator.manager)
    for _ in range(20):
        await store.read(["rolling/shop/"])
        await store.put({KEY: "1"}, {})
    assert connections(emulator.manager) == before
    assert before
    await store.close()


def connections(url: str) -> set[str]:
    """The local ends of the connections that are open to that address."""
    remote = f":{urlsplit(url).port:04X}"
    lines = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return {fields[1] for fields in lines if fields[2].endswith(remote) and fields[3] == "01"}


@pytest_twisted.ensureDeferred
async def test_a_slow_manager_is_waited_for(emulator):
    store = by_manager(emulator)
    await store.put({KEY: "5"}, {})
    emulator.control.faults(latency_seconds=5.0)
    assert (await store.read(["rolling/shop/"])).keys == {KEY: "5"}
    await store.close()


@pytest.mark.parametrize("style", ["array", "object", "null", "empty", "404"])
@pytest_twisted.ensureDeferred
async def test_every_way_to_tell_a_missing_key(emulator, style):
    emulator.control.faults(missing=style)
    for open_it in (by_manager, by_node):
        store = open_it(emulator)
        if style == "empty":
            with pytest.raises(StoreLost, match="nothing at all"):
                await store.read(["rolling/shop/"])
        else:
            assert (await store.read(["rolling/shop/"])).keys == {}
        await store.put({KEY: "5"}, {KEY: None})
        assert (await store.read(["rolling/shop/"])).keys == {KEY: "5"}
        await store.put({KEY: None}, {})
        await store.close()


@pytest_twisted.ensureDeferred
async def test_signing_in(emulator):
    from twisted.internet import reactor

    client = OccsClient.of_manager(reactor, emulator.manager, environ(emulator), None)
    assert await client.signing.bearer("admin", emulator.password) == emulator.token
    with pytest.raises(Refused, match="password of 'admin'"):
        await client.signing.bearer("admin", "wrong")
    with pytest.raises(StoreLost, match="wants a token"):
        await client.keys.get(KEY)
    await client.close()


@pytest_twisted.ensureDeferred
async def test_a_deployment_from_its_creation_to_its_removal(emulator):
    from twisted.internet import reactor

    emulator.control.faults(ready_seconds=0.3, stop_seconds=0.3, delete_refusals=1)
    client = OccsClient.of_manager(reactor, emulator.manager, environ(emulator), Token(emulator.token))
    store = by_node(emulator)
    them = client.deployments
    assert await them.all() == ()
    assert await them.get("shop-1") is None
    assert not (await them.create(deployment("shop-1"))).is_in(RUNNING)
    with pytest.raises(Refused):
        await them.create(deployment("shop-1"))
    while not (found := await them.get("shop-1")).is_in(RUNNING):
        listed = await store.versions()
        if not (await them.get("shop-1")).is_in(RUNNING):  # it may come to run between two questions
            assert listed == [KnownVersion("shop-1", "Deployment shop-1", None, False)]
        await deferLater(reactor, 0.1)
    assert await store.versions() == [KnownVersion("shop-1", "Deployment shop-1", None, True)]
    (container,) = await them.containers("shop-1")
    assert container.state == "Running"
    keys = (await store.read(["apps/app-shop-1-3000/containers/"])).keys
    assert list(keys) == [f"apps/app-shop-1-3000/containers/{container.id}"]
    assert (await them.put("shop-1", found.document)).id == "shop-1"
    with pytest.raises(Refused):
        await them.delete("shop-1")
    await them.stop("shop-1")
    while not (await them.get("shop-1")).is_in(STOPPED):
        await deferLater(reactor, 0.1)
    with pytest.raises(Refused):
        await them.delete("shop-1")
    await them.delete("shop-1")
    assert await them.get("shop-1") is None
    await them.delete("shop-1")
    await store.close()
    await client.close()
