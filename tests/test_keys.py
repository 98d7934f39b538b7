"""Keys <-> model: what each text means, and what is said of the bad ones."""

from __future__ import annotations

import attrs
import pytest

from rolling_router.errors import SettingError
from rolling_router.rollout import keys
from rolling_router.rollout.keys import check_app, instance_prefixes, parse_path, read_snapshot, version_path
from rolling_router.rollout.model import HealthKeys, Instance, Problem, Role, Snapshot, Version

APP = "docker-hello-world"
STABLE_KEY, CANDIDATE_KEY = f"rolling/{APP}/stable/id", f"rolling/{APP}/candidate/id"
BLEND_KEY, STICKINESS_KEY = f"rolling/{APP}/blendpercent", f"rolling/{APP}/stickyness"
ONE, TWO = f"apps/app-{APP}-20261123-101500-8080/containers", f"apps/app-{APP}-20261124-090000-8080/containers"
GOOD = {
    "rolling/null": "-",
    STABLE_KEY: ONE,
    CANDIDATE_KEY: TWO,
    BLEND_KEY: "20",
    STICKINESS_KEY: "1",
    f"{ONE}/b": "10.0.0.2:32768",
    f"{ONE}/a": "10.0.0.1:32768",
    f"{TWO}/c": "web_3.internal:80",
}
BOTH_NULLS = ["rolling/null", "apps/app-rolling/null-8080/containers", "apps/app-rolling/null-80/containers"]


def read(changes: dict[str, str | None] | None = None) -> Snapshot:
    """The snapshot of the good keys with these changes."""
    merged = {**GOOD, **(changes or {})}
    found = {key: text for key, text in merged.items() if text is not None}
    return read_snapshot(APP, found, ["cookie", "ip-hash"], "cookie")


def only_problem(snapshot: Snapshot) -> Problem:
    assert len(snapshot.problems) == 1, snapshot.problems
    return snapshot.problems[0]


def test_good_keys_make_a_snapshot_without_problems():
    assert read() == Snapshot(
        APP,
        Version(f"{APP}-20261123-101500", 8080, (Instance("10.0.0.1", 32768), Instance("10.0.0.2", 32768))),
        Version(f"{APP}-20261124-090000", 8080, (Instance("web_3.internal", 80),)),
        20,
        "cookie",
    )


def test_the_names_of_the_keys_are_those_of_every_store():
    assert keys.app_prefix(APP) == f"rolling/{APP}/"
    assert [keys.role_key(APP, role) for role in Role] == [STABLE_KEY, CANDIDATE_KEY]
    assert (keys.blend_key(APP), keys.stickiness_key(APP)) == (BLEND_KEY, STICKINESS_KEY)


def test_other_apps_keys_do_no_harm():
    assert read({f"rolling/{APP}-2/blendpercent": "7", "rolling/docker/stable/id": "?", f"{ONE}-2/a": "?"}) == read()


@pytest.mark.parametrize("found", [{}, {"rolling/null": "-"}, {f"rolling/{APP}2/blendpercent": "1", ONE: "x"}])
def test_an_app_that_is_not_set_up_is_said_to_be_so(found):
    snapshot = read_snapshot(APP, found, ["cookie"], "cookie")
    assert attrs.evolve(snapshot, problems=()) == Snapshot(APP)
    assert "not set up" in only_problem(snapshot).text


# Paths


@pytest.mark.parametrize("text", BOTH_NULLS)
@pytest.mark.parametrize("space", ["", "\n"])
def test_every_spelling_of_none_is_none(text, space):
    assert parse_path(text + space) is None
    assert read({CANDIDATE_KEY: text + space}) == attrs.evolve(read(), candidate=None)
    assert read({STABLE_KEY: text + space}).stable is None


@pytest.mark.parametrize("version", ["v", "a-b", "shop-20261123-101500", "a--b", "-a-", "shop-8080", "1-2-3", "ü .x"])
@pytest.mark.parametrize("port", [1, 80, 8080, 65535])
def test_the_port_is_what_follows_the_last_hyphen(version, port):
    assert parse_path(version_path(version, port)) == (version, port)


def test_a_slash_at_the_end_is_forgiven():
    assert parse_path(ONE + "/") == parse_path(ONE)


BAD_PATHS = {
    "": "neither rolling/null nor of the form",
    "null": "neither rolling/null nor of the form",
    "rolling/nul": "neither rolling/null nor of the form",
    "apps/app-shop/containers": "neither rolling/null nor of the form",
    "apps/app-shop-/containers": "neither rolling/null nor of the form",
    "apps/app--80/containers": "neither rolling/null nor of the form",
    "apps/app-shop-http/containers": "neither rolling/null nor of the form",
    "apps/app-shop-8080": "neither rolling/null nor of the form",
    "apps/shop-8080/containers": "neither rolling/null nor of the form",
    "apps/app-shop-80/containers/a": "neither rolling/null nor of the form",
    "apps/app-shop-٨٠/containers": "neither rolling/null nor of the form",
    "apps/app-shop-0/containers": "the port 0 is not a number from 1 to 65535",
    "apps/app-shop-65536/containers": "the port 65536 is not a number from 1 to 65535",
    "apps/app-shop-99999/containers": "the port 99999 is not a number from 1 to 65535",
    "apps/app-a/b-80/containers": "contains a '/'",
}


@pytest.mark.parametrize(("text", "why"), BAD_PATHS.items())
def test_a_bad_path_is_no_version_and_named(text, why):
    with pytest.raises(ValueError, match=why):
        parse_path(text)
    for key in (STABLE_KEY, CANDIDATE_KEY):
        problem = only_problem(read({key: text}))
        assert (problem.key, problem.value) == (key, text)
        assert why in problem.text
    assert read({CANDIDATE_KEY: text}).candidate is None
    assert read({STABLE_KEY: text}).stable is None


def test_an_absent_role_is_named():
    for key in (STABLE_KEY, CANDIDATE_KEY):
        assert str(only_problem(read({key: None}))).startswith(f"{key} is absent: ")


def test_a_candidate_that_is_the_stable_version_is_none():
    snapshot = read({CANDIDATE_KEY: ONE})
    assert snapshot.stable == read().stable
    assert snapshot.candidate is None
    assert only_problem(snapshot).key == CANDIDATE_KEY


def test_prefixes_of_the_instances_are_those_of_the_versions_in_play():
    assert instance_prefixes(APP, GOOD) == [f"{ONE}/", f"{TWO}/"]
    assert instance_prefixes(APP, {**GOOD, CANDIDATE_KEY: ONE}) == [f"{ONE}/"]
    assert instance_prefixes(APP, {**GOOD, CANDIDATE_KEY: f"{TWO}/"}) == [f"{ONE}/", f"{TWO}/"]
    for nothing in (*BOTH_NULLS, *BAD_PATHS):
        assert instance_prefixes(APP, {**GOOD, STABLE_KEY: nothing}) == [f"{TWO}/"]
    assert instance_prefixes(APP, {}) == []


# Instances

GOOD_INSTANCES = {
    "10.0.0.1:80": Instance("10.0.0.1", 80),
    " 10.0.0.1:80\n": Instance("10.0.0.1", 80),
    "web:1": Instance("web", 1),
    "web-1.shop_net.internal.:65535": Instance("web-1.shop_net.internal.", 65535),
    "[::1]:80": Instance("::1", 80),
    "[2001:db8::7]:8080": Instance("2001:db8::7", 8080),
    "[fe80::1%eth0]:80": Instance("fe80::1%eth0", 80),
    "https://10.0.0.1:8443": Instance("10.0.0.1", 8443, True),
    "https://[::1]:8443": Instance("::1", 8443, True),
}


@pytest.mark.parametrize(("text", "instance"), GOOD_INSTANCES.items())
def test_an_instance_is_read_and_written_the_same(text, instance):
    assert Instance.parse(text) == instance
    assert str(instance) == text.strip()
    assert read({f"{TWO}/c": text}) == attrs.evolve(
        read(), candidate=attrs.evolve(read().candidate, instances=(instance,))
    )


BAD_INSTANCES = {
    "": "it has no port",
    "10.0.0.1": "it has no port",
    "10.0.0.1:": "the port ''",
    "10.0.0.1:0": "the port '0'",
    "10.0.0.1:65536": "the port '65536'",
    "10.0.0.1:-1": "the port '-1'",
    "10.0.0.1:+80": r"the port '\+80'",
    "10.0.0.1:8_0": "the port '8_0'",
    "10.0.0.1: 80": "the port ' 80'",
    "10.0.0.1:٨٠": "the port '٨٠'",
    "10.0.0.1:http": "the port 'http'",
    "::1:80": "neither an address nor a host name",
    "[::1]": "the port",
    "[]:80": "not an IPv6 address",
    "[10.0.0.1]:80": "not an IPv6 address",
    "[::g]:80": "not an IPv6 address",
    ":80": "neither an address nor a host name",
    "a b:80": "neither an address nor a host name",
    "a\r\nb:80": "neither an address nor a host name",
    "http://web:80": "neither an address nor a host name",
    "user@web:80": "neither an address nor a host name",
    "web..x:80": "neither an address nor a host name",
    "-web:80": "neither an address nor a host name",
}


@pytest.mark.parametrize(("text", "why"), BAD_INSTANCES.items())
def test_a_bad_instance_is_left_out_and_named(text, why):
    with pytest.raises(ValueError, match=why):
        Instance.parse(text)
    snapshot = read({f"{ONE}/c": text})
    assert attrs.evolve(snapshot, problems=()) == read()
    assert (only_problem(snapshot).key, only_problem(snapshot).value) == (f"{ONE}/c", text)


def test_a_version_without_a_usable_instance_keeps_its_role_and_is_named():
    snapshot = read({f"{TWO}/c": None})
    assert snapshot.candidate == Version(f"{APP}-20261124-090000", 8080)
    assert "cannot serve" in only_problem(snapshot).text
    assert [problem.key for problem in read({f"{TWO}/c": "?"}).problems] == [f"{TWO}/c", CANDIDATE_KEY]


def test_instances_are_in_the_same_order_on_every_router_and_each_once():
    twice = {**GOOD, f"{ONE}/z": "10.0.0.1:32768"}
    forwards = read_snapshot(APP, twice, ["cookie"], "cookie")
    backwards = read_snapshot(APP, dict(reversed(twice.items())), ["cookie"], "cookie")
    assert forwards == backwards == read()


# Blend and stickiness


@pytest.mark.parametrize("blend", range(101))
def test_every_blend_is_what_it_says(blend):
    for text in (str(blend), f" {blend}\n", f"{blend:03}"):
        assert read({BLEND_KEY: text}) == attrs.evolve(read(), blend=blend)


BAD_BLENDS = [
    "",
    " ",
    "101",
    "999",
    "1000",
    "-1",
    "-0",
    "+5",
    "5.0",
    "5%",
    "1e1",
    "0x10",
    "٢٠",
    "²",
    "1_0",
    "5 0",
    "null",
    "ten",
]


@pytest.mark.parametrize("text", [None, *BAD_BLENDS])
def test_a_bad_or_absent_blend_is_zero_and_says_why(text):
    snapshot = read({BLEND_KEY: text})
    assert attrs.evolve(snapshot, problems=()) == attrs.evolve(read(), blend=0)
    problem = only_problem(snapshot)
    assert (problem.key, problem.value) == (BLEND_KEY, text)
    assert "whole number from 0 to 100" in problem.text


def test_zero_is_zero_and_not_absent():
    assert read({BLEND_KEY: "0"}).problems == ()
    assert read({BLEND_KEY: "0"}).blend == 0
    assert read({STICKINESS_KEY: "0"}).problems == ()
    assert read({STICKINESS_KEY: "0"}).stickiness is None


@pytest.mark.parametrize(
    ("text", "name"),
    [("0", None), ("1", "cookie"), ("cookie", "cookie"), ("ip-hash", "ip-hash"), (" ip-hash\n", "ip-hash")],
)
def test_stickiness_is_none_the_default_or_a_strategy_by_name(text, name):
    assert read({STICKINESS_KEY: text}) == attrs.evolve(read(), stickiness=name)


@pytest.mark.parametrize(
    "text", [None, "", "2", "00", "true", "Cookie", "cookies", "iphash", "none", "-", "cookie,ip-hash"]
)
def test_a_bad_or_absent_stickiness_is_none_and_says_what_there_is(text):
    snapshot = read({STICKINESS_KEY: text})
    assert attrs.evolve(snapshot, problems=()) == attrs.evolve(read(), stickiness=None)
    problem = only_problem(snapshot)
    assert (problem.key, problem.value) == (STICKINESS_KEY, text)
    assert "cookie, ip-hash" in problem.text


def test_every_bad_text_is_named_at_once():
    snapshot = read({STABLE_KEY: "?", CANDIDATE_KEY: "?", BLEND_KEY: "?", STICKINESS_KEY: "?"})
    assert [problem.key for problem in snapshot.problems] == [STABLE_KEY, CANDIDATE_KEY, BLEND_KEY, STICKINESS_KEY]


def test_a_long_text_is_shown_in_part():
    assert len(str(only_problem(read({BLEND_KEY: "9" * 10_000})))) < 250


# The model


@pytest.mark.parametrize("app", ["a", "hello-world", "shop_2", "ü", "my shop", ".."])
def test_a_name_that_can_be_part_of_a_key_is_taken(app):
    assert check_app(app) == app


@pytest.mark.parametrize("app", ["", "a/b", "/", " a", "a\n", "a\0b", "\x7f"])
def test_a_name_that_cannot_be_part_of_a_key_is_refused(app):
    with pytest.raises(SettingError, match="the app's name is"):
        check_app(app)


@pytest.mark.parametrize("blend", [-1, 101])
def test_a_snapshot_with_an_impossible_blend_cannot_be_made(blend):
    with pytest.raises(ValueError, match="blend"):
        Snapshot(APP, blend=blend)


@pytest.mark.parametrize(("host", "port"), [("", 1), ("a", 0), ("a", 65536)])
def test_an_impossible_instance_cannot_be_made(host, port):
    with pytest.raises(ValueError, match=r"host|port"):
        Instance(host, port)


def test_roles_have_each_other():
    assert (Role.STABLE.other, Role.CANDIDATE.other) == (Role.CANDIDATE, Role.STABLE)
    assert [read().version(role) for role in Role] == [read().stable, read().candidate]


# Health


def test_health_is_read_from_the_store_and_a_bad_text_is_named():
    prefix = "rolling/shop/health/"
    keys = {
        **{prefix + name: text for name, text in {"path": " /healthz ", "interval-seconds": "0.5"}.items()},
        prefix + "rise": "two",
        prefix + "fall": "0",
        prefix + "timeout-seconds": "inf",
    }
    read = read_snapshot("shop", keys, ("cookie",), "cookie")
    assert read.health == HealthKeys(path="/healthz", interval_seconds=0.5)
    named = {problem.key: problem for problem in read.problems if "/health/" in problem.key}
    assert set(named) == {prefix + name for name in ("rise", "fall", "timeout-seconds")}
    assert "the option's value stays in force" in str(named[prefix + "rise"])
    assert "whole number from 1 to 100" in str(named[prefix + "fall"])


@pytest.mark.parametrize(
    ("text", "is_good"),
    [("/", True), ("tcp", True), ("off", True), ("/a?b=c", True)]
    + [(bad, False) for bad in ("", "healthz", "TCP", "/a b", "/a\nb", "http://x/", "/\u00e9")],
)
def test_a_health_path_is_a_path_or_tcp_or_off(text, is_good):
    read = read_snapshot("shop", {"rolling/shop/health/path": text}, ("cookie",), "cookie")
    assert read.health.path == (text if is_good else None)
