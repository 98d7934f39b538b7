"""Two hundred changes of everything, at random, under a load of 32 connections: no request fails, none goes astray."""

from __future__ import annotations

import hashlib
import itertools
import random
import threading
import time

import attrs
import pytest

from .conftest import StartInstance, StartRouter
from .instance import Call, Instance
from .router import Keys, Router, rollout, until
from .wire import Answer, get, post

CONNECTIONS = 32
CHANGES = 200


@attrs.define
class InForce:
    """Which versions may answer, and when: from the moment it was written to the one its successor was seen."""

    versions: frozenset[str]
    begins: float
    ends: float = float("inf")


@attrs.define
class Load:
    """Clients that ask until they are told to stop, and note what went wrong."""

    router: Router
    history: list[InForce] = attrs.field(factory=list)
    wrong: list[object] = attrs.field(factory=list)
    answers: int = 0
    counting: threading.Lock = attrs.field(factory=threading.Lock)
    over: threading.Event = attrs.field(factory=threading.Event)

    def run(self, number: int) -> None:
        draw = random.Random(number)
        cookie, wire = b"", None
        while not self.over.is_set():
            if wire is None:
                wire = self.router.wire()
            jar = (f"Cookie: {cookie.decode()}",) if cookie and number % 2 else ()
            close = ("Connection: close",) if number % 4 == 0 else ()
            target = draw.choice(["/", "/", "/", "/slowly"])
            raw = draw.choice([get(target, *jar, *close), post(b"b" * 3000, *jar, *close, target=target)])
            began = time.monotonic()
            try:
                answer = wire.ask(raw)
                self.check(answer, began, time.monotonic())
                cookie = (answer.one(b"Set-Cookie") or cookie).partition(b";")[0]
            except Exception as wrong:
                self.wrong.append((number, repr(wrong)))
                return
            with self.counting:
                self.answers += 1
            if close:
                wire.sock.close()
                wire = None

    def check(self, answer: Answer, began: float, ended: float) -> None:
        assert (answer.status, answer.is_cut) == (200, False), answer
        assert hashlib.sha256(answer.body).hexdigest().encode() == answer.one(b"X-Digest")
        # The history may grow meanwhile, but not where we look.
        allowed = [one.versions for one in list(self.history) if one.begins <= ended and began <= one.ends]
        assert any(answer.version in versions for versions in allowed), (answer.version, allowed)


def page(instance: Instance) -> bytes:
    return f"{instance.version} {instance.name} ".encode() * 500


@pytest.fixture
def instances(start_instance: StartInstance) -> list[list[Instance]]:
    """Three versions of three instances."""
    made = [[start_instance(version, name) for name in "abc"] for version in ("1.0", "1.1", "1.2")]
    for instance in itertools.chain(*made):
        digest = f"X-Digest: {hashlib.sha256(page(instance)).hexdigest()}"

        def answer(call: Call, instance: Instance = instance, digest: str = digest) -> None:
            call.read_body()
            call.answer(page(instance), *instance.marks(), digest)

        def slowly(call: Call, instance: Instance = instance, digest: str = digest) -> None:
            call.read_body()
            fields = "".join(f"{field}\r\n" for field in (*instance.marks(), digest))
            call.send(f"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n{fields}\r\n".encode())
            for piece in (page(instance)[:1000], page(instance)[1000:]):
                time.sleep(0.02)
                call.send(b"%x\r\n%b\r\n" % (len(piece), piece))
            call.send(b"0\r\n\r\n")

        instance.on("/", answer)
        instance.on("/slowly", slowly)
    return made


def any_rollout(draw: random.Random, versions: list[list[Instance]]) -> tuple[Keys, frozenset[str]]:
    """A rollout at random, and the versions that may answer in it."""
    stable, candidate = draw.sample(versions, 2)
    stable = draw.sample(stable, draw.randint(1, 3))
    candidate = draw.sample(candidate, draw.choice([0, 1, 2, 3]))
    blend = draw.choice([0, 100, draw.randint(1, 99), draw.randint(1, 99)])
    keys = rollout(stable, candidate, blend, draw.choice(["0", "1", "cookie", "ip-hash"]))
    allowed = set()
    if candidate and blend > 0:
        allowed.add(candidate[0].version)
    if blend < 100 or not candidate:
        allowed.add(stable[0].version)
    return keys, frozenset(allowed)


def test_200_changes_under_load_fail_no_request(start_router: StartRouter, instances: list[list[Instance]]) -> None:
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    draw = random.Random(seed)
    keys, versions = any_rollout(draw, instances)
    router = start_router(keys)
    load = Load(router, [InForce(versions, time.monotonic())])
    clients = [threading.Thread(target=load.run, args=(number,)) for number in range(CONNECTIONS)]
    for client in clients:
        client.start()
    began, longest = time.monotonic(), 0.0
    try:
        for number in range(1, CHANGES + 1):
            keys, versions = any_rollout(draw, instances)
            load.history.append(InForce(versions, time.monotonic()))
            router.put(keys)
            load.history[-2].ends = time.monotonic()
            longest = max(longest, load.history[-2].ends - load.history[-1].begins)
            until(lambda: load.wrong or load.answers > 5 * number, what="requests come between the changes")  # noqa: B023
    finally:
        load.over.set()
        for client in clients:
            client.join(20)
    took = time.monotonic() - began
    print(f"{CHANGES} changes, {load.answers} answers in {took:.1f} s; longest change {longest * 1000:.0f} ms")
    assert load.wrong == [], f"seed {seed}"
    counts = router.status()["counts"]
    assert counts["requests"] == load.answers
    assert sum(role["codes"]["2xx"] for role in counts["roles"].values()) == load.answers


def test_a_slow_answer_ends_where_it_began_whatever_happens_meanwhile(
    start_router: StartRouter, start_instance: StartInstance
) -> None:
    old, new = start_instance("2.0", "old"), start_instance("2.1", "new")
    go_on = threading.Event()

    def slow(call: Call) -> None:
        call.send(b"HTTP/1.1 200 OK\r\nContent-Length: 20\r\n\r\n0123456789")
        assert go_on.wait(60)
        call.send(b"abcdefghij")

    def unstarted(call: Call) -> None:
        assert go_on.wait(60)
        call.answer(b"late")

    old.on("/slow", slow)
    old.on("/unstarted", unstarted)
    router = start_router(rollout([old]))
    with router.wire() as begun, router.wire() as waiting:
        begun.send(get("/slow")).until(b"0123456789")
        waiting.send(get("/unstarted"))
        until(lambda: len(old.calls) == 2, what="the old version has both")
        router.put(rollout([old], [new], 100))
        router.put(rollout([new]))  # the old version is in play no more
        assert router.ask(get()).version == "2.1"
        go_on.set()
        assert begun.exactly(10) == b"abcdefghij"
        assert waiting.answer().body == b"late"
        assert begun.ask(get()).version == "2.1"
