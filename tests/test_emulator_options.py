"""The OCCS emulator's options: by the command line and by their variables, and told on their page."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest

from rolling_router.errors import SettingError
from rolling_router.occs.emulator.faults import HELP, NAMES, Faults, Missing, Outage
from rolling_router.occs.emulator.options import OPTIONS, EmulatorOptions, read_settings
from tests.outside import ROOT


def read(*arguments, **environ):
    options = EmulatorOptions()
    options.parseOptions([*arguments])
    return read_settings(options, environ)


def test_the_page_of_options_is_up_to_date():
    pages = runpy.run_path(str(ROOT / "docs" / "options.py"))["pages"]()
    assert pages["occs-emulator-options.md"] == (ROOT / "docs" / "occs-emulator-options.md").read_text("utf-8")


def test_without_more_than_a_directory_it_is_on_loopback_and_without_control():
    settings = read("--state-dir", "x")
    assert settings.state_dir == Path("x").absolute()
    assert settings.manager == "tcp:8443:interface=127.0.0.1"
    assert settings.node == "tcp:9109:interface=127.0.0.1"
    assert (settings.control, settings.ready_file) == (None, None)
    assert settings.faults == Faults()


@pytest.mark.parametrize("option", [one for one in OPTIONS if not one.repeats], ids=lambda one: one.name)
def test_each_option_can_be_set_by_its_variable_and_the_command_line_wins(option):
    text = {"missing": "null", "outage": "500", "node-outage": "hang", "delete-refusals": "3"}.get(option.name, "7")
    arguments = [] if option.name == "state-dir" else ["--state-dir", "x"]
    by_variable = read(*arguments, **{option.variable: text})
    assert by_variable == read(*arguments, f"--{option.name}", text, **{option.variable: "5"})
    assert by_variable != read(*arguments, **({"OCCS_EMULATOR_STATE_DIR": "x"} if not arguments else {}))


def test_repeated_options_are_lines_in_their_variables():
    variables = {"OCCS_EMULATOR_IMAGE": "a=run one\nb=run two", "OCCS_EMULATOR_PUBLISH": "80=8000\n443=free"}
    settings = read("--state-dir", "x", **variables)
    assert settings == read(
        *("--state-dir", "x", "--image", "a=run one", "--image", "b=run two"),
        *("--publish", "80=8000", "--publish", "443=free"),
    )
    assert [image.pattern for image in settings.images][:2] == ["a", "b"]


def test_a_missing_directory_is_named_with_its_variable():
    with pytest.raises(SettingError, match="--state-dir is missing; give it, or set OCCS_EMULATOR_STATE_DIR"):
        read()


def test_every_fault_is_an_option_with_its_help_and_comes_out_as_it_went_in():
    assert set(NAMES) == set(HELP)
    assert {name.replace("_", "-") for name in NAMES} <= {option.name for option in OPTIONS}
    told = Faults(missing=Missing.NULL, outage=Outage.HANG, stop_seconds=1.5).as_json()
    assert Faults().changed(told).as_json() == told


@pytest.mark.parametrize("value", [-1, "x", "nan", "inf", True, None, [], {}, "1e99"])
@pytest.mark.parametrize("name", ["latency_seconds", "delete_refusals"])
def test_a_fault_that_cannot_be_meant_is_refused(name, value):
    with pytest.raises(SettingError, match=name.replace("_", "-")):
        Faults().changed({name: value})
