"""What the router says of its traffic: the access log, its rotation, and metrics that add up."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from .conftest import StartInstance, StartRouter
from .instance import Instance
from .router import APP, Router, rollout, until
from .wire import get, post


@pytest.fixture(scope="module")
def instances(start_instance: StartInstance) -> tuple[Instance, Instance]:
    pair = start_instance("1.0", "s"), start_instance("1.1", "c")
    for one in pair:
        one.on("/missing", lambda call: call.answer(b"no such page", status="404 Not Found"))
        one.on("/broken", lambda call: call.answer(b"oh", status="500 Oh"))
        one.on("/gone", lambda call: call.close())
        one.on("/half", lambda call: (call.send(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf"), call.close())[0])
    return pair


def lines(path: Path, count: int) -> list[str]:
    """The log's lines, as soon as there are so many; they are written once a second."""
    until(lambda: path.exists() and path.read_text().count("\n") >= count, what=f"{count} lines")
    found = path.read_text().splitlines()
    assert len(found) == count, found
    return found


# The access log


def test_the_json_log_tells_each_request_and_why_it_went_where_it_went(
    start_router: StartRouter, instances: tuple[Instance, Instance]
) -> None:
    stable, candidate = instances
    keys = rollout([stable], [candidate], 50)
    router = start_router(keys, "--access-log", "access.log", "--log-whole-addresses")
    with router.wire() as wire:
        wire.ask(post(b"hello", "User-Agent: test/1", "Referer: http://u:secret@a/b", target="/a?b=c"))
        wire.ask(get("/missing", "Cookie: theirs=secret", "Authorization: Basic secret"))
        router.put(rollout([stable], [candidate], 100, 1))
        cookie = (wire.ask(get()).one(b"Set-Cookie") or b"").partition(b";")[0].decode()
        wire.ask(get("/gone", method="PATCH"))
        router.put(rollout([stable], [candidate], 50, 1))
        wire.ask(get("/", f"Cookie: {cookie}"))
        router.put(rollout([stable], [candidate], 0, 1))
        wire.ask(get("/", f"Cookie: {cookie}"))
    router.ask(get("/half"))
    router.ask(b"NONSENSE\r\n\r\n")
    path = router.directory / "access.log"
    text = "\n".join(lines(path, 8))
    assert "secret" not in text
    assert cookie not in text
    one, two, new, gone, pinned, ended, half, refused = map(json.loads, text.splitlines())

    assert (one["method"], one["target"], one["protocol"], one["host"]) == (
        "POST",
        "/a?b=c",
        "HTTP/1.1",
        "shop.example",
    )
    assert (one["status"], one["bytes_in"], one["bytes_out"], one["cut"]) == (200, 5, 6, False)
    assert (one["client"], one["user_agent"], one["referer"]) == ("127.0.0.1", "test/1", "http://a/b")
    assert {one["version"], two["version"]} == {"1.0", "1.1"}
    assert {one["role"], two["role"]} == {"stable", "candidate"} == {one["asked"], two["asked"]}
    assert {one["instance"], two["instance"]} == {stable.address, candidate.address}
    assert one["reason"] == two["reason"] == "blend"
    assert two["status"] == 404
    assert 0 < one["upstream_seconds"] <= one["seconds"] < 60, "seconds, and no thousandths of them"
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", one["time"])
    asked_of = [call for call in stable.calls + candidate.calls if call.target == b"/a?b=c"]
    assert one["request_id"].encode() == asked_of[0].one(b"X-Request-ID")

    assert (new["reason"], new["role"], new["asked"]) == ("absolute", "candidate", "candidate")
    assert (gone["status"], gone["role"]) == (502, "candidate")
    assert (pinned["reason"], pinned["role"], pinned["asked"]) == ("pinned", "candidate", None)
    assert (ended["role"], ended["asked"]) == ("stable", "stable")
    assert ended["reason"] in ("absolute", "pin-ended")
    assert (half["status"], half["bytes_out"], half["cut"]) == (200, 4, True)
    assert (refused["status"], refused["reason"], refused["role"]) == (400, "refused", "none")
    assert (refused["version"], refused["instance"], refused["method"]) == (None, None, None)


def test_the_common_log_is_common(start_router: StartRouter, instances: tuple[Instance, Instance]) -> None:
    router = start_router(rollout(instances[:1]), "--access-log=access.log", "--access-log-form=common")
    router.ask(get('/with"quote?x=\\y'))
    router.ask(get("/", method="HEAD"))
    first, second = lines(router.directory / "access.log", 2)
    pattern = r'127\.0\.0\.0 - - \[\d\d/[A-Z][a-z]{2}/\d{4}:\d\d:\d\d:\d\d \+0000\] "(.*)" (\d{3}) (\d+|-)'
    matched = re.fullmatch(pattern, first)
    assert matched
    assert matched.groups() == (r"GET /with\x22quote?x=\x5cy HTTP/1.1", "200", "6")
    matched = re.fullmatch(pattern, second)
    assert matched
    assert matched.groups() == ("HEAD / HTTP/1.1", "200", "-")


def test_queries_may_be_left_out(start_router: StartRouter, instances: tuple[Instance, Instance]) -> None:
    router = start_router(rollout(instances[:1]), "--access-log=access.log", "--log-no-query")
    assert router.ask(get("/shop?token=s", "Referer: https://shop.example/in?token=s")).status == 200
    assert instances[0].calls[-1].target == b"/shop?token=s"
    (line,) = lines(router.directory / "access.log", 1)
    assert "token" not in line
    assert (json.loads(line)["target"], json.loads(line)["referer"]) == ("/shop", "https://shop.example/in")


def test_the_log_may_be_rotated_by_renaming_it(start_router: StartRouter, instances: tuple[Instance, Instance]) -> None:
    router = start_router(rollout(instances[:1]), "--access-log", "access.log")
    path, old = router.directory / "access.log", router.directory / "access.log.1"
    router.ask(get("/before"))
    lines(path, 1)
    path.rename(old)
    router.ask(get("/after"))
    (after,) = lines(path, 1)
    (before,) = lines(old, 1)
    assert (json.loads(before)["target"], json.loads(after)["target"]) == ("/before", "/after")
    path.unlink()
    router.ask(get("/anew"))
    (anew,) = lines(path, 1)
    assert json.loads(anew)["target"] == "/anew"
    router.ask(get("/last"))
    assert router.stop() == 0
    assert json.loads(lines(path, 2)[1])["target"] == "/last", "what waits is written at the end"


# Metrics


def samples(router: Router) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    return {
        (sample.name.removeprefix("rolling_router_"), frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(router.metrics())
        for sample in family.samples
    }


def total(found: dict[Any, float], name: str, **labels: str) -> float:
    return sum(value for (one, has), value in found.items() if one == name and labels.items() <= dict(has).items())


def test_metrics_parse_and_add_up_to_what_was_sent(
    start_router: StartRouter, instances: tuple[Instance, Instance]
) -> None:
    stable, candidate = instances
    router = start_router(rollout([stable], [candidate], 25))
    with router.wire() as wire:
        for _ in range(80):
            wire.ask(post(b"x" * 100))
        for _ in range(8):
            wire.ask(get("/missing"))
        for _ in range(4):
            wire.ask(get("/broken"))
    router.ask(get("/half"))
    router.ask(b"NONSENSE\r\n\r\n")
    found = samples(router)
    assert {dict(has).get("app") for _, has in found} == {APP}
    assert total(found, "requests_total") == 94
    assert {code: total(found, "requests_total", code=code) for code in ("2xx", "4xx", "5xx", "cut")} == {
        "2xx": 80,
        "4xx": 9,
        "5xx": 4,
        "cut": 1,
    }
    assert total(found, "requests_total", reason="blend") == 93
    assert total(found, "requests_total", role="none", reason="refused", code="4xx", version="") == 1
    assert total(found, "requests_total", role="candidate", version="1.1") == 23
    assert total(found, "split_asked_total", role="candidate") == 23
    assert total(found, "split_served_total", role="candidate") == 23
    assert total(found, "split_served_total", role="stable") == 70
    assert total(found, "request_body_bytes_total") == 8000
    own = total(found, "response_body_bytes_total", role="none")
    assert total(found, "response_body_bytes_total") - own == 80 * 6 + 8 * 12 + 4 * 2 + 4
    assert total(found, "request_duration_seconds_count") == 94
    assert total(found, "request_duration_seconds_bucket", le="+Inf") == 94
    assert total(found, "request_duration_seconds_bucket", le="60.0") == 94
    assert 0 < total(found, "request_duration_seconds_sum") < 60
    assert total(found, "client_connections_accepted_total") == 3
    assert total(found, "in_flight_requests") == 0
    assert total(found, "usable_instances") == 2
    assert total(found, "blend_ratio") == 0.25
    assert (total(found, "store_up"), total(found, "snapshot_age_seconds")) == (1, 0)
    assert total(found, "upstream_connections_reused_total") >= 88
    assert total(found, "build_info") == 1


def test_connections_that_are_kept_for_the_next_request_are_seen(
    start_router: StartRouter, instances: tuple[Instance, Instance]
) -> None:
    router = start_router(rollout([instances[0]]), "--pool-seconds=2")

    def idle() -> float:
        return total(samples(router), "upstream_idle_connections")

    def is_kept() -> bool:  # for two seconds after each request, which may be over before the look
        router.ask(get())
        return idle() == 1

    assert idle() == 0
    until(is_kept, what="it is kept")
    until(lambda: idle() == 0, what="it has waited long enough")


def test_status_says_the_same_as_the_metrics(start_router: StartRouter, instances: tuple[Instance, Instance]) -> None:
    stable, candidate = instances
    router = start_router(rollout([stable], [candidate], 10, 1))
    for _ in range(20):
        router.ask(get())
    status, found = router.status(), samples(router)
    assert status["app"] == APP
    assert status["counts"]["requests"] == 20 == total(found, "requests_total")
    assert status["counts"]["roles"]["candidate"]["asked"] == 2 == total(found, "split_asked_total", role="candidate")
    assert status["counts"]["reasons"] == {"new": 20}
    assert (status["snapshot"]["blend"], status["snapshot"]["stickiness"]) == (10, "cookie")
    assert status["snapshot"]["candidate"] == {
        "version": "1.1",
        "port": 80,
        "instances": [{"address": candidate.address, "in_flight": 0, "usable": True}],
    }
    assert (status["store"]["source"], status["store"]["trouble"]) == ("store", None)
    assert str(router.store) in status["store"]["description"]
