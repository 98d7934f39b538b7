"""Sessions: how long they live, and that a restart signs out nobody but who came by a store's secret."""

import json
import stat
from pathlib import Path

import pytest
from twisted.internet.defer import maybeDeferred

from rolling_router.admin.identity import Identity, Rights
from rolling_router.admin.kept_sessions import KeptSessions
from rolling_router.admin.sessions import IDLE_SECONDS, KEEP_SECONDS, LONGEST_SECONDS, Sessions
from rolling_router.admin.token_file import TokenFile, make_token
from rolling_router.admin.tokens import Tokens

OPERATOR = Identity("mari", Rights.OPERATOR, "fingerprint-of-mari")
VIEWER = Identity("screen", Rights.VIEWER, "fingerprint-of-screen")
BEARER = Identity("by-bearer", Rights.OPERATOR, control=object())


class Clock:
    now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def kept(tmp_path: Path) -> KeptSessions:
    return KeptSessions(str(tmp_path / "state"), "shop", maybeDeferred)


def reopened(clock, kept, is_valid=lambda identity: True) -> Sessions:
    """The sessions of the next process."""
    return Sessions(clock, is_valid, KeptSessions(str(Path(kept.path).parent), "shop", maybeDeferred))


def test_a_session_is_found_after_a_restart_with_the_same_csrf_token(clock, kept):
    sessions = Sessions(clock, kept=kept)
    id, session = sessions.open(OPERATOR)
    assert sessions.stop().called
    found = reopened(clock, kept).find(id)
    assert found is not None
    assert found.identity == OPERATOR
    assert found.csrf == session.csrf
    assert found.takes(session.csrf)
    assert not found.takes("")


def test_it_is_on_disk_at_once_for_a_router_that_dies(clock, kept):
    id, _ = Sessions(clock, kept=kept).open(OPERATOR)
    assert reopened(clock, kept).find(id) is not None


def test_no_id_and_no_csrf_token_is_on_disk_and_nobody_else_can_read_it(clock, kept):
    id, session = Sessions(clock, kept=kept).open(OPERATOR)
    text = Path(kept.path).read_text()
    assert id not in text
    assert session.csrf not in text
    assert stat.S_IMODE(Path(kept.path).stat().st_mode) == 0o600


def test_one_who_came_by_a_stores_secret_is_not_kept(clock, kept):
    sessions = Sessions(clock, kept=kept)
    id, session = sessions.open(BEARER)
    ended = []
    session.ended.append(lambda: ended.append(True))
    sessions.stop()
    assert ended == [True]
    assert json.loads(Path(kept.path).read_text()) == {"sessions": []}
    assert reopened(clock, kept).find(id) is None


def test_many_that_end_together_are_written_once(clock, kept):
    sessions = Sessions(clock, kept=kept)
    for _ in range(50):
        sessions.open(OPERATOR)
    writes, keep = [], kept.keep
    kept.keep = lambda them: (writes.append(len(them)), keep(them))
    clock.now += IDLE_SECONDS + 1
    id, _ = sessions.open(VIEWER)
    assert writes == [1]
    sessions.close(id)
    assert writes == [1, 0]


def test_without_a_directory_all_end_at_the_stop(clock):
    sessions = Sessions(clock)
    id, session = sessions.open(OPERATOR)
    sessions.stop()
    assert session.is_over
    assert sessions.find(id) is None


def test_limits_count_on_across_a_restart(clock, kept):
    sessions = Sessions(clock, kept=kept)
    idle, _ = sessions.open(OPERATOR)
    used, _ = sessions.open(VIEWER)
    clock.now += IDLE_SECONDS - 1
    sessions.find(used)
    sessions.stop()
    clock.now += 2
    after = reopened(clock, kept)
    assert after.find(idle) is None
    assert after.find(used) is not None
    clock.now += LONGEST_SECONDS[Rights.VIEWER]
    assert after.find(used) is None


def test_a_revoked_token_ends_a_kept_session_too(clock, kept):
    id, _ = Sessions(clock, kept=kept).open(OPERATOR)
    assert reopened(clock, kept, lambda identity: False).find(id) is None


def test_a_token_that_is_given_fewer_rights_ends_its_sessions(clock, tmp_path):
    file = TokenFile(str(tmp_path))
    tokens = Tokens(clock, file, {}, maybeDeferred)
    secret, token = make_token("mari", Rights.OPERATOR, clock())
    file.add(token)
    identity = tokens.find(secret)
    assert tokens.is_valid(identity)
    Path(file.path).write_text(Path(file.path).read_text().replace("operator", "viewer"))
    clock.now += 2
    assert not tokens.is_valid(identity)
    assert tokens.find(secret).rights is Rights.VIEWER


def test_signing_out_is_for_good(clock, kept):
    sessions = Sessions(clock, kept=kept)
    id, _ = sessions.open(OPERATOR)
    sessions.close(id)
    assert reopened(clock, kept).find(id) is None


def test_use_is_written_now_and_then_and_not_each_time(clock, kept):
    sessions = Sessions(clock, kept=kept)
    id, _ = sessions.open(OPERATOR)
    before = Path(kept.path).read_text()
    clock.now += KEEP_SECONDS / 2
    sessions.find(id)
    assert Path(kept.path).read_text() == before
    clock.now += KEEP_SECONDS
    sessions.find(id)
    assert Path(kept.path).read_text() != before


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", "{}", '{"sessions": [1]}', '{"sessions": [{"sha256": "no"}]}', '{"sessions": null}', "[" * 9999],
)
def test_a_damaged_file_signs_people_out_and_harms_nothing(clock, kept, text):
    Path(kept.path).parent.mkdir()
    Path(kept.path).write_text(text)
    sessions = reopened(clock, kept)
    assert len(sessions) == 0
    id, _ = sessions.open(OPERATOR)
    assert reopened(clock, kept).find(id) is not None


def test_a_directory_that_cannot_be_written_costs_the_keeping_alone(clock, tmp_path):
    (tmp_path / "state").write_text("a file, where a directory should be")
    sessions = Sessions(clock, kept=KeptSessions(str(tmp_path / "state"), "shop", maybeDeferred))
    id, _ = sessions.open(OPERATOR)
    assert sessions.find(id) is not None
    assert sessions.stop().called
