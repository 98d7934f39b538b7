"""The cookie strategy: what its cookie says, to whom it says it, and what it keeps to itself."""

from __future__ import annotations

import hashlib
import itertools
import re

import attrs
import pytest

from rolling_router.interfaces import Instance, Pin, SettingError, Split, Version
from rolling_router_plugins import cookie
from rolling_router_plugins.cookie import CookiePlugin, default_name
from tests.contract import APP, CANDIDATE, SPLITS, STABLE, FakeClient, StrategyContract

BOTH = SPLITS["both"]
PIN = Pin(CANDIDATE, CANDIDATE.instances[1])
NAME = default_name(APP).encode()


def make(app=APP, **options):
    return CookiePlugin().make(app, options)


def told(strategy, pin=PIN, split=BOTH, client=FakeClient()):  # noqa: B008 - frozen
    ((field, text),) = strategy.remember(client, split, pin)
    assert field == b"Set-Cookie"
    return text


def value_of(strategy, pin=PIN, split=BOTH):
    return told(strategy, pin, split).partition(b";")[0].partition(b"=")[2]


def with_values(*values, name=NAME):
    return FakeClient(cookies=tuple((name, value) for value in values))


class TestContract(StrategyContract):
    plugin = CookiePlugin()


class TestContractWithEveryOption(StrategyContract):
    plugin = CookiePlugin()
    options = {"name": "r", "domain": "example.org", "lifetime": "60", "secure": "always", "samesite": "none"}


# What the cookie says


@pytest.mark.parametrize("split", SPLITS.values(), ids=SPLITS)
def test_every_pin_of_a_split_comes_back(split):
    strategy = make()
    for version in filter(None, (split.stable, split.candidate)):
        for instance in (None, *version.instances):
            pin = Pin(version, instance)
            assert strategy.recall(with_values(value_of(strategy, pin, split)), split) == pin


def test_a_promote_moves_nobody_who_was_on_the_candidate():
    client = FakeClient().told(make().remember(FakeClient(), BOTH, PIN))
    assert make().recall(client, Split(APP, stable=CANDIDATE, candidate=None, blend=0)) == PIN


def test_a_version_out_of_the_rollout_is_forgotten():
    client = FakeClient().told(make().remember(FakeClient(), BOTH, PIN))
    assert make().recall(client, Split(APP, STABLE, None, 0)) is None


def test_the_same_name_on_another_container_port_is_another_version():
    twin = attrs.evolve(CANDIDATE, port=CANDIDATE.port + 1)
    client = FakeClient().told(make().remember(FakeClient(), BOTH, PIN))
    assert make().recall(client, Split(APP, STABLE, twin, 50)) is None


def test_a_client_whose_instance_is_gone_keeps_its_version():
    client = FakeClient().told(make().remember(FakeClient(), BOTH, PIN))
    shrunk = attrs.evolve(CANDIDATE, instances=CANDIDATE.instances[:1])
    assert make().recall(client, Split(APP, STABLE, shrunk, 50)) == Pin(shrunk)


def test_scaling_and_the_order_of_instances_do_not_matter():
    client = FakeClient().told(make().remember(FakeClient(), BOTH, PIN))
    grown = attrs.evolve(CANDIDATE, instances=(Instance("10.0.0.9", 1), *reversed(CANDIDATE.instances)))
    assert make().recall(client, Split(APP, STABLE, grown, 50)) == Pin(grown, PIN.instance)


def test_an_instance_that_the_split_does_not_know_is_left_out_of_the_cookie():
    assert value_of(make(), Pin(CANDIDATE, Instance("10.9.9.9", 9))) == value_of(make(), Pin(CANDIDATE))


def test_the_first_valid_value_counts():
    strategy = make()
    to_candidate, to_stable = value_of(strategy), value_of(strategy, Pin(STABLE, STABLE.instances[0]))
    assert strategy.recall(with_values(b"", b"AAAAAAAAAAAA.AAAA", to_candidate, to_stable), BOTH) == PIN
    assert strategy.recall(with_values(to_stable, to_candidate), BOTH) == Pin(STABLE, STABLE.instances[0])


def test_a_damaged_value_is_none_at_all():
    strategy = make()
    good = value_of(strategy)
    damaged = [good[:n] for n in range(len(good)) if n != 12]  # the first 12 are the version alone, and mean it
    damaged += [good + b"A", good + b"\n", b'"' + good + b'"', good.replace(b".", b"!"), good[:-1] + b"\xff"]
    damaged += [good[:n] + bytes([good[n] ^ 1]) + good[n + 1 :] for n in range(13)]
    for value in damaged:
        assert strategy.recall(with_values(value), BOTH) is None, value


def test_another_cookie_is_not_looked_at():
    assert make().recall(with_values(value_of(make()), name=b"session"), BOTH) is None


def test_instances_that_share_a_token_stand_for_the_first_of_them(monkeypatch):
    monkeypatch.setattr(cookie, "urlsafe_b64encode", lambda digest: b"V" * 12 if len(digest) == 9 else b"same")
    cookie._derive.cache_clear()
    try:
        strategy, split = make(), Split(APP, STABLE, None, 0)
        for instance in STABLE.instances:
            client = FakeClient().told(strategy.remember(FakeClient(), split, Pin(STABLE, instance)))
            assert strategy.recall(client, split) == Pin(STABLE, min(STABLE.instances))
    finally:
        cookie._derive.cache_clear()


def test_many_splits_take_turns_without_confusion():
    strategy = make()
    splits = [Split(APP, STABLE, attrs.evolve(CANDIDATE, id=f"{APP}-{n}"), 50) for n in range(7)]
    for _, split in itertools.product(range(2), splits):
        pin = Pin(split.candidate, CANDIDATE.instances[0])
        client = FakeClient().told(strategy.remember(FakeClient(), split, pin))
        assert strategy.recall(client, split) == pin
        assert strategy.recall(client, BOTH) is None


# What it keeps to itself


def test_the_value_is_two_short_tokens():
    assert re.fullmatch(rb"[A-Za-z0-9_-]{12}\.[A-Za-z0-9_-]{4}", value_of(make()))
    assert re.fullmatch(rb"[A-Za-z0-9_-]{12}", value_of(make(), Pin(CANDIDATE)))


def test_the_value_stays_the_same_from_release_to_release():
    """A change here throws every client of every running rollout off its version."""
    assert value_of(make()) == b"HDL35sWuUs-3.QdZo"


def test_no_plain_hash_of_a_name_is_in_the_value():
    token = value_of(make(), Pin(CANDIDATE))
    for digest, text in itertools.product(("md5", "sha1", "sha256", "blake2b"), (CANDIDATE.id, f"8080 {CANDIDATE.id}")):
        assert cookie.urlsafe_b64encode(hashlib.new(digest, text.encode()).digest())[:12] != token


def test_apps_do_not_share_names_or_tokens():
    other = attrs.evolve(BOTH, app="till")
    assert default_name("shop") != default_name("till")
    assert value_of(make("shop")) != value_of(make("till"), split=other)


def test_the_default_name_is_short_and_says_nothing():
    assert re.fullmatch(r"rr_[0-9a-f]{6}", default_name(APP))
    assert make().private_cookies == (NAME,)


# Attributes


def test_the_plain_cookie():
    value = value_of(make())
    assert told(make()) == NAME + b"=" + value + b"; Path=/; HttpOnly; SameSite=Lax"


def test_a_client_that_came_by_tls_gets_it_secure():
    assert told(make(), client=FakeClient(is_secure=True)).endswith(b"; SameSite=Lax; Secure")


@pytest.mark.parametrize(
    ("options", "attribute"),
    [
        ({"lifetime": "86400"}, b"Max-Age=86400"),
        ({"domain": "example.org"}, b"Domain=example.org"),
        ({"secure": "always"}, b"Secure"),
        ({"secure": "auto", "samesite": "strict"}, b"SameSite=Strict"),
        ({"secure": "always", "samesite": "none"}, b"SameSite=None"),
        ({"name": "__Host-r", "secure": "always"}, b"Secure"),
    ],
)
def test_options_become_attributes(options, attribute):
    strategy = make(**options)
    assert attribute in told(strategy).split(b"; ")
    assert strategy.recall(FakeClient().told(strategy.remember(FakeClient(), BOTH, PIN)), BOTH) == PIN


def test_a_name_of_the_operators_choice():
    strategy = make(name="my.pin")
    assert strategy.private_cookies == (b"my.pin",)
    assert told(strategy).startswith(b"my.pin=")


# Refusals


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"path": "/"}, "no option 'path'; it has: name, domain, lifetime, secure, samesite, key_file"),
        ({"name": ""}, "name is ''"),
        ({"name": "a b"}, "name is 'a b'; it must be of letters"),
        ({"name": "a;b"}, "name is 'a;b'"),
        ({"name": "keks\u00fc"}, "name is 'keks\u00fc'"),
        ({"name": "r\n"}, "name is 'r\\n'"),
        ({"name": "__Host-r"}, "only together with secure=always"),
        ({"name": "__secure-r"}, "only together with secure=always"),
        ({"name": "__Host-r", "secure": "always", "domain": "example.org"}, "only without the option domain"),
        ({"domain": "example.org; Path=/x"}, "domain is 'example.org; Path=/x'; it must be a host name"),
        ({"domain": "-x.org"}, "domain is '-x.org'"),
        ({"lifetime": "0"}, "lifetime is '0'; it must be a whole number of seconds from 1 to 34560000"),
        ({"lifetime": "1d"}, "lifetime is '1d'"),
        ({"lifetime": "-1"}, "lifetime is '-1'"),
        ({"lifetime": "\u0663"}, "lifetime is '\u0663'"),
        ({"lifetime": "34560001"}, "lifetime is '34560001'"),
        ({"secure": "yes"}, "secure is 'yes'; it must be auto or always"),
        ({"samesite": "Lax"}, "samesite is 'Lax'; it must be lax, strict or none"),
        ({"samesite": "none"}, "samesite is 'none'; browsers take that only together with secure=always"),
        ({"key_file": ""}, "key_file is ''; the file cannot be read"),
        ({"key_file": "/nowhere/at/all"}, "(No such file or directory); name a readable one"),
        ({"key_file": "\0"}, "the file cannot be read"),
    ],
)
def test_a_bad_option_is_refused_with_what_would_do(options, text):
    with pytest.raises(SettingError) as refused:
        make(**options)
    assert text in str(refused.value)


# The key file


def test_a_key_file_makes_tokens_that_others_cannot_make(tmp_path):
    secrets = {"a": b"sixteen bytes ok", "a-again": b"\n sixteen bytes ok\n", "b": b"another secret!!!"}
    for name, secret in secrets.items():
        (tmp_path / name).write_bytes(secret)
    a, again, b = (make(key_file=str(tmp_path / name)) for name in secrets)
    assert value_of(a) == value_of(again)
    assert len({value_of(a), value_of(b), value_of(make())}) == 3
    client = FakeClient().told(a.remember(FakeClient(), BOTH, PIN))
    assert again.recall(client, BOTH) == PIN
    assert b.recall(client, BOTH) is None


def test_a_short_key_is_refused_and_not_shown(tmp_path):
    (tmp_path / "key").write_bytes(b"  fifteen bytes!  \n")
    with pytest.raises(SettingError, match="the file holds 14 bytes; the secret must have at least 16") as refused:
        make(key_file=str(tmp_path / "key"))
    assert "fifteen" not in str(refused.value)


def test_the_secret_is_not_in_the_settings_text():
    assert "hush" not in repr(cookie.CookieSettings(b"r", secret=b"hush, hush, hush"))


# Speed


def test_tokens_are_made_once_per_split(monkeypatch):
    made = []
    values = cookie._values
    monkeypatch.setattr(cookie, "_values", lambda salt, version: made.append(version) or values(salt, version))
    strategy = make()
    client = FakeClient().told(strategy.remember(FakeClient(), BOTH, PIN))
    for _ in range(10):
        strategy.recall(client, BOTH)
        strategy.remember(client, BOTH, PIN)
    assert made == [STABLE, CANDIDATE]


def test_a_client_without_the_cookie_costs_no_tokens(monkeypatch):
    monkeypatch.setattr(cookie, "_values", lambda salt, version: pytest.fail("tokens were made"))
    assert make().recall(FakeClient(), Split(APP, Version("shop-unseen", 1), None, 0)) is None
