"""The command line: what its page says against its parsers, and what its words make of settings."""

from __future__ import annotations

import argparse
import re
from pathlib import Path

import pytest

from rolling_router.cli import COMMANDS, main, make_parser, words
from rolling_router.cli.command import EXIT_STATUSES
from rolling_router.rollout.standing import Standing, Texts

PAGE = (Path(__file__).parent.parent / "docs" / "cli.md").read_text("utf-8")


def parsers() -> dict[str, argparse.ArgumentParser]:
    (commands,) = (one for one in make_parser()._actions if isinstance(one, argparse._SubParsersAction))
    found: dict[str, argparse.ArgumentParser] = commands.choices
    return found


def section(title: str) -> str:
    return PAGE.partition(f"## {title}\n")[2].partition("\n## ")[0]


def test_the_page_tells_each_command_with_its_arguments_and_nothing_else():
    told = re.findall(r"^\| `([^`]+)` \|", section("Commands"), re.MULTILINE)
    made = []
    for name, parser in parsers().items():
        places = [one for one in parser._actions if not one.option_strings]
        made.append(" ".join([name, *(f"[{one.metavar}]" if one.nargs == "?" else one.metavar for one in places)]))
    assert sorted(told) == sorted(made)
    assert sorted(parsers()) == sorted(one.name for one in COMMANDS)


def test_the_page_tells_each_option_and_nothing_else():
    own = {"--listen", "--strategy"}  # the router's
    told = set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", PAGE)) - own
    made = set()
    waiting = list(parsers().values())
    while waiting:
        for one in waiting.pop()._actions:
            made.update(one.option_strings)
            if isinstance(one, argparse._SubParsersAction):
                waiting += one.choices.values()
    assert told == {name for name in made if name.startswith("--")}


def test_the_options_table_has_the_variables_that_help_has():
    rows = re.findall(r"^\| `(--[a-z-]+)[^`]*` \| ([^|]*) \|", section("Options"), re.MULTILINE)
    for option, variables in rows:
        for parser in parsers().values():
            for one in parser._actions:
                if option in one.option_strings:
                    for variable in re.findall(r"(?<![A-Z_])[A-Z]+_[A-Z_]+", one.help):
                        assert variable in variables, (option, variable)


def test_the_page_and_the_help_tell_each_exit_status():
    told = dict(re.findall(r"^\| (\d+) \| (.+) \|$", section("Exit status"), re.MULTILINE))
    assert told == {str(one.value): text for one, text in EXIT_STATUSES.items()}
    for one, text in EXIT_STATUSES.items():
        assert f"  {one.value}  {text}" in make_parser().format_help()


@pytest.mark.parametrize("name", parsers())
def test_each_command_has_help_and_version(name, capsys):
    for option in ("--help", "--version"):
        with pytest.raises(SystemExit) as over:
            make_parser().parse_args([name, option])
        assert over.value.code == 0
    assert f"rolling-router {name}" in capsys.readouterr().out


# Words


def test_what_anybody_may_have_typed_is_fit_for_a_terminal():
    assert words.plain("a\x1b[31m\n\u202eb é 한") == r"a\x1b[31m\n\u202eb é 한"


@pytest.mark.parametrize("line", [["--app", "shop", "status"], ["--app=shop", "status"]])
def test_an_option_before_the_command_is_told_where_it_belongs(capsys, line):
    with pytest.raises(SystemExit) as ended:
        main(line)
    assert ended.value.code == 2
    assert "--app comes too early; options are written behind the command" in capsys.readouterr().err


@pytest.mark.parametrize("line", [["--help"], ["--vers"], ["status", "--help"]])
def test_what_is_no_commands_own_may_come_first(capsys, line):
    with pytest.raises(SystemExit) as ended:
        main(line)
    assert (ended.value.code, capsys.readouterr().err) == (0, "")


def test_changes_are_told_one_by_one():
    before = Texts("apps/app-a-1/containers", "rolling/null", "0", "0")
    after = Texts("apps/app-b-1/containers", None, "bad\n", "1")
    assert words.changes(before, after) == [
        "stable: a -> b",
        "candidate: none -> absent",
        "blend: 0 -> unreadable (bad\\n)",
        "stickiness: off -> on",
    ]
    assert words.changes(before, before) == []
    moved = Texts("apps/app-a-2/containers", "rolling/null", "0", "0")
    assert words.changes(before, moved) == ["stable: a (port 1) -> a (port 2)"]


def test_the_standing_is_told_with_its_problems():
    keys = {
        "rolling/shop/stable/id": "apps/app-a-1/containers",
        "rolling/shop/candidate/id": "no\x1b",
        "rolling/shop/blendpercent": "5",
        "rolling/shop/stickyness": "1",
        "apps/app-a-1/containers/x": "h:1",
    }
    lines = words.standing_lines(Standing.read("shop", keys, ("cookie",), "cookie"), "file:x")
    assert lines[1:5] == [
        "  stable      a, port 1, 1 instance",
        "  candidate   none",
        "  blend       5 %",
        "  stickiness  on",
    ]
    assert "\x1b" not in "".join(lines)
    assert "rolling/shop/candidate/id is 'no" in lines[6]


def test_of_a_router_each_instance_that_is_out_is_named_under_its_version_with_the_reason():
    version = {
        "version": "shop-1",
        "instances": [
            {"address": "10.0.0.1:80", "in_flight": 2, "usable": True},
            {"address": "10.0.0.2:80", "in_flight": 0, "usable": False},
        ],
    }
    status = {
        "snapshot": {"revision": "r", "stable": version, "candidate": None, "stickiness": "ip-hash"},
        "store": {},
        "counts": {"roles": {"stable": {"requests": 7}}},
        "health": {
            "problems": [
                {"role": "stable", "instance": "10.0.0.2:80", "state": "ejected", "text": "Connection refused\x1b."}
            ]
        },
    }
    _, stable, out, stickiness = words.router_lines("http://127.0.0.1:8080", status, "r")
    assert stable == "  stable      shop-1: 7 requests as stable, 2 in flight, 1 of 2 instances usable"
    assert stickiness == "  stickiness  ip-hash"
    assert out.startswith("              10.0.0.2:80 is ejected: Connection refused")
    assert "\x1b" not in out
