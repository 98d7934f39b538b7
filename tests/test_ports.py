"""Endpoints that cannot be used: one line each, with the option, what was written, and what would do."""

import os
import socket

import pytest
from twisted.internet.protocol import Factory

from rolling_router.errors import SettingError
from rolling_router.traffic.ports import Port
from rolling_router.traffic.sockets import Sockets

ENDPOINT = "; write an endpoint, such as tcp:8000"


def refusal(text):
    from twisted.internet import reactor

    with pytest.raises(SettingError) as wrong:
        Port(text, "listen", Factory(), reactor, Sockets()).bind()
    assert "\n" not in str(wrong.value)
    return str(wrong.value)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("tcp", f"it needs a port{ENDPOINT}"),
        ("haproxy:tcp", f"it needs a port{ENDPOINT}"),
        ("tcp:14200:interfce=127.0.0.1", f"interfce= means nothing here{ENDPOINT}"),
        ("tcp:abc", f"'abc' is no whole number{ENDPOINT}"),
        ("tcp:1:port=2", f"it says port twice{ENDPOINT}"),
        ("80", f"Unknown endpoint type: '80'{ENDPOINT}"),
        ("tls:1", "it needs cert= and key=, or certificates="),
        ("tls:cert=a", "it needs a port, as in tls:8443, or systemd="),
        (
            "tls:1:cret=a",
            "cret= means nothing here; "
            "there are cert, key, certificates, interface, port, systemd, backlog, with = each",
        ),
        (
            "tls:1:cert=/no/such",
            "the file /no/such cannot be read: No such file or directory; "
            f"it must be there, and the user {os.geteuid()} be let read it",
        ),
        ("systemd:", "it must name one socket, by index= or by name="),
    ],
)
def test_an_endpoint_that_cannot_be_meant_is_refused_in_plain_words(text, told):
    assert refusal(text) == f"--listen is {text!r}: {told}"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("tcp:99999", "bind(): port must be 0-65535; have --listen name another endpoint"),
        (
            "unix:/nonesuch/socket",
            "No such file or directory; make the directory of the socket, or have --listen name another path",
        ),
        (
            "tcp:0:interface=203.0.113.9",
            "Cannot assign requested address; have interface= be an address of this machine",
        ),
        (
            "systemd:name=web",
            "systemd has handed over no socket 'web'; there are: none; have --listen name another endpoint",
        ),
    ],
)
def test_a_port_that_cannot_be_had_is_refused_with_what_would_do(text, told):
    assert refusal(text) == f"cannot listen on {text}: {told}"


def test_a_port_that_somebody_has_is_refused_with_what_would_do():
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        text = f"tcp:{other.getsockname()[1]}:interface=127.0.0.1"
        assert refusal(text) == (
            f"cannot listen on {text}: Address already in use; "
            "end what listens there, or have --listen name another port"
        )
