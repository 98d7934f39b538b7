"""Options: each by the command line and by its variable, and one line for each that cannot be used."""

from __future__ import annotations

import re

import pytest

import rolling_router
from rolling_router.errors import SettingError
from rolling_router.options import OPTIONS, RouterOptions, read_settings
from rolling_router.proxy.limits import Limits

NEEDED = ["--app", "shop", "--store", "file:rollout.json"]
LIMITS = [name.name for name in Limits.__attrs_attrs__]


def read(*arguments, environ=(), needed=NEEDED):
    options = RouterOptions()
    options.parseOptions([*needed, *arguments])
    return read_settings(options, dict(environ))


def refusal(*arguments, environ=(), needed=NEEDED):
    with pytest.raises(SettingError) as wrong:
        read(*arguments, environ=environ, needed=needed)
    text = str(wrong.value)
    assert "\n" not in text
    return text


def value(settings, name):
    """What an option came to."""
    field = {"strategy": "strategies", "trusted-proxy": "trust"}.get(name, name.replace("-", "_"))
    return getattr(settings.limits, field) if field in LIMITS else getattr(settings, field)


EXAMPLES = {
    "app": ("other", "other"),
    "store": ("occs:https://m", "occs:https://m"),
    "listen": ("tcp:1", ("tcp:1",)),
    "admin": ("tcp:2", ("tcp:2",)),
    "strategy": ("ip-hash", ("ip-hash",)),
    "state-dir": ("/var/lib/x", "/var/lib/x"),
    "drain-seconds": ("0", 0.0),
    "workers": ("3", 3),
    "access-log": ("-", "-"),
    "access-log-form": ("common", "common"),
    **{name.replace("_", "-"): ("7", 7) for name in LIMITS},
}
SINGLE = [one for one in OPTIONS if not one.is_flag and one.name != "trusted-proxy"]


def without(name):
    """The arguments that are needed, this option left out."""
    return [word for at in range(0, len(NEEDED), 2) if NEEDED[at] != f"--{name}" for word in NEEDED[at : at + 2]]


def test_there_is_an_example_for_every_option():
    assert {one.name for one in SINGLE} == set(EXAMPLES)


@pytest.mark.parametrize("option", SINGLE, ids=lambda one: one.name)
def test_every_option_is_read_from_the_command_line_and_from_its_variable(option):
    text, expected = EXAMPLES[option.name]
    needed = without(option.name)
    assert value(read(f"--{option.name}", text, needed=needed), option.name) == expected
    assert value(read(f"--{option.name}={text}", needed=needed), option.name) == expected
    for variable in (option.variable, *option.aliases):
        assert variable == variable.upper()
        assert value(read(needed=needed, environ={variable: text}), option.name) == expected


@pytest.mark.parametrize("option", SINGLE, ids=lambda one: one.name)
def test_the_command_line_wins_and_an_empty_variable_counts_as_none(option):
    text, expected = EXAMPLES[option.name]
    environ = {option.variable: "nonsense", **dict.fromkeys(option.aliases, "nonsense")}
    assert value(read(f"--{option.name}", text, needed=without(option.name), environ=environ), option.name) == expected
    if option.default is not None:
        assert value(read(environ={option.variable: ""}), option.name) == value(read(), option.name)


def test_defaults_are_those_of_the_limits_and_of_the_design():
    settings = read()
    assert settings.limits == Limits()
    assert settings.listen == ("tcp:8000",)
    assert settings.admin == ("tcp:8080:interface=127.0.0.1",)
    assert settings.strategies == ("cookie",)
    assert settings.drain_seconds == 30
    assert not settings.trust.covers("127.0.0.1")
    assert (settings.state_dir, settings.access_log, settings.log_whole_addresses) == (None, None, False)


def test_our_own_variable_wins_over_the_original_images():
    environ = {"APP_NAME": "theirs", "ROLLING_ROUTER_APP": "ours"}
    assert read(needed=NEEDED[2:], environ=environ).app == "ours"


def test_options_that_may_be_repeated_keep_their_order():
    assert read("--listen", "tcp:1", "--listen", "tcp:2").listen == ("tcp:1", "tcp:2")
    assert read(environ={"ROLLING_ROUTER_LISTEN": "tcp:1  tcp:2"}).listen == ("tcp:1", "tcp:2")
    assert read("--listen", "tcp:3", environ={"ROLLING_ROUTER_LISTEN": "tcp:1"}).listen == ("tcp:3",)
    trust = read("--trusted-proxy", "10.0.0.0/8", "--trusted-proxy", "192.0.2.1").trust
    assert trust.covers("10.1.1.1")
    assert trust.covers("192.0.2.1")
    assert read(environ={"ROLLING_ROUTER_TRUSTED_PROXY": "10.0.0.0/8 ::1"}).trust.covers("::1")


@pytest.mark.parametrize(
    ("text", "expected"), [("1", True), ("yes", True), ("TRUE", True), ("0", False), ("no", False), ("False", False)]
)
def test_a_flag_is_read_from_its_variable(text, expected):
    assert read(environ={"ROLLING_ROUTER_LOG_WHOLE_ADDRESSES": text}).log_whole_addresses is expected
    assert read("--log-whole-addresses", environ={"ROLLING_ROUTER_LOG_WHOLE_ADDRESSES": "0"}).log_whole_addresses


@pytest.mark.parametrize("name", ["app", "store"])
def test_what_is_needed_and_missing_is_named_with_its_variables(name):
    (option,) = (one for one in OPTIONS if one.name == name)
    text = refusal(needed=without(name))
    assert text.startswith(f"--{name} is missing")
    assert all(variable in text for variable in (option.variable, *option.aliases))


NUMBERS = [one.name for one in OPTIONS if one.name.replace("-", "_") in LIMITS] + ["drain-seconds", "workers"]


@pytest.mark.parametrize("name", NUMBERS)
@pytest.mark.parametrize("text", ["", "x", "-1", "nan", "inf", "-inf", "1e99", "99999999999", "1;2", "0x10"])
def test_a_number_that_cannot_be_meant_is_refused_with_what_can(name, text):
    told = refusal(f"--{name}={text}")
    assert told.startswith(f"--{name} is {text!r}; it must be a ")
    assert re.search(r"number from [\d.]+ to \d+$", told)
    if text:
        assert refusal(environ={"ROLLING_ROUTER_" + name.upper().replace("-", "_"): text}) == told


@pytest.mark.parametrize("name", [name for name in NUMBERS if not name.endswith("seconds")])
def test_a_whole_number_has_no_fraction(name):
    assert "whole number" in refusal(f"--{name}=1.5")


@pytest.mark.parametrize("name", [name for name in NUMBERS if name.endswith("seconds")])
def test_seconds_may_have_a_fraction_and_none_of_the_limits_is_nought(name):
    assert value(read(f"--{name}=2.5"), name) == 2.5
    if name != "drain-seconds":
        refusal(f"--{name}=0")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--app", "a/b"], ["a/b"]),
        (["--app", " shop"], ["' shop'"]),
        (["--app", "a\nb"], ["a\\nb"]),
        (["--trusted-proxy", "everybody"], ["everybody", "10.0.0.0/8"]),
        (["--access-log-form", "xml"], ["--access-log-form", "xml", "json", "common"]),
    ],
)
def test_a_text_that_cannot_be_used_is_named_with_what_would_do(arguments, words):
    text = refusal(*arguments)
    assert all(word in text for word in words)


def test_a_flag_that_is_neither_is_refused():
    text = refusal(environ={"ROLLING_ROUTER_LOG_WHOLE_ADDRESSES": "maybe"})
    assert all(word in text for word in ("ROLLING_ROUTER_LOG_WHOLE_ADDRESSES", "maybe", "1 or 0"))


@pytest.mark.parametrize("arguments", [["--no-such-option"], ["word"], ["--app"], ["--log-whole-addresses=1"]])
def test_what_is_no_option_ends_the_start_with_one_line(arguments):
    with pytest.raises(SystemExit) as end:
        RouterOptions().parseOptions(arguments)
    assert str(end.value).startswith("rolling-router: ")
    assert "\n" not in str(end.value)


def test_the_version_is_printed(capsys):
    with pytest.raises(SystemExit) as end:
        RouterOptions().parseOptions(["--version"])
    assert end.value.code == 0
    assert capsys.readouterr().out == f"rolling-router {rolling_router.__version__}\n"


def test_the_help_tells_of_every_option():
    text = str(RouterOptions())
    assert [one.name for one in OPTIONS if f"--{one.name}" not in text] == []
