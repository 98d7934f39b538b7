"""proxy.frames: where WebSocket frames begin and end (RFC 6455 section 5.2). Pure; looks at their heads alone."""

from __future__ import annotations

GOING_AWAY = b"\x88\x02" + (1001).to_bytes(2, "big")
"""A whole frame of a server's: close, because it is going away."""

_CLOSE = 0x8


class Frames:
    """
    Follows one direction of a WebSocket.

    :ivar is_closed: a close frame has gone by; nothing may follow it.
    """

    def __init__(self) -> None:
        self.is_closed = False
        self._left = 0  # of the payload of the frame that is under way
        self._head = b""  # of a frame whose head has not all come

    @property
    def is_between(self) -> bool:
        return not self._left and not self._head

    def feed(self, data: bytes) -> int | None:
        """
        More bytes go by.

        :returns: how many of them end the frame that was under way (0 if none was): the first place at which another
            frame may be put in; ``None`` if it is under way still.
        """
        length = len(data)
        if length < self._left:  # most of what belongs to large frames
            self._left -= length
            return None
        # What is kept of a head came before this piece.
        kept = len(self._head)
        data, at = self._head + data, self._left
        first = None if kept else at
        self._head, self._left, length = b"", 0, len(data)
        while at < length:
            size = _head_size(data, at)
            if at + size > length:
                self._head = data[at:]
                break
            if data[at] & 0x0F == _CLOSE:
                self.is_closed = True
            at += size + _payload_size(data, at)
            if at > length:
                self._left = at - length
            elif first is None:
                first = at - kept
        return first


def _head_size(data: bytes, at: int) -> int:
    """As far as can be told by what has come of it."""
    if at + 1 >= len(data):
        return 2
    short = data[at + 1] & 0x7F
    mask = 4 if data[at + 1] & 0x80 else 0
    return 2 + (2 if short == 126 else 8 if short == 127 else 0) + mask


def _payload_size(data: bytes, at: int) -> int:
    short = data[at + 1] & 0x7F
    if short < 126:
        return short
    width = 2 if short == 126 else 8
    return int.from_bytes(data[at + 2 : at + 2 + width], "big")
