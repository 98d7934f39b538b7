"""docs/writing-a-plugin.md: its package, written out as the page says, is found by Twisted and passes its own tests."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FILE = re.compile(r"^`(?P<path>[^`\n]+)`\n\n```\w+\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def package(tmp_path_factory):
    folder = tmp_path_factory.mktemp("acme-rolling")
    for found in FILE.finditer((ROOT / "docs" / "writing-a-plugin.md").read_text("utf-8")):
        path = folder / found["path"]
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(found["text"], "utf-8")
    shutil.copy(ROOT / "tests" / "contract.py", folder / "tests")
    return folder


def run(package, *arguments):
    path = os.pathsep.join([str(package), str(ROOT), *filter(None, sys.path)])
    environ = {**os.environ, "PYTHONPATH": path}
    return subprocess.run(
        [sys.executable, *arguments], cwd=package, env=environ, capture_output=True, text=True, timeout=100, check=False
    )


def test_the_page_shows_every_file_that_it_lists(package):
    made = {str(path.relative_to(package)) for path in package.rglob("*") if path.suffix in (".py", ".cfg", ".toml")}
    page = (ROOT / "docs" / "writing-a-plugin.md").read_text("utf-8")
    assert made == set(re.findall(r"^  (\S+\.(?:py|cfg|toml))\b", page, re.MULTILINE))


def test_its_plugins_are_found_and_made_by_their_names(package):
    code = """if True:
        from rolling_router import registry
        from rolling_router.interfaces import StoreContext
        print(registry.make_strategy("insiders:header=X-Acme", "shop"))
        print(registry.open_store("folder:/srv/rollout", StoreContext(None, "shop", {})).description)
    """
    ended = run(package, "-c", code)
    assert "InsidersStrategy" in ended.stdout, ended.stderr
    assert "the folder /srv/rollout" in ended.stdout


def test_its_tests_pass(package):
    ended = run(package, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests")
    assert ended.returncode == 0, ended.stdout + ended.stderr
