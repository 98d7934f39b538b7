"""The settings port's API in memory: reading, writing, and what is refused. The contract is docs/api.md."""

from __future__ import annotations

import json
import re

import pytest

from rolling_router.admin.identity import Rights
from tests.settings_port import APP, KEYS, House

STRANGE = ["<script>alert(1)</script>", "\u202egnol\u202c", "a\nb", "a\u2028b", "\u0000", "x" * 200, "🎈", "../../etc"]


@pytest.fixture
def house(tmp_path):
    made = House(tmp_path).start()
    yield made
    made.stop()


@pytest.fixture
def page(house):
    return house.signed_in()


# Reading


def test_the_state_tells_what_is_in_force(page, house):
    answer = page.get("/api/v1/status")
    state = answer.json
    assert state["snapshot"]["stable"]["version"] == "v1"
    assert state["snapshot"]["stable"]["instances"] == [{"address": "10.0.0.1:80", "in_flight": 0, "usable": True}]
    assert (state["snapshot"]["blend"], state["snapshot"]["stickiness"]) == (5, None)
    assert (state["is_set_up"], state["in_force"], state["store"]["state"]) == (True, True, "there")
    assert state["strategies"] == {"default": "cookie", "names": ["cookie", "ip-hash"]}
    assert state["counts"]["app"] == APP
    assert answer.headers["Etag"] == f'"{house.revision}"' == f'"{state["revision"]}"'


def test_a_store_that_left_and_one_that_is_back_are_told(page, house):
    house.store.is_away = True
    house.store.changed()
    house.advance(2)
    store = page.get("/api/v1/status").json["store"]
    assert (store["state"], store["trouble"]) == ("lost", "away")
    assert store["age_seconds"] > 1
    house.store.is_away = False
    house.advance(10)
    assert page.get("/api/v1/status").json["store"]["state"] == "there"


def test_an_app_that_is_not_set_up_can_be_set_up(tmp_path):
    house = House(tmp_path, {}).start()
    page = house.signed_in()
    state = page.get("/api/v1/status").json
    assert (state["is_set_up"], state["snapshot"]["stable"]) == (False, None)
    body = {"stable": None, "candidate": None, "blend": 0, "stickiness": "off"}
    answer = page.ask("PUT", "/api/v1/settings", body, If_Match=f'"{state["revision"]}"', X_CSRF_Token=page.csrf)
    assert answer.code == 200, answer.body
    assert answer.json["settings"] == body
    assert answer.json["state"]["is_set_up"] is True
    assert house.store.keys == {
        "rolling/null": "-",
        "rolling/shop/stable/id": "rolling/null",
        "rolling/shop/candidate/id": "rolling/null",
        "rolling/shop/blendpercent": "0",
        "rolling/shop/stickyness": "0",
    }
    house.stop()


def test_versions_say_what_they_are_and_which_role_they_have(page):
    found = page.get("/api/v1/versions").json["versions"]
    assert [(one["version"], one["role"]) for one in found] == [("v1", "stable"), ("v2", "candidate"), ("v3", None)]
    assert found[0] == {
        "version": "v1",
        "name": "v1",
        "port": 80,
        "instances": 1,
        "ready": None,
        "role": "stable",
    }


# Writing


@pytest.mark.parametrize(
    ("method", "path", "body", "settings"),
    [
        ("PUT", "settings/blend", {"blend": 30}, {"blend": 30}),
        ("PUT", "settings/stickiness", {"stickiness": "on"}, {"stickiness": "on"}),
        ("PUT", "settings/stickiness", {"stickiness": "ip-hash"}, {"stickiness": "ip-hash"}),
        ("PUT", "settings/candidate", {"version": "v3"}, {"candidate": {"version": "v3", "port": 80}, "blend": 0}),
        ("PUT", "settings/candidate", {"version": None}, {"candidate": None, "blend": 0}),
        ("PUT", "settings/stable", {"version": "v3", "port": 80}, {"stable": {"version": "v3", "port": 80}}),
        ("PUT", "settings", {"blend": 7, "stickiness": "on"}, {"blend": 7, "stickiness": "on"}),
        (
            "POST",
            "promote",
            {"version": "v2"},
            {"stable": {"version": "v2", "port": 80}, "candidate": None, "blend": 0},
        ),
        ("POST", "rollback", {}, {"candidate": None, "blend": 0}),
    ],
)
def test_a_write_is_in_the_store_and_in_force_when_it_is_answered(page, house, method, path, body, settings):
    before = house.revision
    answer = page.write(method, path, {**body, "why": "because"})
    told = answer.json
    assert answer.code == 200, told
    now = {
        "stable": {"version": "v1", "port": 80},
        "candidate": {"version": "v2", "port": 80},
        "blend": 5,
        "stickiness": "off",
    }
    assert told["settings"] == {**now, **settings}
    assert (told["changed"], told["in_force"], told["trouble"]) == (True, True, None)
    assert told["revision"] == house.revision != before
    assert answer.headers["Etag"] == f'"{house.revision}"'
    (entry,) = page.get("/api/v1/history").json["history"]
    assert (entry["who"], entry["why"], entry["to"], entry["from"]) == ("mari", "because", told["settings"], now)

    again = page.write(method, path, body, If_Match=f'"{before}"')
    assert (again.code, again.json["changed"], again.json["revision"]) == (200, False, house.revision)
    assert len(house.store.puts) == 1


def test_undo_takes_the_last_change_back_and_can_be_undone(page, house):
    page.write("PUT", "settings/blend", {"blend": 50})
    undo = page.get("/api/v1/status").json["undo"]
    assert (undo["what"], undo["from"]["blend"], undo["to"]["blend"]) == ("blend", 5, 50)
    seen = house.revision
    assert page.write("POST", "undo", {}).json["settings"]["blend"] == 5
    assert page.write("POST", "undo", {}, If_Match=f'"{seen}"').code == 412
    assert page.write("POST", "undo", {}).json["settings"]["blend"] == 50


def test_what_was_changed_past_the_history_cannot_be_undone_unseen(page, house):
    page.write("PUT", "settings/blend", {"blend": 50})
    house.store.write("rolling/shop/blendpercent", "60")
    house.advance(0.1)
    assert page.get("/api/v1/status").json["undo"] is None
    assert page.write("POST", "undo", {}).code == 412


def test_two_people_never_overwrite_each_other_unseen(page, house):
    other = house.signed_in(name="jun")
    seen = house.revision
    assert page.write("PUT", "settings/blend", {"blend": 10}).code == 200
    stale = other.write("PUT", "settings/blend", {"blend": 90}, If_Match=f'"{seen}"')
    assert (stale.code, stale.json["code"]) == (412, "stale")
    assert stale.json["settings"]["blend"] == 10
    assert stale.json["state"]["snapshot"]["blend"] == 10
    assert stale.json["revision"] == house.revision
    assert house.store.keys["rolling/shop/blendpercent"] == "10"


def test_a_write_that_is_based_on_nothing_is_refused(page, house):
    for field in (None, "*", "abc", '"a", "b"', '""'):
        headers = {} if field is None else {"If_Match": field}
        answer = page.ask("PUT", "/api/v1/settings/blend", {"blend": 1}, X_CSRF_Token=page.csrf, **headers)
        assert (answer.code, answer.json["code"]) == (428, "if-match-needed"), field
    assert house.store.puts == []


@pytest.mark.parametrize(
    ("path", "body", "field"),
    [
        ("settings/blend", {"blend": 101}, "blend"),
        ("settings/blend", {"blend": -1}, "blend"),
        ("settings/blend", {"blend": 5.0}, "blend"),
        ("settings/blend", {"blend": "5"}, "blend"),
        ("settings/blend", {"blend": True}, "blend"),
        ("settings/blend", {"blend": None}, "blend"),
        ("settings/blend", {"blend": 10**400}, "blend"),
        ("settings/blend", {}, "blend"),
        ("settings/blend", {"percent": 5}, "percent"),
        ("settings/blend", {"blend": 5, "why": 7}, "why"),
        ("settings/blend", {"blend": 5, "why": "x" * 1001}, "why"),
        ("settings/blend", {"blend": 5, "force": "yes"}, "force"),
        ("settings/stable", {}, "version"),
        ("settings/stable", {"version": ""}, "version"),
        ("settings/stable", {"version": ["v1"]}, "version"),
        ("settings/stable", {"version": "v1", "port": 0}, "port"),
        ("settings/stable", {"version": "v1", "port": 65536}, "port"),
        ("settings/stable", {"version": "v1" * 300}, "version"),
        ("settings/stickiness", {"stickiness": True}, "stickiness"),
    ],
)
def test_a_field_that_cannot_be_used_is_named_and_nothing_is_changed(page, house, path, body, field):
    answer = page.write("PUT", path, body)
    assert (answer.code, answer.json["code"], answer.json["field"]) == (422, "bad-field", field)
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert house.store.puts == []


NO_OBJECTS = [b"", b"{", b"[]", b"3", b'"x"', b"null", b"\xff{}", b"[" * 60_000, b"9" * 5000]
NO_OBJECTS += [b'{"blend": NaN}', b'{"blend": 1, "blend": 2}', b'{"why": "\\ud800", "blend": 1}']


@pytest.mark.parametrize("body", NO_OBJECTS)
def test_a_body_that_is_no_json_object_is_refused(page, house, body):
    answer = page.write("PUT", "settings/blend", body)
    assert (answer.code, answer.json["code"]) == (400, "bad-json")
    assert house.store.puts == []


@pytest.mark.parametrize(
    "kind", ["text/plain", "application/x-www-form-urlencoded", "", "multipart/form-data; boundary=x"]
)
def test_a_body_of_another_type_is_refused(page, kind):
    answer = page.write("PUT", "settings/blend", b'{"blend": 1}', Content_Type=kind)
    assert (answer.code, answer.json["code"]) == (415, "not-json")


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("PUT", "settings/stable", {"version": "v9"}),
        ("PUT", "settings/candidate", {"version": "v1"}),
        ("PUT", "settings/stickiness", {"stickiness": "by-moon"}),
        ("POST", "promote", {"version": "v3"}),
        *(("PUT", "settings/stable", {"version": text}) for text in STRANGE),
        *(("PUT", "settings/stickiness", {"stickiness": text}) for text in STRANGE if text != "x" * 200),
    ],
)
def test_a_rule_of_the_rollout_refuses_with_a_reason_and_changes_nothing(page, house, method, path, body):
    answer = page.write(method, path, body)
    assert (answer.code, answer.json["code"]) == (422, "refused"), answer.body
    assert len(answer.json["detail"]) > 20
    assert house.store.puts == []
    assert answer.body.isascii()


@pytest.mark.parametrize("text", STRANGE)
def test_whatever_is_given_as_a_reason_is_kept_as_text(page, house, text):
    assert page.write("PUT", "settings/blend", {"blend": 9, "why": text}).code == 200
    answer = page.get("/api/v1/history")
    assert answer.json["history"][0]["why"] == text
    assert answer.body.isascii()
    assert answer.body.count(b"\n") == 1
    lines = (house.directory / f"history-{APP}.jsonl").read_bytes().splitlines()
    assert [json.loads(line)["why"] for line in lines] == [text]


def test_a_store_that_is_away_is_said_to_be(page, house):
    house.store.is_away = True
    answer = page.write("PUT", "settings/blend", {"blend": 9})
    assert (answer.code, answer.json["code"]) == (503, "store-lost")
    assert page.get("/api/v1/versions").json["code"] == "store-lost"
    house.store.is_away = False
    assert house.store.keys == KEYS


def test_a_client_who_leaves_does_not_break_a_change_off(page, house):
    house.store.is_atomic = False
    left = page.send(
        "POST", "/api/v1/promote", {"version": "v2"}, If_Match=f'"{house.revision}"', X_CSRF_Token=page.csrf
    )
    left.addErrback(lambda reason: None)
    left.cancel()
    page.flush()
    house.advance(5)
    assert house.store.keys["rolling/shop/stable/id"] == KEYS["rolling/shop/candidate/id"]
    assert house.store.keys["rolling/shop/candidate/id"] == "rolling/null"


# Who may


def test_a_viewer_may_look_and_change_nothing(house):
    viewer = house.signed_in(Rights.VIEWER)
    for path in ("status", "versions", "history"):
        assert viewer.get(f"/api/v1/{path}").code == 200
    answer = viewer.write("PUT", "settings/blend", {"blend": 9})
    assert (answer.code, answer.json["code"]) == (403, "operator-needed")
    assert house.store.puts == []


@pytest.mark.parametrize(
    ("method", "path"),
    [
        *(("GET", path) for path in ("status", "versions", "history", "events")),
        *(("PUT", f"settings{part}") for part in ("", "/stable", "/candidate", "/blend", "/stickiness")),
        *(("POST", path) for path in ("promote", "rollback", "undo")),
    ],
)
def test_nobody_comes_in_without_a_sign_in(house, method, path):
    stranger = house.browser()
    for headers in ({}, {"Cookie": "rolling_router_8080=made-up"}, {"Authorization": "Basic bWFyaTp4"}):
        answer = stranger.ask(method, f"/api/v1/{path}", {}, If_Match='"x"', **headers)
        assert answer.code == 401, headers
        assert answer.headers["Content-Type"] == "application/problem+json"
    assert house.store.puts == []


def test_another_proxys_password_beside_a_session_is_not_taken_for_a_token(page):
    answer = page.ask("GET", "/api/v1/status", Authorization="Basic bWFyaTp4")
    assert answer.code == 200


def test_a_program_needs_its_token_alone(house):
    program, secret = house.browser(), house.token()
    answer = program.ask(
        "PUT",
        "/api/v1/settings/blend",
        {"blend": 9},
        Authorization=f"Bearer {secret}",
        If_Match=f'"{house.revision}"',
    )
    assert (answer.code, answer.json["settings"]["blend"]) == (200, 9)


# What is not there


def test_what_is_not_there_is_told_as_a_problem(page):
    for path in (
        "/api/v1/nothing",
        "/api/",
        "/nothing.html",
        "/../setup.cfg",
        "/%2e%2e/setup.cfg",
        "/__init__.py",
    ):
        answer = page.get(path)
        assert (answer.code, answer.headers["Content-Type"]) == (404, "application/problem+json"), path


def test_a_method_that_a_route_does_not_have_is_told_with_those_it_has(page):
    answer = page.ask("DELETE", "/api/v1/status")
    assert (answer.code, answer.json["code"], answer.headers["Allow"]) == (405, "method-not-allowed", "GET, HEAD")
    answer = page.get("/api/v1/settings/blend")
    assert (answer.code, answer.headers["Allow"]) == (405, "PUT")
    assert page.ask("PUT", "/index.html", {}).headers["Allow"] == "GET, HEAD"


@pytest.mark.parametrize("limit", ["0", "201", "x", "-1", "1e3", "", "99999999999999"])
def test_a_limit_that_cannot_be_used_is_refused(page, limit):
    assert page.get(f"/api/v1/history?limit={limit}x" if limit == "" else f"/api/v1/history?limit={limit}").code == 422


def test_every_answer_says_what_browsers_may_do_with_it(page):
    paths = (
        "/",
        "/healthz",
        "/metrics",
        "/api/v1/status",
        "/api/v1/session",
        "/api/v1/nothing",
        "/api/v1/openapi.json",
    )
    for path in paths:
        headers = page.get(path).headers
        policy = headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy, path
        assert not re.search(r"unsafe|\*|http|data:", policy), path
        assert headers["X-Frame-Options"] == "DENY"
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["Referrer-Policy"] == "no-referrer"
        assert headers["Cache-Control"] == ("no-cache" if path in ("/", "/api/v1/openapi.json") else "no-store")


def test_the_pages_files_are_not_sent_again_to_who_has_them(page):
    answer = page.get("/")
    assert answer.headers["Content-Type"] == "text/html; charset=utf-8"
    again = page.get("/", If_None_Match=answer.headers["Etag"])
    assert (again.code, again.body) == (304, b"")
