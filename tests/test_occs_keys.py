"""Keys, as a manager or a node may tell them; and what is missing and what is lost."""

from __future__ import annotations

import base64

import pytest

from rolling_router.errors import StoreLost
from rolling_router.occs.keys import NODE_FORMS
from tests.occs_fakes import SECRET, Bench, said

KEY = "rolling/shop/blendpercent"


def element(key, text):
    value = base64.b64encode(text if isinstance(text, bytes) else text.encode()).decode()
    return {"Key": key, "Value": value, "Flags": 0, "CreateIndex": 12, "ModifyIndex": 31, "LockIndex": 0}


def test_one_key_is_read_with_the_token():
    bench = Bench(said([element(KEY, "30")]))
    assert bench.ended(bench.client.keys.get(KEY)) == "30"
    (asked,) = bench.manager.asked
    assert (asked.method, asked.target, asked.authorization) == ("GET", f"/api/kv/{KEY}", f"Bearer {SECRET}")


def test_keys_below_a_prefix_are_read_by_one_call():
    told = [element(KEY, "30"), element("rolling/shop/stable/id", "rolling/null")]
    bench = Bench(said(told))
    assert bench.ended(bench.client.keys.below("rolling/shop/")) == {
        KEY: "30",
        "rolling/shop/stable/id": "rolling/null",
    }
    (asked,) = bench.manager.asked
    assert asked.target == "/api/kv/rolling/shop/?recurse"


def test_what_does_not_begin_with_the_prefix_is_left_out():
    bench = Bench(said([element(KEY, "30"), element("rolling/shop2/x", "1")]))
    assert bench.ended(bench.client.keys.below("rolling/shop/")) == {KEY: "30"}


@pytest.mark.parametrize("answer", [(404, b"gone"), said(None), said([]), said({}), (200, b"")], ids=repr)
def test_a_missing_key(answer):
    bench = Bench(answer)
    assert bench.ended(bench.client.keys.get(KEY)) is None


@pytest.mark.parametrize("answer", [(404, b"gone"), said(None), said([]), said({})], ids=repr)
def test_a_missing_prefix(answer):
    bench = Bench(answer)
    assert bench.ended(bench.client.keys.below("rolling/shop/")) == {}


ODD = [
    (500, b"<html>Internal Server Error</html>"),
    (500, b"[]"),
    (400, b"{}"),
    (302, b""),
    (200, b"<html>Please sign in</html>"),
    (200, b'[{"Key": "rolling/shop/bl'),
    (200, b"[" * 100_000),
    (200, b"\xff\xfe"),
    said({"Key": KEY}),
    said("30"),
    said(30),
    said(False),
    said(0),
    said([None]),
    said([[]]),
    said([{}]),
    said([{"Key": KEY}]),
    said([{"Key": KEY, "Value": "%%%"}]),
    said([{"Key": KEY, "Value": 30}]),
    said([{"Key": 5, "Value": "MzA="}]),
    said([{"Key": [], "Value": "MzA="}]),
]


@pytest.mark.parametrize("answer", ODD, ids=lambda answer: repr(answer)[:50])
def test_anything_else_is_lost_and_never_missing(answer):
    for form in ("one", "all"):
        bench = Bench(answer)
        read = bench.client.keys.get if form == "one" else bench.client.keys.below
        with pytest.raises(StoreLost, match=r"https://manager\.example"):
            bench.ended(read(KEY), 2.0)


def test_an_empty_answer_to_a_recursive_read_is_lost():
    bench = Bench((200, b" "))
    with pytest.raises(StoreLost, match="nothing at all"):
        bench.ended(bench.client.keys.below("rolling/shop/"))


def test_empty_and_odd_values_are_told_as_they_are():
    told = [element("a/1", ""), {"Key": "a/2", "Value": None}, element("a/3", b"\xff"), element("a/4", "ü\n")]
    bench = Bench(said(told))
    assert bench.ended(bench.client.keys.below("a/")) == {"a/1": "", "a/2": "", "a/3": "�", "a/4": "ü\n"}


@pytest.mark.parametrize("key", ["a b/ü", "a?b#c/%2F", "a//b", "../x"])
def test_a_key_with_odd_characters_is_that_key(key):
    from urllib.parse import unquote

    bench = Bench((200, b"true"))
    bench.ended(bench.client.keys.put(key, "x"))
    assert unquote(bench.manager.asked[0].target) == f"/api/kv/{key}"
    assert "?" not in bench.manager.asked[0].target


@pytest.mark.parametrize("text", ["30", "", "a\nb", "ü"])
def test_a_key_is_written_as_it_is(text):
    bench = Bench((200, b"true"))
    bench.ended(bench.client.keys.put(KEY, text))
    (asked,) = bench.manager.asked
    assert (asked.method, asked.target, asked.body.decode()) == ("PUT", f"/api/kv/{KEY}", text)


@pytest.mark.parametrize(
    "answer", [(200, b"false"), (200, b""), (200, b"<html>"), (404, b"true"), (405, b"")], ids=repr
)
def test_a_write_that_is_not_confirmed_is_lost(answer):
    bench = Bench(answer)
    with pytest.raises(StoreLost, match=r"PUT .*blendpercent"):
        bench.ended(bench.client.keys.put(KEY, "30"))


@pytest.mark.parametrize("answer", [(200, b"true"), (204, b""), (404, b"")], ids=repr)
def test_a_key_is_removed_there_or_not(answer):
    bench = Bench(answer)
    bench.ended(bench.client.keys.delete(KEY))
    assert bench.manager.asked[0].method == "DELETE"


def test_a_removal_that_is_refused_is_lost():
    bench = Bench((405, b""))
    with pytest.raises(StoreLost, match="not removed"):
        bench.ended(bench.client.keys.delete(KEY))


# A node's two forms


def test_a_node_is_asked_in_the_first_form_that_it_knows():
    told = said([element(KEY, "30")])
    bench = Bench(told, forms=NODE_FORMS)
    for _ in range(2):
        assert bench.ended(bench.client.keys.below("rolling/")) == {KEY: "30"}
    assert [one.target for one in bench.manager.asked] == ["/v1/kv/rolling/?recurse"] * 2


@pytest.mark.parametrize("unknown", [(404, b"404 page not found"), (200, b"<html>"), (200, b""), (400, b"")], ids=repr)
def test_the_other_form_is_found_and_kept(unknown):
    bench = Bench(unknown, said([element(KEY, "30")]), forms=NODE_FORMS)
    for _ in range(2):
        assert bench.ended(bench.client.keys.below("rolling/")) == {KEY: "30"}
    paths = [one.target for one in bench.manager.asked]
    assert paths == ["/v1/kv/rolling/?recurse", *["/api/kv/rolling/?recurse"] * 2]


def test_404_in_either_form_is_missing_but_an_odd_answer_in_one_is_lost():
    bench = Bench((404, b""), forms=NODE_FORMS)
    assert bench.ended(bench.client.keys.below("rolling/")) == {}
    for answers in (((404, b""), (403, b"")), ((200, b"<html>"), (404, b""))):
        bench = Bench(*answers, forms=NODE_FORMS)
        with pytest.raises(StoreLost):
            bench.ended(bench.client.keys.below("rolling/"))
