"""Parts of the OCCS emulator on a clock turned by hand: the node's late view, sessions and bearers, its certificate."""

from __future__ import annotations

import datetime

import pytest
from twisted.internet.task import Clock

from rolling_router.errors import SettingError
from rolling_router.occs.emulator.accounts import SESSION_SECONDS, Accounts, Secrets
from rolling_router.occs.emulator.certificate import DAYS, Certificate
from rolling_router.occs.emulator.keyvalues import KeyValues, Worker
from rolling_router.occs.emulator.state import State, load


def test_a_worker_sees_writes_late_and_in_their_order_whatever_the_delay_does():
    clock, truth, delays = Clock(), KeyValues(), [0.0]
    worker = Worker(truth, clock, lambda: delays[0])

    def seen():
        return {key: entry.value for key, entry in worker.under("")}

    truth.put("a", b"0")
    assert seen() == {"a": b"0"}
    delays[0] = 5.0
    truth.put("a", b"1")
    truth.remove("b")
    delays[0] = 0.0
    truth.put("a", b"2")
    truth.put("c", b"3")
    assert seen() == {"a": b"0"}
    clock.advance(4.9)
    assert seen() == {"a": b"0"}
    clock.advance(0.2)
    assert seen() == {"a": b"2", "c": b"3"}
    truth.remove("a")
    assert worker.get("a") is None


def test_keys_come_in_byte_order_and_indices_only_grow():
    truth = KeyValues()
    for name in ("b", "\U00010000", "a/2", "\uffff", "a/10"):
        truth.put(name, b"")
    assert [key for key, _ in truth.under("")] == ["a/10", "a/2", "b", "\uffff", "\U00010000"]
    truth.remove("no such")
    assert truth.index == 5


def accounts(token_seconds=0.0):
    clock = Clock()
    clock.advance(1000.0)
    return clock, Accounts(Secrets("admin", "word", "bearer", 1000.0), clock, lambda: token_seconds)


def test_a_session_lives_for_as_long_as_it_is_used():
    clock, one = accounts()
    header = f"session {one.sign_in('admin', 'word')}"
    for _ in range(3):
        clock.advance(SESSION_SECONDS - 1)
        assert one.bearer_of(header) == "bearer"
    clock.advance(SESSION_SECONDS + 1)
    assert one.bearer_of(header) is None


def test_a_bearer_of_limited_life_is_renewed_by_a_session_only():
    clock, one = accounts(token_seconds=60.0)
    header = f"Session {one.sign_in('admin', 'word')}"
    clock.advance(60.0)
    assert one.is_bearer("Bearer bearer")
    clock.advance(1.0)
    assert not one.is_bearer("Bearer bearer")
    new = one.bearer_of(header)
    assert new != "bearer"
    assert one.is_bearer(f"bearer {new}")
    assert not one.is_bearer("Bearer bearer")


def test_secrets_do_not_show():
    assert "word" not in repr(Secrets("admin", "word", "bearer"))
    assert "bearer=" not in repr(Secrets("admin", "word", "bearer"))


def test_half_a_character_in_a_deployment_is_kept_like_the_rest(tmp_path):
    told = {"deployment_name": "\ud800", "stack": {"content": "gr\u00fcn"}}
    path = tmp_path / "state.json"
    path.write_bytes(State(Secrets.new("admin", 0.0), 7, {}, [told]).to_bytes())
    kept = load(path)
    assert kept is not None
    assert (kept.index, kept.deployments) == (7, [told])


def test_a_certificate_is_kept_until_a_month_before_its_end(tmp_path):
    now = datetime.datetime(2026, 11, 23, tzinfo=datetime.UTC)
    certificate = Certificate(tmp_path)
    assert certificate.see_to(["127.0.0.1"], now)
    assert not certificate.see_to(["127.0.0.1"], now + datetime.timedelta(days=DAYS - 40))
    assert certificate.see_to(["127.0.0.1"], now + datetime.timedelta(days=DAYS - 20))
    assert certificate.see_to(["example.test"], now + datetime.timedelta(days=DAYS - 20))


@pytest.mark.parametrize("name", ["certificate.pem", "key.pem"])
def test_a_damaged_certificate_or_key_is_named(tmp_path, name):
    now = datetime.datetime(2026, 11, 23, tzinfo=datetime.UTC)
    Certificate(tmp_path).see_to([], now)
    (tmp_path / name).write_text("nonsense")
    with pytest.raises(SettingError, match="cannot be used"):
        Certificate(tmp_path).see_to([], now)


def test_a_key_that_is_not_the_certificates_makes_a_new_pair(tmp_path):
    now = datetime.datetime(2026, 11, 23, tzinfo=datetime.UTC)
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        Certificate(tmp_path / folder).see_to([], now)
    (tmp_path / "a" / "key.pem").write_bytes((tmp_path / "b" / "key.pem").read_bytes())
    assert Certificate(tmp_path / "a").see_to([], now)
    assert Certificate(tmp_path / "a").options() is not None
