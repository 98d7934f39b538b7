"""The pages: what they say of options, dependencies, files and commands is so."""

from __future__ import annotations

import configparser
import re
import runpy
import tomllib
from urllib.parse import unquote

import pytest

from rolling_router.options import OPTIONS
from tests.outside import ROOT, checkout_files

PAGES = [path for path in checkout_files() if path.endswith(".md")]
FENCED = re.compile(r"^(?P<fence>```+|~~~+).*?^(?P=fence)$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"!?\[[^\]]*\]\((?P<to>[^)\s]+)(?: \"[^\"]*\")?\)")
MAKEFILE = (ROOT / "Makefile").read_text("utf-8")


def text(path):
    return (ROOT / path).read_text("utf-8")


# Options


def test_the_page_of_options_is_up_to_date():
    assert text("docs/options.md") == runpy.run_path(str(ROOT / "docs" / "options.py"))["page"](), "run: make docs"


@pytest.mark.parametrize("option", OPTIONS, ids=lambda option: option.name)
def test_every_option_is_told_with_its_variables_and_default(option):
    (row,) = (line for line in text("docs/options.md").splitlines() if line.startswith(f"| `--{option.name}` |"))
    _, _, variables, default, what, _ = (cell.strip() for cell in re.split(r"(?<!\\)\|", row))
    assert re.findall(r"`(\w+)`", variables) == [option.variable, *option.aliases]
    assert default.strip("`") == ("off" if option.is_flag else option.default or "")
    assert what


# Dependencies


def told_dependencies():
    """The packages of each section of the page: what its heading ends with -> their names in order."""
    sections = re.split(r"^## (.+)$", text("docs/dependencies.md"), flags=re.MULTILINE)[1:]
    rows = re.compile(r"^\| `([^`]+)` \| \S.* \|$", re.MULTILINE)
    return {title: rows.findall(body) for title, body in zip(sections[::2], sections[1::2], strict=True)}


def names(requirements):
    return [re.split(r"[<>=!~; ]", line, maxsplit=1)[0] for line in requirements if line]


def test_each_dependency_is_explained_and_nothing_else():
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg", "utf-8")
    needs = re.search(r"package=\((.*?)\)", text(".ci/needs"), re.DOTALL)
    assert needs is not None
    assert told_dependencies() == {
        "To run": names(setup["options"]["install_requires"].splitlines()),
        **{f"Extra `{extra}`": names(lines.splitlines()) for extra, lines in setup["options.extras_require"].items()},
        "To build": names(tomllib.loads(text("pyproject.toml"))["build-system"]["requires"]),
        "Debian packages": sorted(re.findall(r"=(\S+)", needs[1])),
    }


def test_each_program_that_make_needs_has_its_package():
    wanted = {program for line in re.findall(r"\.ci/needs (.*)", MAKEFILE) for program in line.split()}
    known = set(re.findall(r"\[([\w/-]+)\]=", text(".ci/needs")))
    assert wanted - known <= {"python3-venv"}, "a package by its own name"
    assert known <= wanted


# Files and commands


@pytest.mark.parametrize("page", PAGES)
def test_links_to_files_lead_somewhere(page):
    for found in LINK.finditer(FENCED.sub("", text(page))):
        target = found["to"].partition("#")[0]
        if target and not re.match(r"[a-z][a-z0-9+.-]*:", target):
            assert (ROOT / page).parent.joinpath(unquote(target)).exists(), found["to"]


@pytest.mark.parametrize("page", PAGES)
def test_links_to_headings_lead_somewhere(page):
    for found in LINK.finditer(FENCED.sub("", text(page))):
        target, _, anchor = found["to"].partition("#")
        if anchor and not re.match(r"[a-z][a-z0-9+.-]*:", target):
            there = (ROOT / page).parent / unquote(target) if target else ROOT / page
            assert anchor in anchors(there.read_text("utf-8")), found["to"]


def anchors(page):
    """The anchors of a page's headings, as the usual viewers make them."""
    headings = re.findall(r"^#+ (.+)$", FENCED.sub("", page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES)
def test_the_make_commands_of_the_pages_exist(page):
    told = set(re.findall(r"(?:^ *(?:\$ )?|`)make ([a-z][\w-]*)", text(page), re.MULTILINE))
    assert told <= targets()


def test_make_help_tells_every_command():
    told = set(re.findall(r'@echo "make ([\w-]+)', MAKEFILE))
    assert told == targets() - {"help"}


def targets():
    """What the Makefile offers to people."""
    (phony,) = re.findall(r"^\.PHONY: (.*)$", MAKEFILE, re.MULTILINE)
    for target in phony.split():
        assert re.search(rf"^{target}:", MAKEFILE, re.MULTILINE), target
    return set(phony.split())


def test_the_tests_that_the_page_on_conformance_names_exist():
    named = set(re.findall(r"`(test_\w+)`", text("docs/http-conformance.md")))
    sources = "".join(text(path) for path in checkout_files() if re.match(r"tests/.*test_\w+\.py$", path))
    assert named
    assert named - set(re.findall(r"^def (test_\w+)", sources, re.MULTILINE)) == set()
