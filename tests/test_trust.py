"""Whose word on who the client is counts."""

from __future__ import annotations

import pytest
from twisted.internet.address import IPv4Address, UNIXAddress

from rolling_router.errors import SettingError
from rolling_router.proxy.trust import Peer, Trust

OURS = Trust.parse(["10.0.0.0/8", "192.0.2.1", "2001:db8::/32"])


def test_nobody_is_trusted_by_default():
    assert not any(Trust().covers(address) for address in ("127.0.0.1", "::1", "10.0.0.1", ""))


@pytest.mark.parametrize("address", ["10.0.0.1", "10.255.255.255", "192.0.2.1", "2001:db8::1", "::ffff:10.1.2.3"])
def test_addresses_in_the_networks_are_trusted(address):
    assert OURS.covers(address)


@pytest.mark.parametrize(
    "address", ["11.0.0.1", "192.0.2.2", "2001:db9::1", "::10.0.0.1", "", "unknown", "10.0.0", "10.0.0.1x"]
)
def test_other_addresses_and_no_addresses_are_not(address):
    assert not OURS.covers(address)


@pytest.mark.parametrize(
    ("address", "plain"),
    [("::ffff:192.0.2.7", "192.0.2.7"), ("192.0.2.7", "192.0.2.7"), ("::ffff:1", "::ffff:1"), ("", "")],
)
def test_a_peer_on_a_dual_stack_socket_has_its_plain_address(address, plain):
    assert Peer(address, False, False).address == plain


@pytest.mark.parametrize(
    ("texts", "address", "is_trusted"),
    [
        (["unix"], UNIXAddress(b"/run/shop.sock"), True),
        (["unix"], UNIXAddress(None), True),  # what connects has no name of its own
        ([" unix ", "10.0.0.0/8"], UNIXAddress(None), True),
        (["10.0.0.0/8"], UNIXAddress(None), False),
        ([], UNIXAddress(None), False),
        (["unix"], IPv4Address("TCP", "127.0.0.1", 80), False),
        (["unix", "10.0.0.0/8"], IPv4Address("TCP", "10.1.2.3", 80), True),
        (["unix"], None, False),
    ],
)
def test_who_comes_by_a_unix_socket_is_trusted_by_that_word_alone(texts, address, is_trusted):
    assert Trust.parse(texts).peer(address, False).is_trusted == is_trusted


def test_a_zone_does_not_matter():
    assert Trust.parse(["fe80::/10"]).covers("fe80::1%eth0")


@pytest.mark.parametrize("text", ["10.0.0.0/33", "10.0.0.1/8", "everybody", "", "10.0.0.0/8,11.0.0.0/8", "1.2.3"])
def test_what_is_no_network_is_refused_with_what_would_do(text):
    with pytest.raises(SettingError) as wrong:
        Trust.parse([text])
    assert repr(text) in str(wrong.value)
    assert "10.0.0.0/8" in str(wrong.value)
    assert "\n" not in str(wrong.value)


@pytest.mark.parametrize(
    ("chain", "client"),
    [
        (b"203.0.113.9", "203.0.113.9"),
        (b"1.1.1.1, 203.0.113.9", "203.0.113.9"),  # what is to the left anybody may have written
        (b"1.1.1.1, 203.0.113.9, 10.0.0.2", "203.0.113.9"),
        (b"203.0.113.9,10.0.0.3,\t10.0.0.2 ", "203.0.113.9"),
        (b"10.0.0.3, 10.0.0.2", "10.0.0.3"),
        (b"unknown, 10.0.0.2", "10.0.0.2"),
        (b"203.0.113.9, unknown", "10.0.0.1"),
        (b"203.0.113.9, , 10.0.0.2", "10.0.0.2"),
        (b"", "10.0.0.1"),
        (b"203.0.113.9:4711", "203.0.113.9"),
        (b"[2001:db9::9]:4711", "2001:db9::9"),
        (b"[2001:db9::9]", "2001:db9::9"),
        (b"2001:DB9:0::9", "2001:db9::9"),
        (b"::ffff:203.0.113.9", "203.0.113.9"),
        (b"\xff\x00, 10.0.0.2", "10.0.0.2"),
        (b"'; drop table", "10.0.0.1"),
        (b"1" * 10_000, "10.0.0.1"),
        (b"203.0.113.09", "10.0.0.1"),
    ],
)
def test_the_client_is_the_last_one_who_is_no_trusted_proxy(chain, client):
    assert OURS.client_behind("10.0.0.1", chain) == client
