"""A third party's plugins, installed beside the wheel: what they decide is done, what they break stays theirs."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from tests.outside import build_wheels, instance, rollout, routing

pytestmark = pytest.mark.timeout(300)  # an environment of its own is made first, by pip
SOURCES = Path(__file__).parent / "third_party"
FIELD = "x-demo-version"


@pytest.fixture(scope="module")
def environment(make_environment, tmp_path_factory):
    """The wheel, and beside it a third party's sound plugins and another one's that are trouble."""
    sources = shutil.copytree(SOURCES, tmp_path_factory.mktemp("third_party"), dirs_exist_ok=True)
    wheels = build_wheels([sources / "demo", sources / "trouble"], tmp_path_factory.mktemp("wheels"))
    environment = make_environment()
    environment.pip("install", "--no-index", *wheels)
    return environment


@pytest.fixture
def route(environment, tmp_path):
    """Start a router on the third party's store: ``route(blend, stickiness, *options)``. The bodies say the version."""
    with instance("one") as stable, instance("two") as candidate:

        def start(blend, stickiness, *options):
            keys = rollout(stable, candidate, blend, stickiness)
            return routing(environment, tmp_path, "--app", "shop", "--store", "memory-demo:KEYS", *options, KEYS=keys)

        yield start


def bodies(router, count, headers={}):  # noqa: B006 - never changed
    answers = [router.get(headers) for _ in range(count)]
    assert {status for status, _, _ in answers} == {200}
    return [body for _, body, _ in answers]


def test_its_plugins_are_listed_with_the_shipped_ones(environment):
    ended = environment.run("rolling-router", "plugins")
    assert ended.returncode == 0, ended.stderr
    for name in ("file", "memory-demo", "cookie", "ip-hash", "header-demo", "raising-demo"):
        assert re.search(rf"^  {name} +\S", ended.stdout, re.MULTILINE), name


def test_its_store_and_its_strategy_route_requests(route):
    with route(20, "1", "--strategy", "header-demo") as router:
        assert bodies(router, 20).count("two") == 4, "a client that names no version is placed by the blend"
        told = {body: fields[FIELD] for _, body, fields in (router.get() for _ in range(10))}
        assert told == {"one": "shop-1", "two": "shop-2"}
        for body, version in told.items():
            assert set(bodies(router, 10, {"X-Demo-Version": version})) == {body}, "a client that names one gets it"


def test_its_strategy_can_be_chosen_by_the_key_alone(route):
    with route(50, "header-demo") as router:
        assert set(bodies(router, 10, {"X-Demo-Version": "shop-2"})) == {"two"}
        assert "stickiness header-demo" in router.log()


def test_a_pin_of_its_strategy_is_not_followed_at_blend_0(route):
    with route(0, "header-demo") as router:
        assert set(bodies(router, 5, {"X-Demo-Version": "shop-2"})) == {"one"}


def test_a_strategy_that_always_raises_breaks_no_request(route):
    with route(50, "raising-demo") as router:
        assert sorted(bodies(router, 20)) == ["one"] * 10 + ["two"] * 10
        assert "strategy raising-demo failed to recall a client" in router.log()
        assert "RuntimeError: recall is out of order" in router.log()
        assert "RuntimeError: remember is out of order" in router.log()


def test_what_cannot_be_used_is_named_in_the_log_and_breaks_nothing_else(route):
    with route(0, "cookie") as router:
        assert bodies(router, 3) == ["one"] * 3
        log = router.log()
    missing = "ModuleNotFoundError: No module named 'trouble_rollout_that_nobody_installed'"
    assert log.count(f"plugin twisted.plugins.a_trouble_missing cannot be used: {missing}\n") == 1
    assert log.count("strategy unmakeable-demo cannot be used: make is out of order\n") == 1


def test_a_shipped_strategy_keeps_its_name(route):
    with route(0, "1") as router:
        _, _, fields = router.get()
        assert "set-cookie" in fields
        log = router.log()
    shipped, impostor = "twisted.plugins.rolling_router_shipped", "twisted.plugins.a_trouble_impostor"
    said = f"two plugins have the name cookie: the one of {shipped} is used, the one of {impostor} is not\n"
    assert log.count(said) == 1


@pytest.mark.parametrize(
    ("said", "arguments", "those"),
    [
        (
            "--strategy: there is no strategy 'heder-demo'",
            ["--store", "memory-demo:KEYS", "--strategy", "heder-demo"],
            "header-demo, ip-hash",
        ),
        ("--store: there is no store 'memry-demo'", ["--store", "memry-demo:KEYS"], "file, memory-demo"),
    ],
)
def test_an_unknown_name_is_refused_with_its_plugins_among_those_there_are(environment, said, arguments, those):
    ended = environment.run("twistd", "-n", "rolling-router", "--app", "shop", *arguments, KEYS="{}")
    assert ended.returncode == 1
    (line,) = (line for line in ended.stderr.splitlines() if line.startswith("rolling-router: "))
    known, _, broken = line.removeprefix(f"rolling-router: {said}; there are: ").partition("; ")
    assert set(those.split(", ")) <= set(known.split(", "))
    assert broken.startswith("twisted.plugins.a_trouble_missing cannot be used (ModuleNotFoundError: ")


def test_what_its_store_refuses_is_told_in_one_line(environment):
    ended = environment.run("twistd", "-n", "rolling-router", "--app", "shop", "--store", "memory-demo:KEYS")
    assert ended.returncode == 1
    said = "rolling-router: --store: the variable KEYS is not set; it must hold the keys as one JSON object"
    assert ended.stderr.splitlines()[-1] == said


def test_without_the_third_party_the_rest_is_as_before(environment):
    environment.pip("uninstall", "--yes", "demo-rollout", "trouble-rollout")
    ended = environment.run("rolling-router", "plugins")
    assert (ended.returncode, ended.stderr) == (0, "")
    assert "demo" not in ended.stdout
    assert re.search(r"^  cookie ", ended.stdout, re.MULTILINE)
