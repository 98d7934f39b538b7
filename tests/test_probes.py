"""Probes: who is asked when, what follows of it, and what one question is on the wire."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import suppress

import pytest
import pytest_twisted
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from rolling_router.health import Check, Rules
from rolling_router.probes import FIRST_ROUND_SECONDS, Asker, NotAsked, Probes
from rolling_router.rollout.model import HealthKeys, Instance, Snapshot
from rolling_router.routing.fleet import Standing
from rolling_router.routing.router import Router
from tests.rollouts import APP, snapshot, version

CHECK = Check("/healthz", interval_seconds=4.0, rise=2, fall=3)


class Ward:
    """Probes on a clock of the test's; the test is all instances."""

    def __init__(self, check: Check = CHECK) -> None:
        self.clock = Clock()
        self.router = Router(APP, {})
        self.asked: list[tuple[str, Deferred]] = []
        self.ill: set[str] = set()
        self.answers_at_once = True
        self.outcomes: list[bool] = []
        self.probes = Probes(self.clock, self.ask, check, Rules(), lambda: 0.5, self.outcomes.append)
        self.probes.startService()

    def ask(self, instance: Instance, check: Check) -> Deferred:
        answer: Deferred = Deferred()
        name = f"{instance.host}:{instance.port}"
        self.asked.append((name, answer))
        if self.answers_at_once:
            answer.callback("it is ill" if name in self.ill else None)
        return answer

    def follow(self, now: Snapshot) -> None:
        before = self.router.plan
        self.router.follow(now)
        self.probes.follow(before, self.router.plan)

    def turn(self, seconds: float) -> list[str]:
        """Whom it asked in so many seconds."""
        self.asked = []
        self.clock.pump([0.25] * int(seconds * 4))
        return [name for name, _ in self.asked]

    def standing(self) -> dict[str, Standing]:
        return {f"{load.instance.host}:{load.instance.port}": load.standing for load in self.router.loads}


@pytest.fixture
def ward() -> Iterator[Ward]:
    ours = Ward()
    yield ours
    ours.probes.stopService()
    assert ours.clock.getDelayedCalls() == []


def only(**changes) -> Snapshot:
    return snapshot(**{"blend": 0, "stable": version("old", 2), "candidate": None, **changes})


def test_every_instance_is_asked_at_once_and_then_at_its_interval(ward):
    ward.follow(only())
    assert sorted(ward.turn(0.25)) == ["old.test:1000", "old.test:1001"]
    assert ward.turn(3.5) == []
    assert sorted(ward.turn(0.5)) == ["old.test:1000", "old.test:1001"]
    assert ward.outcomes == [True] * 4


def test_nobody_is_asked_by_default():
    ours = Ward(Check())
    ours.follow(only())
    assert ours.turn(60) == []
    assert ours.clock.getDelayedCalls() == []
    assert set(ours.standing().values()) == {Standing.TRUSTED}


def test_a_new_version_gets_nothing_before_it_has_passed_and_is_asked_each_second_until_then(ward):
    ward.follow(only())
    ward.turn(1)
    ward.ill = {"new.test:1000"}
    ward.follow(only(candidate=version("new"), blend=50))
    fleet = ward.router.plan.candidate
    assert fleet.pick(ward.clock.seconds()) is None, "from the very moment on in which it is in force"
    assert ward.turn(5).count("new.test:1000") in (5, 6)
    assert fleet.pick(ward.clock.seconds()) is None
    ward.ill = set()
    ward.turn(1.25)
    assert fleet.pick(ward.clock.seconds()) is not None
    assert ward.turn(8).count("new.test:1000") == 2


def test_one_that_falls_gets_nothing_until_it_has_risen(ward):
    ward.follow(only())
    ward.turn(1)
    ward.ill = {"old.test:1001"}
    ward.turn(8)
    assert ward.standing()["old.test:1001"] is Standing.TRUSTED
    ward.turn(4)
    assert ward.standing() == {"old.test:1000": Standing.TRUSTED, "old.test:1001": Standing.DOWN}
    ward.ill = set()
    ward.turn(4)
    assert ward.standing()["old.test:1001"] is Standing.DOWN
    ward.turn(4)
    assert ward.standing()["old.test:1001"] is Standing.TRUSTED


def test_an_instance_that_left_is_asked_no_more(ward):
    ward.follow(only(candidate=version("new"), blend=50))
    ward.turn(1)
    ward.answers_at_once = False
    ward.turn(4)
    ward.follow(only())
    assert "new.test:1000" not in ward.turn(20)


def test_the_store_can_turn_it_off_and_on_and_faster(ward):
    ward.ill = {"old.test:1000"}
    ward.follow(only())
    ward.turn(1)
    assert ward.standing()["old.test:1000"] is Standing.UNPROVEN
    ward.follow(only(health=HealthKeys(path="off")))
    assert ward.turn(20) == []
    assert set(ward.standing().values()) == {Standing.TRUSTED}, "nobody asks, so nobody is held back"
    ward.follow(only(health=HealthKeys(interval_seconds=1.0)))
    assert set(ward.standing().values()) == {Standing.TRUSTED}, "they are known"
    assert ward.turn(4).count("old.test:1001") >= 3


def test_the_first_round_is_waited_for_but_not_for_ever(ward):
    ward.answers_at_once = False
    ward.follow(only())
    settled = ward.probes.settled()
    ward.turn(1)
    for _, answer in ward.asked[:1]:
        answer.callback("it is ill")
    assert not settled.called
    ward.turn(FIRST_ROUND_SECONDS)
    assert settled.called


def test_the_first_round_is_over_when_everybody_was_asked(ward):
    ward.follow(only())
    settled = ward.probes.settled()
    ward.turn(0.25)
    assert settled.called


def test_with_nobody_to_ask_there_is_nothing_to_wait_for(ward):
    assert ward.probes.settled().called


def test_what_is_wrong_here_says_nothing_of_an_instance(ward):
    ward.follow(only())
    ward.turn(1)
    ward.answers_at_once = False
    for _ in range(5):
        ward.turn(4)
        for _, answer in ward.asked:
            answer.errback(NotAsked())
    assert set(ward.standing().values()) == {Standing.TRUSTED}


# On the wire


class Peer:
    """A listening socket that answers each connection with these bytes, once it has read something."""

    def __init__(self, says: bytes | None, hangs: bool = False) -> None:
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.instance = Instance("127.0.0.1", self.socket.getsockname()[1])
        self.heard: list[bytes] = []
        self._says, self._hangs = says, hangs
        self._open: list[socket.socket] = []
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        with suppress(OSError):
            while True:
                came = self.socket.accept()[0]
                came.settimeout(20)
                self._open.append(came)
                with suppress(OSError):
                    self.heard.append(came.recv(65536))
                    if self._says is not None:
                        came.sendall(self._says)
                    if not self._hangs:
                        came.close()

    def close(self) -> None:
        self.socket.close()
        for one in self._open:
            one.close()


@pytest.fixture
def peer():
    made = []

    def make(*arguments, **settings):
        made.append(Peer(*arguments, **settings))
        return made[-1]

    yield make
    for one in made:
        one.close()


async def ask(instance: Instance, path: str = "/healthz?deep=1", seconds: float = 30.0) -> str | None:
    from twisted.internet import reactor

    return await Asker(reactor)(instance, Check(path, timeout_seconds=seconds))


@pytest.mark.parametrize(
    ("says", "trouble"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", None),
        (b"HTTP/1.1 204 No Content\r\n\r\n", None),
        (b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n", None),
        (b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * 300_000, None),
        (b"HTTP/1.1 503 No\r\nContent-Length: 2\r\n\r\nno", "status 503"),
        (b"HTTP/1.1 404 No\r\nContent-Length: 0\r\n\r\n", "status 404"),
        (b"hello\r\n\r\n", "no HTTP"),
        (b"", "without an answer"),
    ],
)
@pytest_twisted.ensureDeferred
async def test_what_an_answer_means(peer, says, trouble):
    one = peer(says)
    said = await ask(one.instance)
    assert said is None if trouble is None else trouble in said
    (heard,) = one.heard
    assert heard.startswith(b"GET /healthz?deep=1 HTTP/1.1\r\n")
    assert b"cookie" not in heard.lower()


@pytest_twisted.ensureDeferred
async def test_no_cookie_is_carried_from_one_question_to_the_next(peer):
    from twisted.internet import reactor

    one = peer(b"HTTP/1.1 200 OK\r\nSet-Cookie: a=b; Path=/\r\nContent-Length: 0\r\n\r\n")
    asker = Asker(reactor)
    for _ in range(2):
        assert await asker(one.instance, Check("/", timeout_seconds=30)) is None
    assert b"cookie" not in one.heard[1].lower()


@pytest.mark.parametrize("says", [None, b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nslow"])
@pytest_twisted.ensureDeferred
async def test_an_answer_that_does_not_end_is_none(peer, says):
    assert "within 0.5 seconds" in await ask(peer(says, hangs=True).instance, seconds=0.5)


@pytest_twisted.ensureDeferred
async def test_by_tcp_connecting_is_enough_and_refusing_is_not(peer):
    one = peer(None)
    assert await ask(one.instance, "tcp") is None
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        assert await ask(Instance("127.0.0.1", bound.getsockname()[1]), "tcp") == "Connection refused"
