"""The package: its list, its wheel, and what the wheel offers in an empty environment outside the checkout."""

from __future__ import annotations

import base64
import configparser
import csv
import hashlib
import json
import re
import zipfile
from fnmatch import fnmatch
from pathlib import Path

import pytest

from tests.outside import ROOT, checkout_files, instance, rollout, routing

pytestmark = pytest.mark.timeout(300)  # an environment of its own is made first, by pip
FOLDERS = {
    "rolling_router": "rolling_router",
    "rolling_router_plugins": "plugins",
    "rolling_router_web": "web",
    "twisted.plugins": "twisted/plugins",
}
SETUP = configparser.ConfigParser()
SETUP.read(ROOT / "setup.cfg", "utf-8")
VERSION = f"rolling-router {SETUP['metadata']['version']}\n"


def installed_name(path):
    """Where a file of the checkout lies in the wheel; ``None`` if it is no part of it."""
    for package, folder in FOLDERS.items():
        if path.startswith(f"{folder}/"):
            return package.replace(".", "/") + path.removeprefix(folder)
    return None


SHIPPED = {path: name for path in checkout_files() if (name := installed_name(path))}


# The lists of setup.cfg


def test_the_package_list_is_the_tree_in_order():
    tree = {str(Path(name).parent).replace("/", ".") for name in SHIPPED.values() if name.endswith(".py")}
    assert SETUP["options"]["packages"].split() == sorted(tree)


def test_each_package_lies_where_it_is_said_to():
    told = (line.split(" = ") for line in SETUP["options"]["package_dir"].strip().splitlines())
    assert dict(told) == FOLDERS


def test_every_file_that_is_no_module_is_package_data_and_the_other_way_round():
    for package, folder in FOLDERS.items():
        others = {path for path in SHIPPED if path.startswith(f"{folder}/") and not path.endswith(".py")}
        patterns = SETUP["options.package_data"].get(package, "").replace(",", " ").split()
        for path in others:
            assert any(fnmatch(path.removeprefix(f"{folder}/"), pattern) for pattern in patterns), path
        for pattern in patterns:
            if "*" not in pattern:
                assert f"{folder}/{pattern}" in others


@pytest.mark.parametrize("folder", ["twisted", "twisted/plugins"])
def test_the_namespace_of_twisted_is_left_to_twisted(folder):
    assert not (ROOT / folder / "__init__.py").exists(), "it would hide Twisted, or our drop-ins"


# The wheel


def test_the_wheel_holds_all_that_is_shipped_and_nothing_else(wheel):
    names = zipfile.ZipFile(wheel).namelist()
    info = re.compile(r"rolling_router-[^/]+\.dist-info/")
    assert sorted(name for name in names if not info.match(name)) == sorted(SHIPPED.values())
    assert [name for name in names if info.match(name) and name.endswith("/LICENSE")] != []


def test_the_wheel_says_what_it_is(wheel):
    with zipfile.ZipFile(wheel) as opened:
        (metadata,) = (name for name in opened.namelist() if name.endswith(".dist-info/METADATA"))
        text = opened.read(metadata).decode()
    assert "\nName: rolling-router\n" in text
    assert re.search(r"^License(-Expression)?: MIT$", text, re.MULTILINE)
    assert "\nRequires-Python: >=3.11\n" in text
    assert text.rstrip().endswith((ROOT / "README.md").read_text("utf-8").rstrip())


# Installed


@pytest.fixture(scope="module")
def environment(make_environment):
    return make_environment()


@pytest.mark.parametrize("command", [("rolling-router", "--version"), ("twistd", "rolling-router", "--version")])
def test_both_commands_say_their_version(environment, command):
    ended = environment.run(*command)
    assert (ended.returncode, ended.stdout) == (0, VERSION), ended.stderr


def test_nothing_of_the_checkout_can_be_seen_from_there(environment):
    code = "import rolling_router, rolling_router_plugins, rolling_router_web, sys; print(sys.path, sys.modules)"
    assert str(ROOT) not in environment.python(code)


def test_the_shipped_plugins_are_listed(environment):
    ended = environment.run("rolling-router", "plugins")
    assert ended.returncode == 0, ended.stderr
    stores, strategies = ended.stdout.split("Strategies:\n")
    assert {"cookie", "ip-hash"} <= {line.split()[0] for line in strategies.splitlines()}
    assert "file" in {line.split()[0] for line in stores.splitlines()}


def test_twisted_finds_the_shipped_plugins(environment):
    code = """if True:
        from twisted.plugin import IPlugin, getPlugins
        from rolling_router.interfaces import IStorePlugin, IStrategyPlugin
        for door in (IStorePlugin, IStrategyPlugin):
            print(*(f"{plugin.name}:{IPlugin.providedBy(plugin)}" for plugin in getPlugins(door)))
    """
    stores, strategies = environment.python(code).splitlines()
    assert "file:True" in stores.split()
    assert {"cookie:True", "ip-hash:True"} <= set(strategies.split())


def test_the_web_files_can_be_read(environment):
    code = """if True:
        import hashlib, json
        from importlib.resources import files
        from pathlib import Path
        root = Path(str(files("rolling_router_web")))
        there = [one for one in root.rglob("*") if one.is_file() and "__pycache__" not in one.parts]
        named = {one.relative_to(root).as_posix(): hashlib.sha256(one.read_bytes()).hexdigest() for one in there}
        print(json.dumps(named))
    """
    there = json.loads(environment.python(code))
    ours = {path.removeprefix("web/"): path for path in SHIPPED if path.startswith("web/")}
    assert there == {name: hashlib.sha256((ROOT / path).read_bytes()).hexdigest() for name, path in ours.items()}


def test_the_router_routes(environment, tmp_path):
    with instance("one") as stable, instance("two") as candidate:
        (tmp_path / "rollout.json").write_text(rollout(stable, candidate, blend=50, stickiness="0"))
        with routing(environment, tmp_path, "--app", "shop", "--store", "file:rollout.json") as router:
            answers = [router.get()[:2] for _ in range(10)]
            assert sorted(answers) == [(200, "one")] * 5 + [(200, "two")] * 5
            assert "Traceback" not in router.log()


def test_what_cannot_be_used_is_refused_in_one_line(environment):
    ended = environment.run("twistd", "-n", "rolling-router", "--app", "shop", "--store", "fil:rollout.json")
    assert ended.returncode == 1
    assert re.fullmatch(
        r"rolling-router: --store: there is no store 'fil'; there are: [a-z, -]*\bfile\b[a-z, -]*\n", ended.stderr
    )


def test_the_commands_of_twisted_are_there_beside_ours(environment):
    ended = environment.run("twistd", "web", "--help")
    assert ended.returncode == 0, ended.stderr
    assert "twistd [options] web" in ended.stdout
    assert re.search(r"^ +rolling-router ", environment.run("twistd", "--help").stdout, re.MULTILINE)


def test_it_leaves_as_it_came(environment, wheel):
    try:
        environment.pip("uninstall", "--yes", "rolling-router")
        left = {str(path.relative_to(environment.packages)) for path in environment.packages.rglob("*rolling*")}
        assert {path for path in left if "__pycache__" not in path} == set()
        assert damaged(environment, "twisted") == []
        assert environment.run("twistd", "web", "--help").returncode == 0
        assert environment.run("twistd", "rolling-router", "--version").returncode != 0
    finally:
        environment.pip("install", "--no-deps", "--no-index", wheel)


def damaged(environment, package):
    """The files of an installed package that are not what was installed."""
    (record,) = environment.packages.glob(f"{package}-*.dist-info/RECORD")
    wrong = []
    for name, digest, _ in csv.reader(record.read_text("utf-8").splitlines()):
        path = environment.packages / name
        if not digest or name.startswith("../"):  # programs name their environment
            continue
        kind, _, told = digest.partition("=")
        there = path.is_file() and hashlib.new(kind, path.read_bytes()).digest()
        if there != base64.urlsafe_b64decode(told + "=="):
            wrong.append(name)
    return wrong
