"""Calls to a manager that is slow, busy, broken or refuses us: in memory, with a clock turned by hand."""

from __future__ import annotations

import pytest
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock
from twisted.logger import globalLogPublisher

from rolling_router.errors import SettingError, StoreLost
from rolling_router.occs.calls import BODY_BYTES, ONCE, Refused
from rolling_router.occs.client import OccsClient, address, is_on
from rolling_router.occs.token import Token
from tests.occs_fakes import SECRET, Bench, said

BUSY = (503, b"<html>busy</html>")


# Time, and trying again


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
def test_a_passing_fault_is_tried_again(status):
    bench = Bench((status, b""), (status, b""), said([]))
    assert bench.ended(bench.client.keys.get("a"), 1.0) is None
    assert len(bench.manager.asked) == 3


def test_tries_are_few_and_further_and_further_apart():
    bench = Bench(BUSY)
    began = bench.clock.seconds()
    with pytest.raises(StoreLost, match="status 503"):
        bench.ended(bench.client.keys.get("a"), 5.0)
    assert len(bench.manager.asked) == 4
    assert bench.clock.getDelayedCalls() == []
    assert bench.clock.seconds() - began == pytest.approx(5.0)


def test_one_try_is_one_try():
    bench = Bench(BUSY)
    with pytest.raises(StoreLost):
        bench.ended(bench.client.keys.get("a", ONCE))
    assert len(bench.manager.asked) == 1


def test_a_call_without_an_answer_ends():
    bench = Bench(None)
    with pytest.raises(StoreLost, match=r"manager\.example gave no answer within 9 seconds"):
        bench.ended(bench.client.keys.get("a"), 9.1)
    assert len(bench.manager.asked) == 1
    assert bench.clock.getDelayedCalls() == []


@pytest.mark.parametrize("answer", [None, BUSY])
def test_a_cancelled_call_is_over_at_once(answer):
    bench = Bench(answer)
    results = []
    call = Deferred.fromCoroutine(bench.client.keys.get("a")).addBoth(results.append)
    call.cancel()
    assert results[0].check(CancelledError)
    bench.clock.advance(20)
    assert len(bench.manager.asked) == 1
    assert bench.clock.getDelayedCalls() == []


def test_too_long_an_answer_is_not_read_to_its_end():
    bench = Bench((200, b" " * (BODY_BYTES + 1)))
    with pytest.raises(StoreLost, match="more than 16 MiB"):
        bench.ended(bench.client.keys.get("a", ONCE))


# What is done once only


@pytest.mark.parametrize(
    "call",
    [
        lambda client: client.deployments.create({"deployment_id": "shop-1"}),
        lambda client: client.deployments.start("shop-1"),
        lambda client: client.deployments.stop("shop-1"),
        lambda client: client.signing.renewed("old"),
    ],
    ids=["create", "start", "stop", "renew"],
)
def test_what_does_harm_when_repeated_is_not_repeated(call):
    bench = Bench(BUSY)
    with pytest.raises(StoreLost):
        bench.ended(call(bench.client), 5.0)
    assert len(bench.manager.asked) == 1


# The token


@pytest.mark.parametrize("status", [401, 403])
def test_a_refused_token_is_named_by_its_source_and_not_shown(status):
    bench = Bench((status, SECRET.encode()))
    with pytest.raises(StoreLost, match=rf"refuses the token of OCCS_API_TOKEN with status {status}") as caught:
        bench.ended(bench.client.keys.get("a"), 5.0)
    assert SECRET not in str(caught.value)
    assert len(bench.manager.asked) == 1


def test_a_missing_token_is_asked_for():
    bench = Bench((401, b""))
    calls = bench.client.keys._calls
    calls._token = None
    with pytest.raises(StoreLost, match="set OCCS_API_TOKEN"):
        bench.ended(bench.client.keys.get("a"))


def test_a_new_token_in_the_file_is_taken_up_after_a_refusal(tmp_path):
    path = tmp_path / "token"
    path.write_text("first\n")
    token = Token.from_environ({"OCCS_API_TOKEN_FILE": str(path), "OCCS_API_TOKEN": "other"})
    bench = Bench((401, b""), said([]), token=token)
    path.write_text("second\n")
    assert bench.ended(bench.client.keys.get("a")) is None
    assert [one.authorization for one in bench.manager.asked] == ["Bearer first", "Bearer second"]
    bench.manager.answers = [(401, b"")]
    path.unlink()
    with pytest.raises(StoreLost, match=r"OCCS_API_TOKEN_FILE \(.*/token\)"):
        bench.ended(bench.client.keys.get("a"))


def test_a_token_shows_nowhere():
    seen = []
    globalLogPublisher.addObserver(seen.append)
    try:
        bench = Bench((500, SECRET.encode()))
        with pytest.raises(StoreLost) as caught:
            bench.ended(bench.client.keys.get("a"), 5.0)
        bench.manager.answers = [said({"errors": [{"message": f"no, {SECRET}!"}]}, 409)]
        with pytest.raises(Refused, match=r"no, \(token\)!") as refused:
            bench.ended(bench.client.deployments.start("shop-1"))
    finally:
        globalLogPublisher.removeObserver(seen.append)
    token = Token(SECRET)
    shown = [caught.value, refused.value, token, vars(bench.client.keys._calls), bench.client.__dict__, seen]
    assert SECRET not in repr(shown)
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize("text", ["two words", "ü", "a\nb", "\x00"])
def test_what_cannot_be_a_token_is_refused_without_being_shown(text, tmp_path):
    path = tmp_path / "token"
    path.write_text(text)
    for environ in ({"OCCS_API_TOKEN": text}, {"OCCS_API_TOKEN_FILE": str(path)}):
        with pytest.raises(SettingError, match="OCCS_API_TOKEN") as caught:
            Token.from_environ(environ)
        assert text not in str(caught.value)


def test_no_token_and_no_file():
    assert Token.from_environ({"OCCS_API_TOKEN": " "}) is None
    with pytest.raises(SettingError, match="OCCS_API_TOKEN_FILE is '/no/where'"):
        Token.from_environ({"OCCS_API_TOKEN_FILE": "/no/where"})


# Signing in


def test_signing_in_falls_back_on_the_documented_method():
    user = {"id": 100, "username": "admin", "token": "session", "type": 0}
    bench = Bench(said(user), (405, b""), said({"token": "bearer"}))
    assert bench.ended(bench.client.signing.bearer("admin", "secret")) == "bearer"
    asked = [(one.method, one.target, one.authorization) for one in bench.manager.asked]
    assert asked == [
        ("POST", "/api/auth", None),
        ("GET", "/api/token", "Session session"),
        ("POST", "/api/token", "Session session"),
    ]
    assert bench.manager.asked[0].body == b'{"username": "admin", "password": "secret"}'


def test_signing_in_with_a_wrong_password():
    bench = Bench(said({"errors": [{"message": "Unauthorized"}]}, 401))
    with pytest.raises(Refused, match="refuses the password of 'admin'"):
        bench.ended(bench.client.signing.bearer("admin", "wrong"))


def test_renewing():
    bench = Bench(said({"token": "new"}))
    assert bench.ended(bench.client.signing.renewed("old")) == "new"
    assert bench.manager.asked[0].authorization == "Bearer old"
    bench.manager.answers = [(401, b"")]
    with pytest.raises(Refused, match="was to be renewed"):
        bench.ended(bench.client.signing.renewed("old"))


@pytest.mark.parametrize("answer", [said({}), said([]), said({"token": ""}), said({"token": 5}), (200, b"<html>")])
def test_an_odd_answer_instead_of_a_token(answer):
    bench = Bench(answer)
    with pytest.raises(StoreLost):
        bench.ended(bench.client.signing.renewed("old"))


# Addresses


@pytest.mark.parametrize(
    "text",
    ["https://10.0.0.1", "https://10.0.0.1:8443/", "http://[::1]:9109", "https://occs.example", "http://my_node:9109"],
)
def test_addresses(text):
    assert address(text).to_text() == text.rstrip("/")


@pytest.mark.parametrize(
    "text",
    [
        *("", "10.0.0.1", "ftp://a", "https://", "https:///x", "https://a/api", "https://a?b", "https://a:x", "//a"),
        *("https://a:0", "https://a:99999", "https://a b", "https://a\tb", "https://a%20b", "https://[::1"),
        "https://\u00fc..a",
    ],
)
def test_what_is_no_address_is_refused(text):
    with pytest.raises(SettingError, match="it must be https://HOST"):
        address(text)


def test_a_password_in_an_address_is_refused_and_not_shown():
    with pytest.raises(SettingError) as caught:
        address("https://admin:hunter2@10.0.0.1")
    assert "hunter2" not in str(caught.value)


def test_no_token_is_sent_in_the_clear():
    with pytest.raises(SettingError, match="must be https://HOST"):
        OccsClient.of_manager(Clock(), "http://10.0.0.1", {}, Token(SECRET))


def test_switches():
    assert [is_on({"A": text}, "A") for text in ("1", "yes", "TRUE", "0", "no", "")] == [True] * 3 + [False] * 3
    with pytest.raises(SettingError, match="A is 'maybe'"):
        is_on({"A": "maybe"}, "A")


def test_closing_a_client_without_a_pool_is_no_trouble():
    assert isinstance(Bench(None).client, OccsClient)
    assert Bench(None).client.close().called
