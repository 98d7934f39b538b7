"""What each header field is to a proxy."""

from __future__ import annotations

import pytest

from rolling_router.proxy.headers import (
    KINDS,
    Kind,
    Sharing,
    cookie_values,
    not_removable,
    sharing,
    tokens,
    without_cookies,
    without_named,
)


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        (b"Accept", Kind.PLAIN),
        (b"x-forwarded", Kind.PLAIN),
        (b"Cookie2", Kind.PLAIN),
        (b"COOKIE", Kind.COOKIE),
        (b"hOsT", Kind.HOST),
        (b"X-Forwarded-For", Kind.FORWARDED),
        (b"x-FORWARDED-anything", Kind.FORWARDED),
        (b"Forwarded", Kind.FORWARDED),
        (b"X-Real-IP", Kind.FORWARDED),
        (b"X_Forwarded_For", Kind.DROPPED),
        (b"x-forwarded_for", Kind.DROPPED),
        (b"X_Real-IP", Kind.DROPPED),
        (b"Content_Length", Kind.DROPPED),
        (b"Transfer_Encoding", Kind.DROPPED),
        (b"X_Request-ID", Kind.DROPPED),
        (b"X.Forwarded.For", Kind.DROPPED),
        (b"Transfer~Encoding", Kind.DROPPED),
        (b"Keep-Alive", Kind.DROPPED),
        (b"TE", Kind.DROPPED),
        (b"Proxy", Kind.DROPPED),
        (b"HTTP2-Settings", Kind.DROPPED),
    ],
)
def test_kinds_of_fields_whatever_their_case(name, kind):
    assert [KINDS[one] for one in (name, name, name.lower(), name.upper(), name.title())] == [kind] * 5


def test_what_is_remembered_of_names_is_bounded():
    for count in range(10_000):
        assert KINDS[b"x-%d" % count] is Kind.PLAIN
    assert KINDS[b"y" * 1000] is Kind.PLAIN
    assert len(KINDS) <= 4096
    assert KINDS[b"cOnNeCtIoN"] is Kind.CONNECTION


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (b"", []),
        (b"close", [b"close"]),
        (b" Close ,\tX-A,,", [b"close", b"x-a"]),
        (b"keep-alive, Upgrade", [b"keep-alive", b"upgrade"]),
        (b" , ", []),
    ],
)
def test_tokens_of_a_list(value, expected):
    for _ in range(2):  # what is handed out once is not what others get, so nobody's change shows
        found = tokens(value)
        assert found == expected


def test_fields_that_connection_must_not_name():
    assert not_removable(b"host")
    assert not_removable(b"Authorization")
    assert not_removable(b"x-forwarded-for")
    assert not not_removable(b"x-anything")
    assert not not_removable(b"te")


def test_named_fields_are_taken_out_in_any_case():
    fields = [(b"X-A", b"1"), (b"x-b", b"2"), (b"x-a", b"3")]
    assert without_named(fields, {b"x-a"}) == [(b"x-b", b"2")]


@pytest.mark.parametrize(
    ("line", "kept"),
    [
        (b"a=1; b=2", b"a=1; b=2"),
        (b"a=1;  b=2 ;c", b"a=1;  b=2 ;c"),
        (b"pin=x", b""),
        (b"pin=x; a=1", b"a=1"),
        (b"a=1; pin=x", b"a=1"),
        (b"a=1; pin=x; b=2", b"a=1; b=2"),
        (b"a=1;pin=x;b=2", b"a=1;b=2"),
        (b"pin=x; pin=y; a=1; pin=z", b"a=1"),
        (b" pin =x; a=1", b"a=1"),
        (b"pin; a=1", b"a=1"),
        (b"mypin=1; pinned=2; a=pin", b"mypin=1; pinned=2; a=pin"),
        (b"PIN=x", b"PIN=x"),
        (b"; ;;", b"; ;;"),
        (b"", b""),
    ],
)
def test_private_cookies_are_taken_out_and_the_others_left_as_they_are(line, kept):
    assert without_cookies(line, {b"pin", b"other"}) == kept
    assert without_cookies(line, ()) == line


def test_all_values_of_a_cookie_are_found_in_order():
    raw = [b"a=1; pin=x; b=2", b"pin=y;pin= z ;pinned=0", b"pin; mypin=1", b"pin=a=b"]
    assert cookie_values(raw, b"pin") == [b"x", b"y", b"z", b"a=b"]
    assert cookie_values(raw, b"c") == []
    assert cookie_values([], b"pin") == []


CC, EX = Kind.CACHE_CONTROL, Kind.EXPIRES
LATER = (EX, b"Wed, 21 Oct 2099 07:28:00 GMT")


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ([], Sharing.SILENT),
        ([(CC, b"no-cache")], Sharing.SILENT),
        ([(CC, b"max-age=0, must-revalidate")], Sharing.SILENT),
        ([(CC, b"max-age=000")], Sharing.SILENT),
        ([(CC, b"max-age=" + b"0" * 9000)], Sharing.SILENT),
        ([(EX, b"0")], Sharing.SILENT),
        ([(EX, b"-1")], Sharing.SILENT),
        ([(CC, b"max-age=0"), LATER], Sharing.SILENT),
        ([(CC, b"no-cache"), LATER], Sharing.SILENT),
        ([(CC, b"Max-Age=1")], Sharing.ALLOWED),
        ([(CC, b"max-age=" + b"9" * 9000)], Sharing.ALLOWED),
        ([(CC, b'max-age="60"')], Sharing.ALLOWED),
        ([(CC, b"s-maxage=1, max-age=0")], Sharing.ALLOWED),
        ([(CC, b"PUBLIC")], Sharing.ALLOWED),
        ([(CC, b"no-cache"), (CC, b"public")], Sharing.ALLOWED),
        ([LATER], Sharing.ALLOWED),
        ([(CC, b"private, max-age=60")], Sharing.FORBIDDEN),
        ([(CC, b"public, no-store")], Sharing.FORBIDDEN),
        ([(CC, b"public"), (CC, b" No-Store ")], Sharing.FORBIDDEN),
    ],
)
def test_what_an_answer_says_of_shared_caches(said, expected):
    assert sharing(said) is expected
