"""observe.counts: every request is counted once, sums hold, and what is kept stays bounded."""

from __future__ import annotations

import json

import pytest

from rolling_router.observe import counts as module
from rolling_router.observe.counts import BOUNDS, CODES, MOST_INSTANCES, MOST_VERSIONS, Counts, Tally


def count(counts, version="web-2", role="candidate", reason="new", asked="candidate", status=200, **more):
    sizes = {"bytes_in": 0, "bytes_out": 0, "seconds": 0.02} | more
    counts.finished(version, role, reason, asked, status, **sizes)


def only_tally(counts):
    ((_, tally),) = counts.tallies()
    return tally


@pytest.mark.parametrize(
    ("status", "code"),
    [(101, "1xx"), (200, "2xx"), (304, "3xx"), (499, "4xx"), (503, "5xx"), (600, "5xx"), (999, "5xx"), (0, "cut")],
)
def test_a_status_falls_into_one_class(status, code):
    counts = Counts("web")
    count(counts, status=status)
    assert only_tally(counts).codes() == dict.fromkeys(CODES, 0) | {code: 1}
    assert only_tally(counts).requests == 1


def test_a_request_that_was_cut_is_in_no_status_class():
    counts = Counts("web")
    count(counts, status=200, cut=True)
    assert only_tally(counts).codes() == dict.fromkeys(CODES, 0) | {"cut": 1}


def test_bytes_and_seconds_add_up():
    counts = Counts("web")
    count(counts, bytes_in=10, bytes_out=200, seconds=0.5)
    count(counts, bytes_in=1, bytes_out=2, seconds=0.25)
    tally = only_tally(counts)
    assert (tally.bytes_in, tally.bytes_out, tally.seconds) == (11, 202, 0.75)


def test_a_duration_on_a_bound_belongs_to_the_bucket_below_it():
    for place, bound in enumerate(BOUNDS):
        counts = Counts("web")
        count(counts, seconds=bound)
        count(counts, seconds=bound * 1.0001)
        assert only_tally(counts).buckets[place : place + 2] == [1, 1], bound


def test_what_is_slower_than_the_last_bound_is_counted_too():
    counts = Counts("web")
    count(counts, seconds=61.0)
    assert only_tally(counts).buckets[-1] == 1


def test_a_tunnel_is_counted_but_its_duration_is_not():
    counts = Counts("web")
    count(counts, status=101, seconds=3600.0)
    tally = only_tally(counts)
    assert (tally.requests, tally.seconds, sum(tally.buckets)) == (1, 0.0, 0)


# Asked and served


def test_choices_are_counted_as_asked_and_as_served():
    counts = Counts("web")
    count(counts, "web-2", "candidate", "new", "candidate")
    count(counts, "web-1", "stable", "candidate-down", "candidate")
    count(counts, "web-1", "stable", "new", "stable")
    count(counts, "", "none", "no-instance", "stable", status=503)
    assert counts.asked() == {"stable": 2, "candidate": 2}
    assert counts.served() == {"stable": 2, "candidate": 1, "none": 1}


def test_requests_without_a_choice_are_in_neither():
    counts = Counts("web")
    count(counts, "web-1", "stable", "pinned", None)
    count(counts, "", "none", "bad-request", None, status=400)
    assert sum(counts.asked().values()) == sum(counts.served().values()) == 0
    assert counts.totals()["requests"] == 2


# For the status page


def test_totals_tell_roles_versions_and_reasons_apart():
    counts = Counts("web")
    for _ in range(3):
        count(counts, "web-1", "stable", "new", "stable", bytes_out=100)
    count(counts, "web-1", "stable", "pinned", None, status=500)
    count(counts, "web-2", "candidate", "new", "candidate", cut=True)
    totals = json.loads(json.dumps(counts.totals()))
    assert totals["requests"] == 5
    stable = totals["roles"]["stable"]
    assert (stable["requests"], stable["asked"], stable["served"], stable["bytes_out"]) == (4, 3, 3, 300)
    assert stable["codes"] == {"1xx": 0, "2xx": 3, "3xx": 0, "4xx": 0, "5xx": 1, "cut": 0}
    assert totals["roles"]["none"]["requests"] == 0
    assert [(row["version"], row["role"], row["requests"]) for row in totals["versions"]] == [
        ("web-1", "stable", 4),
        ("web-2", "candidate", 1),
    ]
    assert totals["reasons"] == {"new": 4, "pinned": 1}


def test_answers_of_the_routers_own_are_no_version():
    counts = Counts("web")
    count(counts, "", "none", "not-set-up", None, status=503)
    assert counts.totals()["versions"] == []
    assert counts.totals()["roles"]["none"]["codes"]["5xx"] == 1


def test_a_quantile_lies_in_the_right_bucket():
    tally = Tally()
    for bucket, number in ((3, 90), (6, 9), (9, 1)):  # up to 10 ms, up to 100 ms, up to 1 s
        tally.buckets[bucket] = number
    assert 0.005 < tally.quantile(0.5) <= 0.01
    assert 0.05 < tally.quantile(0.95) <= 0.1
    assert tally.quantile(0.99) == 0.1
    assert tally.quantile(1.0) == 1.0


def test_a_quantile_never_falls_as_its_share_rises():
    tally = Tally()
    tally.buckets = [(place * 7) % 5 for place in range(len(BOUNDS) + 1)]
    found = [tally.quantile(share / 100) for share in range(1, 101)]
    assert found == sorted(found)


def test_a_quantile_of_nothing_is_unknown_and_of_the_slowest_is_the_last_bound():
    tally = Tally()
    assert tally.quantile(0.5) is None
    tally.buckets[-1] = 1
    assert tally.quantile(0.5) == BOUNDS[-1]


# Connections and retries


def test_events_are_counted():
    counts = Counts("web")
    counts.clients_accepted += 2
    counts.clients_open += 1
    counts.upstream_opened += 1
    counts.upstream_reused += 5
    counts.retried("closed")
    counts.retried("closed")
    counts.connect_failed("10.0.0.1:80")
    totals = counts.totals()
    assert (totals["clients_accepted"], totals["clients_open"]) == (2, 1)
    assert (totals["upstream_opened"], totals["upstream_reused"]) == (1, 5)
    assert totals["retries"] == {"closed": 2}
    assert totals["connect_failures"] == {"10.0.0.1:80": 1}


# Several processes


def test_counts_of_several_processes_add_up():
    first, second, both = Counts("web"), Counts("web"), Counts("web")
    for counts in (first, both):
        count(counts, "web-1", "stable", "new", "stable", seconds=0.5, bytes_in=3)
        counts.connect_failed("10.0.0.1:80")
        counts.limited("head-seconds")
        counts.clients_open += 1
    for counts in (second, both):
        count(counts, "web-1", "stable", "new", "stable", status=700, seconds=0.003)
        count(counts, "web-2", "candidate", "new", "candidate", cut=True)
        counts.retried("closed")
        counts.upstream_reused += 1
        counts.upstream_idle += 4
    merged = Counts("web")
    for counts in (first, second):
        merged.merge(json.loads(json.dumps(counts.as_dict())))
    assert merged.as_dict() == both.as_dict()
    assert merged.totals() == both.totals()


@pytest.mark.parametrize("change", [{"app": "shop"}, {"bounds": [1.0, 2.0]}])
def test_counts_that_would_make_no_sense_together_are_refused(change):
    counts = Counts("web")
    with pytest.raises(ValueError, match="do not add up"):
        counts.merge(Counts("web").as_dict() | change)


def test_merging_leaves_the_other_alone():
    first, merged = Counts("web"), Counts("web")
    count(first)
    raw = first.as_dict()
    merged.merge(raw)
    count(merged)
    assert only_tally(first).requests == 1
    assert raw == first.as_dict()


# Bounds


def versions_of(counts):
    return {kind.version for kind, _ in counts.tallies() if kind.version}


def test_versions_out_of_play_are_let_go_but_their_requests_stay_in_the_sums():
    counts = Counts("web")
    for number in range(3 * MOST_VERSIONS):
        counts.in_play([f"web-{number}"])
        count(counts, f"web-{number}")
        assert counts.totals()["requests"] == sum(counts.asked().values()) == number + 1
    assert versions_of(counts) == {f"web-{n}" for n in range(2 * MOST_VERSIONS, 3 * MOST_VERSIONS)}


def test_a_version_in_play_is_never_let_go():
    counts = Counts("web")
    counts.in_play(["web-stable"])
    count(counts, "web-stable", "stable")
    for number in range(2 * MOST_VERSIONS):
        count(counts, f"web-{number}")
    assert "web-stable" in versions_of(counts)
    assert len(versions_of(counts)) == MOST_VERSIONS


def test_the_version_that_left_play_longest_ago_goes_first(monkeypatch):
    monkeypatch.setattr(module, "MOST_VERSIONS", 3)
    counts = Counts("web")
    for version in ("a", "b", "c"):
        count(counts, version)
    counts.in_play(["a"])
    counts.in_play([])
    count(counts, "d")
    assert versions_of(counts) == {"a", "c", "d"}


def test_answers_of_the_routers_own_take_no_place_among_versions(monkeypatch):
    monkeypatch.setattr(module, "MOST_VERSIONS", 1)
    counts = Counts("web")
    count(counts, "a")
    count(counts, "", "none", "bad-request", None, status=400)
    assert versions_of(counts) == {"a"}


def test_instances_that_failed_are_bounded_and_the_latest_stay():
    counts = Counts("web")
    for number in range(2 * MOST_INSTANCES):
        counts.connect_failed(f"10.0.0.1:{number + 1}")
        counts.connect_failed("10.0.0.2:80")
    assert len(counts.connect_failures) == MOST_INSTANCES
    assert counts.connect_failures["10.0.0.2:80"] == 2 * MOST_INSTANCES
