"""The targets of `make fuzz`, for a moment: by lot, and by what was found before."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fuzz.targets import TARGETS, seeds
from tests.corpus.mutate import mutated

LONG = b"\x00\x80POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n4000\r\n" + b"x" * 600

# Inputs that made a target fall once.
FOUND: dict[str, list[bytes]] = {
    "requests": [
        b"\x00\x40" + b"v" * 29 + b"Jost: a.tes\r\n\r\n",
        b"\x00\x40GET ttp://a/" + b"0" * 230 + b"\x00\n",
        LONG,
    ],
    "answers": [],
    "chunks": [b"\x030\r\n\r\n" + b"\r\n" * 9 + b"\n\r\n"],
    "fields": [],
}


@pytest.mark.parametrize("target", TARGETS)
def test_a_target_stands_what_it_begins_with_and_what_was_found(target):
    for one in (*seeds(target), *FOUND[target], b"", b"\x00"):
        TARGETS[target](one)


@pytest.mark.parametrize("target", TARGETS)
def test_a_target_stands_changes_by_lot(target):
    for one in mutated(seeds(target), 20261123, 1000):
        TARGETS[target](one)


@pytest.mark.parametrize("target", TARGETS)
def test_a_target_stands_any_bytes(target):
    @given(st.binary(max_size=200))
    @settings(derandomize=True, max_examples=200, deadline=None)
    def stands(data):
        TARGETS[target](data)

    stands()
