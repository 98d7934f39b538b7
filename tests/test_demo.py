"""The demo's file: made once, and then only its addresses change."""

import json

import pytest

from examples.demo import Link, Trouble, write_store

ADDRESSES = {"1.0.0": "127.0.0.1:3001", "1.0.1": "127.0.0.1:3002"}
STABLE = "apps/app-hello-world-1.0.0-3000/containers"


def test_a_new_file_sets_up_both_versions(tmp_path):
    write_store(tmp_path / "new" / "rollout.json", ADDRESSES)
    keys = json.loads((tmp_path / "new" / "rollout.json").read_text())
    assert keys["rolling/null"] == "-"
    assert keys["rolling/hello-world/stable/id"] == STABLE
    assert keys["rolling/hello-world/blendpercent"] == "0"
    assert keys[f"{STABLE}/demo"] == "127.0.0.1:3001"


def test_what_a_person_changed_stays(tmp_path):
    file = tmp_path / "rollout.json"
    write_store(file, ADDRESSES)
    file.write_text(file.read_text().replace('blendpercent": "0"', 'blendpercent": "35"'))
    write_store(file, {**ADDRESSES, "1.0.0": "127.0.0.1:4001"})
    keys = json.loads(file.read_text())
    assert keys["rolling/hello-world/blendpercent"] == "35"
    assert keys[f"{STABLE}/demo"] == "127.0.0.1:4001"


@pytest.mark.parametrize(("text", "said"), [('{"a": "b",}', "line 1, column 11"), ("[]", "not one JSON object")])
def test_a_file_that_cannot_be_read_is_named_and_left_alone(tmp_path, text, said):
    file = tmp_path / "rollout.json"
    file.write_text(text)
    with pytest.raises(Trouble, match=said):
        write_store(file, ADDRESSES)
    assert file.read_text() == text


def test_the_link_that_signs_in_is_taken_from_the_log():
    link = Link(8080)
    link.hear(
        "[x#info] nobody has a token yet; sign in once, within 30 minutes, by http://127.0.0.1:8080/#code=aB_c-1\n"
    )
    link.hear("[x#info] hello-world: routing on tcp:8000; settings port on tcp:8080\n")
    assert link.text() == "http://127.0.0.1:8080/#code=aB_c-1 (signs in, once)"


def test_without_a_link_the_page_is_named():
    link = Link(8080)
    link.hear("[x#info] hello-world: routing on tcp:8000; settings port on tcp:8080\n")
    assert link.text() == "http://127.0.0.1:8080/ (sign in with your token)"
