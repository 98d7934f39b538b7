"""What the router says in its own name."""

from __future__ import annotations

import pytest

from rolling_router.proxy.answers import own_answer

STATUSES = [400, 405, 408, 413, 414, 417, 431, 501, 502, 503, 504, 505]


@pytest.mark.parametrize("status", STATUSES)
def test_an_answer_is_short_plain_and_names_its_request(status):
    fields, body = own_answer(status, "What is wrong.", b"abc-1")
    named = dict(fields)
    assert len(named) == len(fields)
    assert int(named[b"Content-Length"]) == len(body) < 200
    assert named[b"Content-Type"] == b"text/plain; charset=utf-8"
    assert named[b"Cache-Control"] == b"no-store"
    assert named[b"X-Request-ID"] == b"abc-1"
    assert body.startswith(b"%d " % status)
    assert b"What is wrong." in body
    assert b"abc-1" in body
    assert b"Set-Cookie" not in named


def test_503_says_when_to_come_again_and_405_what_is_allowed():
    assert b"Retry-After" in dict(own_answer(503, "x", b"")[0])
    assert b"Allow" in dict(own_answer(405, "x", b"")[0])
    assert not {b"Retry-After", b"Allow"} & set(dict(own_answer(502, "x", b"")[0]))


def test_other_letters_are_utf_8_and_counted_in_bytes():
    fields, body = own_answer(400, "schön €", b"")
    assert "schön €".encode() in body
    assert int(dict(fields)[b"Content-Length"]) == len(body)


def test_without_an_id_none_is_named():
    fields, body = own_answer(400, "x", b"")
    assert b"X-Request-ID" not in dict(fields)
    assert b"Request:" not in body
