"""observe.metrics: what is exposed can be read back, says what was counted, and is what the documentation lists."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from prometheus_client import REGISTRY
from prometheus_client.parser import text_string_to_metric_families

from rolling_router.observe import counts as counts_module
from rolling_router.observe.counts import BOUNDS, Counts
from rolling_router.observe.metrics import CONTENT_TYPE, PREFIX, Moment, RouterCollector, build, expose

MOMENT = Moment(
    blend=25,
    snapshot_age=1.5,
    is_store_up=True,
    in_flight={("web-2", "candidate", "10.0.0.2:80"): 3},
    usable={("web-1", "stable"): 2, ("web-2", "candidate"): 0},
    log_lines_dropped=4,
    queued={"web-2": 7},
    certificates={"*.shop.example": 1795428900.0},
    leaving={("web-0", "10.0.0.9:80"): 1},
)
BUILD = {"version": "1.2.3", "python": "3.11.7", "twisted": "24.7.0"}


def busy_counts(version="web-2"):
    counts = Counts("web")
    counts.finished("web-1", "stable", "candidate-down", "candidate", 200, 10, 100, 0.02)
    counts.finished("web-1", "stable", "pinned", None, 500, 1, 2, 0.3)
    counts.finished(version, "candidate", "new", "candidate", 200, 0, 50, 0.004)
    counts.finished(version, "candidate", "new", "candidate", 200, 0, 25, 70.0, cut=True)
    counts.finished("", "none", "bad-request", None, 400, 0, 7, 0.0)
    counts.retried("closed")
    counts.connect_failed("10.0.0.2:80")
    counts.attempt_failed(version, "candidate", "reset")
    counts.ejected("candidate", "reset")
    counts.probed(True)
    counts.limited("head-seconds")
    counts.clients_accepted, counts.clients_open = 9, 2
    counts.upstream_opened, counts.upstream_reused, counts.upstream_idle = 3, 2, 1
    return counts


def scrape(counts, moment=MOMENT):
    """Every sample by name and sorted labels, as Prometheus would read it."""
    text = expose(RouterCollector(counts, lambda: moment, BUILD)).decode("utf-8")
    samples = [sample for family in text_string_to_metric_families(text) for sample in family.samples]
    values = {(sample.name.removeprefix(PREFIX), frozenset(sample.labels.items())): sample.value for sample in samples}
    assert len(values) == len(samples), "a series was exposed twice"
    return values


def value(values, name, /, **labels):
    return values[name, frozenset({"app": "web", **labels}.items())]


def test_requests_are_exposed_by_version_role_reason_and_class():
    values = scrape(busy_counts())

    def requests(version, role, reason, code):
        return value(values, "requests_total", version=version, role=role, reason=reason, code=code)

    assert requests("web-1", "stable", "candidate-down", "2xx") == 1
    assert requests("web-1", "stable", "pinned", "5xx") == 1
    assert requests("web-2", "candidate", "new", "2xx") == 1
    assert requests("web-2", "candidate", "new", "cut") == 1
    assert requests("", "none", "bad-request", "4xx") == 1


def test_a_class_without_requests_is_exposed_as_zero_so_that_its_first_increase_shows():
    assert (
        value(scrape(busy_counts()), "requests_total", version="web-2", role="candidate", reason="new", code="5xx") == 0
    )


def test_kinds_that_differ_only_in_what_was_asked_are_one_series():
    counts = Counts("web")
    counts.finished("web-1", "stable", "absolute", "stable", 200, 0, 0, 0.1)
    counts.finished("web-1", "stable", "absolute", None, 200, 0, 0, 0.1)
    assert value(scrape(counts), "requests_total", version="web-1", role="stable", reason="absolute", code="2xx") == 2


def test_asked_and_served_stand_side_by_side():
    values = scrape(busy_counts())
    assert value(values, "split_asked_total", role="candidate") == 3
    assert value(values, "split_asked_total", role="stable") == 0
    assert value(values, "split_served_total", role="candidate") == 2
    assert value(values, "split_served_total", role="stable") == 1
    assert value(values, "split_served_total", role="none") == 0


def test_the_histogram_is_cumulative_and_in_seconds():
    values = scrape(busy_counts())
    labels = {"version": "web-2", "role": "candidate"}
    name = "request_duration_seconds"
    assert value(values, f"{name}_bucket", le="0.0025", **labels) == 0
    assert value(values, f"{name}_bucket", le="0.005", **labels) == 1
    assert value(values, f"{name}_bucket", le="60.0", **labels) == 1
    assert value(values, f"{name}_bucket", le="+Inf", **labels) == 2
    assert value(values, f"{name}_count", **labels) == 2
    assert value(values, f"{name}_sum", **labels) == pytest.approx(70.004)
    assert (BOUNDS[0], BOUNDS[-1]) == (0.001, 60.0)


def test_bytes_and_connections_are_exposed():
    values = scrape(busy_counts())
    assert value(values, "request_body_bytes_total", version="web-1", role="stable") == 11
    assert value(values, "response_body_bytes_total", version="web-2", role="candidate") == 75
    assert value(values, "retries_total", reason="closed") == 1
    assert value(values, "connect_failures_total", instance="10.0.0.2:80") == 1
    assert value(values, "client_connections_accepted_total") == 9
    assert value(values, "client_connections") == 2
    assert value(values, "upstream_connections_opened_total") == 3
    assert value(values, "upstream_connections_reused_total") == 2
    assert value(values, "upstream_idle_connections") == 1


def test_the_moments_state_is_exposed():
    values = scrape(busy_counts())
    busy = {"version": "web-2", "role": "candidate", "instance": "10.0.0.2:80"}
    assert value(values, "in_flight_requests", **busy) == 3
    assert value(values, "usable_instances", version="web-1", role="stable") == 2
    assert value(values, "certificate_expiry_timestamp_seconds", name="*.shop.example") == 1795428900
    assert value(values, "usable_instances", version="web-2", role="candidate") == 0
    assert value(values, "blend_ratio") == 0.25
    assert value(values, "snapshot_age_seconds") == 1.5
    assert value(values, "store_up") == 1
    assert value(values, "access_log_dropped_lines_total") == 4
    assert value(values, "build_info", **BUILD) == 1


def test_a_snapshot_that_never_came_has_no_age():
    values = scrape(Counts("web"), Moment(blend=0, snapshot_age=None, is_store_up=False))
    assert "snapshot_age_seconds" not in {name for name, _ in values}
    assert value(values, "store_up") == 0


@pytest.mark.parametrize(
    "version",
    [
        'a"} 1\nrolling_router_store_up{app="x"} 0',
        "back\\slash",
        "new\nline",
        "carriage\rreturn",
        "zero\0",
        "Grüße",
        "}{,=",
    ],
)
def test_a_hostile_version_name_stays_one_label(version):
    values = scrape(busy_counts(version))
    assert value(values, "requests_total", version=version, role="candidate", reason="new", code="2xx") == 1
    assert values.keys() - scrape(busy_counts()).keys() == {
        (name, labels) for name, labels in values if ("version", version) in labels
    }


def test_half_a_surrogate_pair_does_not_stop_the_scrape():
    values = scrape(busy_counts("a\ud800"))
    assert value(values, "response_body_bytes_total", version="a\\ud800", role="candidate") == 75


def test_versions_that_were_let_go_make_no_burst(monkeypatch):
    monkeypatch.setattr(counts_module, "MOST_VERSIONS", 1)
    counts = Counts("web")
    counts.finished("web-1", "stable", "new", "stable", 200, 0, 0, 0.1)
    counts.finished("web-2", "stable", "new", "stable", 200, 0, 0, 0.1)
    values = scrape(counts)
    assert {dict(labels).get("version") for name, labels in values if name == "requests_total"} == {"web-2"}
    assert value(values, "split_asked_total", role="stable") == 2


def test_the_global_registry_is_left_alone():
    expose(RouterCollector(busy_counts(), lambda: MOMENT, BUILD))
    assert not any(family.name.startswith(PREFIX) for family in REGISTRY.collect())


def test_the_build_names_versions():
    assert set(build()) == set(BUILD)
    assert all(build().values())


def test_the_type_is_the_text_format():
    assert CONTENT_TYPE.startswith("text/plain; version=0.0.4")


def test_the_documentation_lists_exactly_what_is_exposed():
    page = (Path(__file__).parent.parent / "docs" / "metrics.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(\w+)` \| (\w+) \| ([^|]*) \|", page, re.MULTILINE)
    documented = {(name, kind, frozenset(re.findall(r"`(\w+)`", labels))) for name, kind, labels in rows}
    text = expose(RouterCollector(busy_counts(), lambda: MOMENT, BUILD)).decode("utf-8")
    exposed = set()
    for family in text_string_to_metric_families(text):
        name = family.name + "_total" * (family.type == "counter")
        exposed.add((name, family.type, frozenset(family.samples[0].labels) - {"le"}))
    assert documented == exposed
