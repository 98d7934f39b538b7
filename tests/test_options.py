"""Options: each by the command line and by its variable, and one line for each that cannot be used."""

from __future__ import annotations

import re

import pytest

import rolling_router
from rolling_router.environment import with_options_file
from rolling_router.errors import SettingError
from rolling_router.options import OPTIONS, STORE_VARIABLES, RouterOptions, read_settings
from rolling_router.proxy.limits import Limits
from rolling_router.service import RouterService

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


RULES = {
    "eject-statuses": lambda settings: settings.rules.statuses,
    "slow-start-seconds": lambda settings: settings.rules.ramp_seconds,
    "retry-statuses": lambda settings: settings.retrying.statuses,
    "retry-budget": lambda settings: settings.retrying.percent,
}


def value(settings, name):
    """What an option came to."""
    if name in STORE_VARIABLES:
        return settings.store_environ[STORE_VARIABLES[name]]
    if name in RULES:
        return RULES[name](settings)
    if name.startswith("health-"):
        return getattr(settings.check, name.removeprefix("health-").replace("-", "_"))
    field = {"admin-origin": "admin_origins", "strategy": "strategies", "trusted-proxy": "trust"}.get(
        name, name.replace("-", "_")
    )
    return getattr(settings.limits, field) if field in LIMITS else getattr(settings, field)


EXAMPLES = {
    "app": ("other", "other"),
    "store": ("occs:https://m", "occs:https://m"),
    "listen": ("tcp:1", ("tcp:1",)),
    "admin": ("tcp:2", ("tcp:2",)),
    "admin-origin": ("https://r.example", ("https://r.example",)),
    "strategy": ("ip-hash", ("ip-hash",)),
    "occs-ca": ("ca.pem", "ca.pem"),
    "occs-manager": ("https://m", "https://m"),
    "occs-poll-seconds": ("5", "5"),
    "via": ("edge-1.example", "edge-1.example"),
    "upstream-ca": ("ca.pem", "ca.pem"),
    "upstream-name": ("shop.internal", "shop.internal"),
    "state-dir": ("/var/lib/x", "/var/lib/x"),
    "drain-seconds": ("0", 0.0),
    "shutdown-delay-seconds": ("15", 15.0),
    "workers": ("3", 3),
    "health-path": ("/healthz?deep=1", "/healthz?deep=1"),
    "health-interval-seconds": ("0.5", 0.5),
    "health-timeout-seconds": ("1.5", 1.5),
    "health-rise": ("4", 4),
    "health-fall": ("1", 1),
    "eject-statuses": ("502,503", frozenset({502, 503})),
    "slow-start-seconds": ("0", 0.0),
    "retry-statuses": ("503", frozenset({503})),
    "retry-budget": ("5", 5),
    "access-log": ("-", "-"),
    "access-log-form": ("common", "common"),
    **{name.replace("_", "-"): ("7", 7) for name in LIMITS},
}
SINGLE = [one for one in OPTIONS if not one.is_flag and one.name not in ("trusted-proxy", "options-file")]


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
    assert (settings.state_dir, settings.access_log) == (None, None)
    assert (settings.log_whole_addresses, settings.log_no_query) == (False, False)


def from_file(path, text, *arguments, environ=()):
    path.write_text(text)
    options = RouterOptions()
    options.parseOptions([*NEEDED, "--options-file", str(path), *arguments])
    return read_settings(options, with_options_file(options, dict(environ)))


def test_the_options_file_comes_after_the_command_line_and_the_environment(tmp_path):
    text = "\n# a comment\n ROLLING_ROUTER_VIA = 'file' \nOCCS_CA=ca.pem\n"
    assert from_file(tmp_path / "o", text).via == "file"
    assert from_file(tmp_path / "o", text).store_environ["OCCS_CA"] == "ca.pem"
    assert from_file(tmp_path / "o", text, environ={"ROLLING_ROUTER_VIA": "environment"}).via == "environment"
    assert from_file(tmp_path / "o", text, "--via", "command").via == "command"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("ROLLING_ROUTER_VIA=a\nROLLING_ROUTER_VIA secret", "line 2 is not NAME=VALUE"),
        ("ROLLING_ROUTER_VAI=x", "line 1: there is no option ROLLING_ROUTER_VAI"),
        ("via=x", "line 1 is not NAME=VALUE"),
    ],
)
def test_a_bad_line_of_the_options_file_is_named_and_not_shown(tmp_path, text, words):
    with pytest.raises(SettingError) as wrong:
        from_file(tmp_path / "o", text)
    assert words in str(wrong.value)
    assert "secret" not in str(wrong.value)


def test_an_options_file_that_is_not_there_is_named():
    options = RouterOptions()
    options.parseOptions([*NEEDED, "--options-file", "nowhere/o"])
    with pytest.raises(SettingError, match=r"--options-file nowhere/o cannot be read: No such file .*; name a"):
        with_options_file(options, {})


def test_our_own_variable_wins_over_the_original_images():
    environ = {"APP_NAME": "theirs", "ROLLING_ROUTER_APP": "ours"}
    assert read(needed=NEEDED[2:], environ=environ).app == "ours"


@pytest.mark.parametrize(
    ("environ", "store"),
    [
        ({"KV_IP": "172.17.0.1", "KV_PORT": "9109"}, "occs:http://172.17.0.1:9109"),
        ({"KV_IP": "172.17.0.1"}, "occs:http://172.17.0.1:9109"),
        ({"KV_IP": "fd00::1", "KV_PORT": "91"}, "occs:http://[fd00::1]:91"),
        ({"KV_IP": "172.17.0.1", "ROLLING_ROUTER_STORE": "file:a"}, "file:a"),
    ],
)
def test_the_original_images_variables_name_the_store(environ, store):
    assert read(needed=NEEDED[:2], environ=environ).store == store
    assert read(environ=environ).store == "file:rollout.json"


def test_the_original_images_four_variables_are_enough():
    environ = {"KV_IP": "172.17.0.1", "KV_PORT": "9109", "OCCS_API_TOKEN": "secret", "APP_NAME": "shop"}
    settings = read(needed=[], environ=environ)
    assert (settings.app, settings.store) == ("shop", "occs:http://172.17.0.1:9109")
    assert "secret" not in repr(settings)


def test_a_store_is_told_its_options_as_variables():
    told = read("--occs-insecure", "--occs-manager", "https://m").store_environ
    assert told == {"OCCS_INSECURE": "1", "OCCS_MANAGER": "https://m", "OCCS_POLL_SECONDS": "1"}
    assert read(environ={"OCCS_INSECURE": "yes"}).store_environ["OCCS_INSECURE"] == "1"
    assert read(environ={"ROLLING_ROUTER_OCCS_INSECURE": "0"}).store_environ["OCCS_INSECURE"] == "0"


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
    assert read(environ={"ROLLING_ROUTER_LOG_NO_QUERY": text}).log_no_query is expected


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
        variable = "ROLLING_ROUTER_" + name.upper().replace("-", "_")
        assert refusal(environ={variable: text}) == told.replace(f"--{name}", variable, 1)


@pytest.mark.parametrize("name", [name for name in NUMBERS if not name.endswith("seconds")])
def test_a_whole_number_has_no_fraction(name):
    assert "whole number" in refusal(f"--{name}=1.5")


@pytest.mark.parametrize("name", [name for name in NUMBERS if name.endswith("seconds")])
def test_seconds_may_have_a_fraction_and_none_of_the_limits_is_nought(name):
    assert value(read(f"--{name}=2.5"), name) == 2.5
    if name not in ("drain-seconds", "tunnel-seconds"):
        refusal(f"--{name}=0")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--app", "a/b"], ["--app", "a/b"]),
        (["--app", " shop"], ["' shop'"]),
        (["--app", "a\nb"], ["a\\nb"]),
        (["--trusted-proxy", "everybody"], ["--trusted-proxy: ", "everybody", "10.0.0.0/8"]),
        (["--access-log-form", "xml"], ["--access-log-form", "xml", "json", "common"]),
    ],
)
def test_a_text_that_cannot_be_used_is_named_with_what_would_do(arguments, words):
    text = refusal(*arguments)
    assert all(word in text for word in words)


@pytest.mark.parametrize(
    ("variable", "text"),
    [
        ("APP_NAME", "a/b"),
        ("ROLLING_ROUTER_TRUSTED_PROXY", "everybody"),
        ("ROLLING_ROUTER_VIA", "a b"),
        ("ROLLING_ROUTER_QUEUE_LENGTH", "x"),
        ("ROLLING_ROUTER_HEALTH_PATH", "healthz"),
        ("ROLLING_ROUTER_EJECT_STATUSES", "404"),
        ("ROLLING_ROUTER_ACCESS_LOG_FORM", "xml"),
        ("OCCS_INSECURE", "maybe"),
    ],
)
def test_a_variable_that_cannot_be_used_is_named_rather_than_an_option_that_nobody_gave(variable, text):
    told = refusal(needed=NEEDED[2:], environ={"APP_NAME": "shop", variable: text})
    assert told.startswith(variable)
    assert "--" not in told


@pytest.mark.parametrize(
    ("arguments", "environ", "said"),
    [
        (["--store", "nope:x"], {"ROLLING_ROUTER_STORE": "file:x"}, "--store"),
        ([], {"ROLLING_ROUTER_STORE": "nope:x"}, "ROLLING_ROUTER_STORE"),
        ([], {"KV_IP": "a", "KV_PORT": "x"}, "KV_IP"),
        (["--store", "file:x", "--strategy", "nope"], {}, "--strategy"),
        (["--store", "file:x"], {"ROLLING_ROUTER_STRATEGY": "cookie:x"}, "ROLLING_ROUTER_STRATEGY"),
        (["--store", "file:x", "--state-dir", "/proc/x"], {}, "--state-dir"),
        (["--store", "file:x"], {"ROLLING_ROUTER_STATE_DIR": "/proc/x"}, "ROLLING_ROUTER_STATE_DIR"),
    ],
)
def test_what_a_plugin_or_the_disk_refuses_names_how_it_was_given(arguments, environ, said):
    from twisted.internet import reactor

    settings = read(*arguments, needed=NEEDED[:2], environ=environ)
    with pytest.raises(SettingError, match=rf"^{said}(:| is) .*; ") as wrong:
        RouterService(settings, reactor, environ)
    assert "\n" not in str(wrong.value)


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


@pytest.mark.parametrize(
    ("option", "text", "part"),
    [
        ("health-path", "healthz", "a path such as /healthz, or tcp, or off"),
        ("health-path", "/a b", "a path such as"),
        ("health-interval-seconds", "0", "from 0.1 to 3600"),
        ("health-interval-seconds", "nan", "from 0.1 to 3600"),
        ("health-rise", "0", "whole number from 1 to 100"),
        ("health-fall", "1.5", "whole number from 1 to 100"),
        ("eject-statuses", "404", "statuses from 500 to 599"),
        ("eject-statuses", "5xx", "statuses from 500 to 599"),
        ("retry-statuses", "200", "statuses from 500 to 599"),
        ("retry-budget", "101", "from 0 to 100"),
    ],
)
def test_what_cannot_be_meant_of_health_and_retries_is_refused(option, text, part):
    said = refusal(f"--{option}", text)
    assert option in said
    assert part in said
