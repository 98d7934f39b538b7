"""Misbehaviour on both sides at once, at random: nobody gets another's answer, nothing is left over in the end."""

from __future__ import annotations

import os
import random
import threading
import time
from collections import Counter

import attrs
import pytest

from .conftest import StartInstance, StartRouter
from .instance import Call, Instance
from .router import Router, rollout, until
from .wire import Answer, Cut, get, post

CLIENTS = 16
SECONDS = 5.0
LEAST = 100
"""Answers that went well, however slow the machine is."""


def behave(call: Call) -> None:
    """Well or badly, as the target says; whatever is answered begins with the target."""
    way = random.Random(call.target).randrange(12)
    if way == 0:
        call.reset()
        return
    if way == 1:  # ahead of the body
        call.answer(call.target)
        call.close()
        return
    call.read_body()
    if way == 2:
        call.close()
    elif way == 3:
        call.answer(call.target)
        call.reset()
    elif way == 4:
        call.send(b"HTTP/1.1 200 OK\r\n\r\n" + call.target)
        call.close()
    elif way == 5:
        call.send(b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n" + call.target)
        call.close()
    elif way == 6:
        call.send(b"rubbish\r\n")
    elif way == 7:
        call.answer_chunked(call.target, b"x" * 50_000)
    else:
        call.answer(call.target)


@attrs.define
class Clients:
    """Clients that pipeline, upload, reset and leave."""

    router: Router
    seed: int
    ends: float = attrs.field(factory=lambda: time.monotonic() + SECONDS)
    seen: Counter[str] = attrs.field(factory=Counter)
    wrong: list[object] = attrs.field(factory=list)

    def run(self, number: int) -> None:
        draw = random.Random(self.seed + number)
        asked = 0
        while time.monotonic() < self.ends or (self.seen["200"] <= LEAST and not self.wrong):
            with self.router.wire(10) as wire:  # sooner than a limit would hide that one waits for ever
                for _ in range(draw.randint(1, 20)):
                    targets = [f"/{number}-{asked + n}" for n in range(draw.choice([1, 1, 1, 4]))]
                    asked += len(targets)
                    data = b"".join(self._request(draw, target) for target in targets)
                    way = draw.randrange(8)
                    try:
                        wire.send(data[: draw.randrange(len(data))] if way == 0 else data)
                        if way < 2:
                            wire.reset()
                            break
                        for target in targets:
                            self._check(target.encode(), wire.answer())
                    except (Cut, OSError) as gone:  # what an instance did may end our connection, too
                        self.seen[type(gone).__name__] += 1
                        break

    def _request(self, draw: random.Random, target: str) -> bytes:
        size = draw.choice([0, 0, 10, 3000, 100_000])
        return post(b"y" * size, target=target, method=draw.choice(["POST", "PUT"])) if size else get(target)

    def _check(self, target: bytes, answer: Answer) -> None:
        self.seen[f"{answer.status}{' cut' if answer.is_cut else ''}"] += 1
        is_ours = answer.body.startswith(target) or (answer.is_cut and target.startswith(answer.body))
        if answer.status not in (200, 502) or (answer.status == 200 and not is_ours):
            self.wrong.append((target, answer))


@pytest.fixture
def instances(start_instance: StartInstance) -> list[Instance]:
    made = [start_instance("1.0", "a"), start_instance("1.0", "b"), start_instance("1.1", "c")]
    for one in made:
        one.greet = behave  # type: ignore[method-assign]
    return made


def descriptors(router: Router) -> int:
    assert router.process is not None
    return len(os.listdir(f"/proc/{router.process.pid}/fd"))


def test_nobody_gets_another_s_answer_and_nothing_is_left_over(
    start_router: StartRouter, instances: list[Instance]
) -> None:
    router = start_router(rollout(instances[:2], instances[2:], 50), "--answer-seconds=20", "--body-seconds=20")
    before = descriptors(router)
    clients = Clients(router, random.randrange(1 << 32))
    print(f"seed {clients.seed}")
    threads = [threading.Thread(target=clients.run, args=(number,)) for number in range(CLIENTS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
        assert not thread.is_alive()
    print(dict(clients.seen))
    assert clients.wrong == []
    assert clients.seen["200"] > LEAST
    assert "TimeoutError" not in clients.seen
    until(lambda: router.status()["counts"]["clients_open"] == 0)
    roles = [router.status()["snapshot"][role]["instances"] for role in ("stable", "candidate")]
    assert [one["in_flight"] for role in roles for one in role] == [0, 0, 0]
    # Connections to instances are kept for 4 seconds, and no longer.
    until(lambda: descriptors(router) <= before + 2, what="all descriptors are given back")
    counts = router.status()["counts"]
    assert abs(counts["roles"]["candidate"]["asked"] - counts["roles"]["stable"]["asked"]) <= 1


def test_two_thousand_connections_later_the_router_is_as_it_was(
    start_router: StartRouter, start_instance: StartInstance
) -> None:
    router = start_router(rollout([start_instance()]))
    for _ in range(200):
        router.ask(get("/", "Connection: close"))
    descriptors_before, memory_before = descriptors(router), router.rss()
    for _ in range(2000):
        router.ask(get("/", "Connection: close"))
    growth = router.rss() - memory_before
    print(f"2,000 connections: {growth >> 10} KB more")
    assert growth < 5 << 20
    until(lambda: descriptors(router) <= descriptors_before + 2, what="all descriptors are given back")
