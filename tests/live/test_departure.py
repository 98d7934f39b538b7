"""SIGTERM with --shutdown-delay-seconds: not ready at once, deaf later."""

import os
import signal
import time
from pathlib import Path

import pytest

from .router import rollout, until
from .supervisor import lives
from .wire import get

LONG = ("--shutdown-delay-seconds", "120")


def is_unready(router):
    return router.get("/readyz") == (503, b"The router is draining.\n")


@pytest.mark.parametrize("workers", ["1", "2"])
def test_who_comes_after_sigterm_is_served_and_a_second_one_ends_it_at_once(start_router, start_instance, workers):
    router = start_router(rollout([start_instance()]), *LONG, "--workers", workers)
    until(lambda: router.get("/readyz")[0] == 200)
    router.signal(signal.SIGTERM)
    until(lambda: is_unready(router), what="it says that it is draining")
    assert router.status()["router"]["draining"] is True
    for _ in range(5):
        assert router.ask(get()).status == 200
    assert router.process.poll() is None
    router.signal(signal.SIGTERM)
    assert router.wait() == 0


def test_the_end_comes_by_itself_when_the_delay_is_over(start_router, start_instance):
    router = start_router(rollout([start_instance()]), "--shutdown-delay-seconds", "1.5")
    until(lambda: router.get("/readyz")[0] == 200)
    begun = time.monotonic()
    router.signal(signal.SIGTERM)
    assert router.wait() == 0
    assert time.monotonic() - begun >= 1.5


def test_a_process_that_has_not_taken_over_yet_is_not_held_up(start_router, start_instance):
    router = start_router(rollout([start_instance()]), *LONG)
    until(lambda: router.get("/readyz")[0] == 200)
    router.store.unlink()  # so that the new one waits
    router.signal(signal.SIGUSR2)
    until(lambda: router.output().count("routing on") == 2, 30, "the new process has started")
    children = Path(f"/proc/{router.process.pid}/task/{router.process.pid}/children")
    assert children.read_text().split()
    router.signal(signal.SIGTERM)
    until(lambda: not children.read_text().split(), what="the new process ends")
    assert is_unready(router)
    router.signal(signal.SIGTERM)
    assert router.wait() == 0


def test_a_hand_over_is_not_held_up(start_router, start_instance):
    router = start_router(rollout([start_instance()]), *LONG)
    until(lambda: router.get("/readyz")[0] == 200)
    router.signal(signal.SIGUSR2)
    assert router.wait(60) == 0  # the old process
    assert router.ask(get()).status == 200
    (line,) = [line for line in router.output().splitlines() if "has taken over" in line]
    successor = int(line.partition("process ")[2].split()[0])
    try:
        assert router.get("/readyz")[0] == 200
        os.kill(successor, signal.SIGTERM)
        until(lambda: is_unready(router))
        assert router.ask(get()).status == 200
        os.kill(successor, signal.SIGUSR2)
        until(lambda: "there is no handing over now" in router.output())
    finally:
        os.kill(successor, signal.SIGTERM)
        until(lambda: not lives(successor), what="the successor ends")
