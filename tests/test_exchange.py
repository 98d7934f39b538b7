"""One request and its answer: what has come is sent on or kept, and what a lost instance means."""

from __future__ import annotations

import itertools

import pytest

from rolling_router.proxy.exchange import Exchange, Verdict
from rolling_router.proxy.request import Request
from rolling_router.proxy.response import Response
from rolling_router.proxy.trust import Peer


class Instance:
    """An instance's side that keeps what it is given."""

    def __init__(self):
        self.got = []

    def send_body(self, pieces):
        self.got += pieces

    def send_end(self):
        self.got.append(b"<end>")


def exchange(method=b"GET"):
    request = Request(Peer("192.0.2.7", False, False))
    request.method = method
    return Exchange(request, None, 0.0)


def test_what_comes_before_there_is_an_instance_is_kept_and_the_client_asked_to_wait():
    ours = exchange(b"POST")
    assert not ours.must_wait
    ours.body_came([b"ab", b"c"])
    ours.body_came([b"d"])
    assert b"".join(ours.pending) == b"abcd"
    assert (ours.must_wait, ours.bytes_in, ours.sent_body) == (True, 4, False)
    ours.body_ended()
    assert ours.is_request_over


def test_what_comes_when_there_is_one_goes_on():
    ours = exchange(b"POST")
    ours.instance = Instance()
    ours.body_came([b"ab"])
    ours.body_ended()
    assert ours.instance.got == [b"ab", b"<end>"]
    assert (ours.must_wait, ours.sent_body) == (False, True)


def test_a_full_instance_makes_the_client_wait():
    ours = exchange(b"POST")
    ours.is_full = True
    assert ours.must_wait


def test_what_one_exchange_keeps_another_does_not_have():
    first, second = exchange(), exchange()
    first.body_came([b"x"])
    first.tried = (*first.tried, None)
    assert (list(second.pending), list(second.tried), second.bytes_in) == ([], [], 0)


@pytest.mark.parametrize(
    "method", [b"GET", b"HEAD", b"OPTIONS", b"TRACE", b"PUT", b"DELETE", b"POST", b"PATCH", b"LOCK", b"MKCOL"]
)
def test_a_request_is_sent_again_only_where_that_is_harmless(method):
    repeatable = method in (b"GET", b"HEAD", b"OPTIONS", b"TRACE", b"PUT", b"DELETE")
    for is_reused, has_answered, sent_body in itertools.product((False, True), repeat=3):
        ours = exchange(method)
        ours.sent_body = sent_body
        expected = Verdict.ANSWER
        if repeatable and not sent_body:
            expected = Verdict.AGAIN if is_reused and not has_answered else Verdict.ELSEWHERE
        assert ours.instance_lost(is_reused, has_answered) is expected
        if expected is Verdict.ELSEWHERE:
            ours.was_sent_again = True
            assert ours.instance_lost(is_reused, has_answered) is Verdict.ANSWER, "there is no third"
        ours.request.upgrade = b"websocket"
        assert ours.instance_lost(is_reused, has_answered) is Verdict.ANSWER, "the other protocol may have begun"
        ours.response = Response(200, b"OK", [])
        assert ours.instance_lost(is_reused, has_answered) is Verdict.CUT
