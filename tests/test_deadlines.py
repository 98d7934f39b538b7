"""One coarse clock for all connections."""

from __future__ import annotations

import pytest
from twisted.internet.task import Clock
from twisted.logger import capturedLogs

from rolling_router.proxy.deadlines import NEVER, TICK_SECONDS, Deadlines


class Member:
    """Writes down when it expired, and then does what it is told."""

    def __init__(self, clock, deadline, then=lambda self: None):
        self._clock = clock
        self.deadline = deadline
        self.expired = []
        self._then = then

    def expire(self):
        self.expired.append(self._clock.seconds())
        self._then(self)


def never_again(member):
    member.deadline = NEVER


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def deadlines(clock):
    ours = Deadlines(clock)
    ours.startService()
    return ours


def test_a_member_expires_at_the_first_tick_at_or_after_its_deadline(clock, deadlines):
    members = [Member(clock, when, never_again) for when in (0.7, 1.0, 1.01, NEVER)]
    for member in members:
        deadlines.add(member)
    clock.pump([TICK_SECONDS] * 10)
    assert [member.expired for member in members] == [[1.0], [1.0], [1.5], []]


def test_a_member_that_neither_moves_nor_goes_is_asked_again(clock, deadlines):
    member = Member(clock, 1.0)
    deadlines.add(member)
    clock.pump([TICK_SECONDS] * 4)
    assert member.expired == [1.0, 1.5, 2.0]
    deadlines.discard(member)
    clock.pump([TICK_SECONDS] * 4)
    assert len(member.expired) == 3


def test_a_deadline_may_move_at_any_time(clock, deadlines):
    member = Member(clock, 1.0, never_again)
    deadlines.add(member)
    clock.advance(0.5)
    member.deadline = 3.0
    clock.pump([0.5] * 10)
    assert member.expired == [3.0]


def test_who_was_moved_by_anothers_end_does_not_expire(clock, deadlines):
    pair = []

    def both_move(member):
        for one in pair:
            one.deadline = NEVER

    pair += [Member(clock, 1.0, both_move), Member(clock, 1.0, both_move)]
    for member in pair:
        deadlines.add(member)
    clock.pump([0.5] * 4)
    assert sum(len(member.expired) for member in pair) == 1


def test_who_left_by_anothers_end_does_not_expire(clock, deadlines):
    pair = []

    def both_leave(member):
        for one in pair:
            deadlines.discard(one)

    pair += [Member(clock, 1.0, both_leave), Member(clock, 1.0, both_leave)]
    for member in pair:
        deadlines.add(member)
    clock.pump([0.5] * 4)
    assert sum(len(member.expired) for member in pair) == 1


def test_members_may_come_and_go_while_others_expire(clock, deadlines):
    late = Member(clock, 5.0, never_again)

    def replaced(member):
        deadlines.discard(member)
        deadlines.add(late)

    deadlines.add(Member(clock, 1.0, replaced))
    clock.pump([0.5] * 12)
    assert late.expired == [5.0]


def test_one_that_fails_is_logged_and_dropped_and_the_others_go_on(clock, deadlines):
    def fails(member):
        raise RuntimeError("cannot expire")

    bad, good = Member(clock, 1.0, fails), Member(clock, 1.0, never_again)
    deadlines.add(bad)
    deadlines.add(good)
    with capturedLogs() as events:
        clock.pump([0.5] * 6)
    assert (bad.expired, good.expired) == ([1.0], [1.0])
    assert len([event for event in events if "log_failure" in event]) == 1


def test_now_follows_the_clock_by_ticks_and_stops_with_the_service(clock, deadlines):
    clock.advance(0.3)
    assert deadlines.now == 0.0
    clock.advance(0.3)
    assert deadlines.now == clock.seconds()
    deadlines.stopService()
    assert clock.getDelayedCalls() == []
    deadlines.stopService()
