"""Where WebSocket frames begin, whatever pieces they come in."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from rolling_router.proxy.frames import GOING_AWAY, Frames


def frame(size: int, opcode: int = 2, mask: bytes = b"") -> bytes:
    bit = 0x80 if mask else 0
    if size < 126:
        head = bytes((0x80 | opcode, bit | size))
    elif size < 65536:
        head = bytes((0x80 | opcode, bit | 126)) + size.to_bytes(2, "big")
    else:
        head = bytes((0x80 | opcode, bit | 127)) + size.to_bytes(8, "big")
    return head + mask + b"\x88" * size


SIZES = st.sampled_from([0, 1, 2, 125, 126, 127, 300, 65535, 65536, 70000])


@given(
    frames=st.lists(st.tuples(SIZES, st.sampled_from([b"", b"mask"])), min_size=1, max_size=6),
    cuts=st.lists(st.integers(0, 200_000), max_size=30),
)
def test_the_first_place_between_two_frames_is_found(frames, cuts):
    parts = [frame(size, mask=mask) for size, mask in frames]
    whole = b"".join(parts)
    ends, at = {0}, 0
    for part in parts:
        at += len(part)
        ends.add(at)
    ours, begin = Frames(), 0
    for end in sorted({cut % (len(whole) + 1) for cut in cuts} | {len(whole)}):
        found = ours.feed(whole[begin:end])
        between = [one - begin for one in sorted(ends) if begin <= one <= end]
        assert found == (between[0] if between else None)
        begin = end
        assert ours.is_between is (begin in ends)
    assert not ours.is_closed


@given(cut=st.integers(0, 40))
def test_a_close_frame_is_seen(cut):
    whole = frame(10) + frame(2, opcode=8)
    ours = Frames()
    ours.feed(whole[: cut % len(whole)])
    assert not ours.is_closed or cut % len(whole) >= 14
    ours.feed(whole[cut % len(whole) :])
    assert ours.is_closed


def test_our_goodbye_is_a_whole_frame():
    ours = Frames()
    assert ours.feed(GOING_AWAY) == 0
    assert (ours.is_between, ours.is_closed) == (True, True)
    assert int.from_bytes(GOING_AWAY[2:], "big") == 1001
