"""Several processes behind one port: all serve, one dies and is replaced, and all end with their parent."""

from __future__ import annotations

import json
import os
import signal
import socket
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from rolling_router.rollout.keys import revision as settings_revision

from .conftest import StartInstance, StartRouter
from .router import APP, Router, rollout, until
from .wire import get


def children(pid: int) -> set[int]:
    with suppress(OSError):
        return {int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()}
    return set()


def lives(pid: int) -> bool:
    with suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False


def workers(router: Router) -> set[int]:
    assert router.process is not None
    return children(router.process.pid)


@pytest.fixture
def crew(start_instance: StartInstance, start_router: StartRouter) -> Router:
    keys = rollout([start_instance("1.0")], [start_instance("1.1")], 50)
    router = start_router(keys, "--workers", "2", "--drain-seconds", "5")
    until(lambda: len(workers(router)) == 2, what="two workers")
    return router


def test_all_requests_are_counted_whoever_served_them(crew: Router) -> None:
    for _ in range(40):
        assert crew.ask(get()).status == 200

    def all_counted() -> dict[str, Any] | None:  # a worker that is slow to tell is left out of an answer
        counts: dict[str, Any] = crew.status()["counts"]
        return counts if counts["requests"] == 40 else None

    candidate = until(all_counted, what="40 requests are counted")["roles"]["candidate"]
    # Each worker splits exactly by itself: together they are off by less than one for each of them.
    assert abs(candidate["served"] - 20) <= 2
    line = f'rolling_router_split_asked_total{{app="shop",role="candidate"}} {candidate["asked"]}.0'
    until(lambda: line in crew.metrics(), what="the metrics say the same")


def test_a_worker_that_dies_is_replaced_and_the_others_serve_meanwhile(crew: Router) -> None:
    before = workers(crew)
    os.kill(min(before), signal.SIGKILL)
    until(lambda: not lives(min(before)), what="it is dead")
    assert [crew.ask(get()).status for _ in range(10)] == [200] * 10
    until(lambda: len(workers(crew)) == 2 and workers(crew) != before, what="another one took its place")
    assert "another one takes its place" in crew.output()


def test_who_takes_the_place_of_a_worker_while_the_store_is_away_accepts_nobody_yet(crew: Router) -> None:
    until(lambda: crew.status()["snapshot"]["revision"], what="all know what to serve")
    crew.store.rename(crew.store.with_suffix(".away"))
    until(lambda: crew.output().count("the store is lost") == 3, what="all have noticed")
    os.kill(min(workers(crew)), signal.SIGKILL)
    until(lambda: crew.output().count("the store is lost") == 4, 60, "the new one has found nothing")
    assert [crew.ask(get()).status for _ in range(20)] == [200] * 20
    crew.store.with_suffix(".away").rename(crew.store)
    until(lambda: crew.status()["counts"]["requests"] >= 20)
    assert crew.ask(get()).status == 200


def test_workers_end_when_their_parent_is_killed(start_instance: StartInstance, tmp_path: Path) -> None:
    router = Router(tmp_path, ("--workers", "2"))
    router.write(rollout([start_instance("1.0")]))
    router.start()
    until(lambda: len(workers(router)) == 2, what="two workers")
    orphans = workers(router)
    until(lambda: router.ask(get()).status == 200, what="they serve")
    router.kill()
    until(lambda: not any(map(lives, orphans)), 60, "the orphans end")


def test_a_change_is_in_force_in_every_worker(start_instance: StartInstance, start_router: StartRouter) -> None:
    versions = {version: start_instance(version) for version in ("1.0", "1.1")}
    router = start_router(rollout([versions["1.0"]]), "--workers", "2")
    for version in ("1.1", "1.0", "1.1"):
        router.put(rollout([versions[version]]))
        wanted = [version] * 8
        until(lambda: [router.ask(get()).version for _ in range(8)] == wanted, what=f"all serve {version}")  # noqa: B023


def test_the_status_tells_a_revision_that_all_workers_have_in_force(crew: Router) -> None:
    def revision() -> str | None:
        found: str | None = crew.status()["snapshot"]["revision"]
        return found

    first = until(revision, what="a revision")
    keys = json.loads(crew.store.read_text())
    crew.write({**keys, f"rolling/{APP}/blendpercent": "51"})
    second = until(lambda: (now := revision()) != first and now, what="another revision")
    assert second == settings_revision(APP, {**keys, f"rolling/{APP}/blendpercent": "51"})
    crew.write({**keys, "rolling/other/blendpercent": "1"})
    assert until(lambda: (now := revision()) != second and now, what="the first revision") == first


def test_a_unix_socket_and_the_proxy_protocol_can_be_shared_too(
    start_instance: StartInstance, start_router: StartRouter, tmp_path: Path
) -> None:
    path = tmp_path / "socket"
    router = start_router(rollout([start_instance("1.0")]), "--workers", "2", listen=f"unix:{path}")
    until(path.exists, what="the socket is there")
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(30)
        client.connect(str(path))
        client.sendall(b"GET / HTTP/1.1\r\nHost: shop\r\nConnection: close\r\n\r\n")
        assert client.recv(64).startswith(b"HTTP/1.1 200")
    assert router.stop() == 0


def test_more_workers_than_make_sense_are_refused(tmp_path: Path) -> None:
    router = Router(tmp_path, ("--workers", "65"))
    with pytest.raises(AssertionError, match="--workers is '65'; it must be a whole number from 1 to 64"):
        router.start()
    assert router.wait() == 1
