"""proxy.limits: how long and how much. One frozen value, made from the options, handed to every connection."""

from __future__ import annotations

import attrs


@attrs.frozen
class Limits:
    """
    Durations are in seconds, sizes in bytes; each has an option of the same name, with hyphens.

    :ivar head_seconds: for a request's head, from its first byte (or the connection's start) to its end.
    :ivar idle_seconds: silence of a kept client connection between two requests.
    :ivar connect_seconds: connecting to an instance.
    :ivar answer_seconds: from the request's last byte to the answer's head.
    :ivar body_seconds: silence inside a body, either way, and a reader that takes nothing.
    :ivar line_bytes: the request target.    :ivar head_bytes: a whole head, either way.
    :ivar head_fields: header fields in a head.    :ivar body_bytes: a request's body; 0 is no limit.
    :ivar pool_idle: idle connections kept for each instance.
    :ivar pool_seconds: how long an idle one is kept. Below the 5 s after which Node.js and uvicorn hang up: a
        connection that we close ourselves can not be closed under a request.
    :ivar linger_seconds: how long a closing connection's unread input is awaited, so that our answer is not lost.
    """

    head_seconds: float = 10.0
    idle_seconds: float = 75.0
    connect_seconds: float = 5.0
    answer_seconds: float = 60.0
    body_seconds: float = 60.0
    line_bytes: int = 8192
    head_bytes: int = 32768
    head_fields: int = 100
    body_bytes: int = 0
    pool_idle: int = 128
    pool_seconds: float = 4.0
    linger_seconds: float = 2.0
