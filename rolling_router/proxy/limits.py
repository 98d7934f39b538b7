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
    :ivar tunnel_seconds: silence of a whole tunnel, both ways; 0 is no limit. Noticed up to a quarter later.
    :ivar connections_most: open client connections; 0 is as many as there are descriptors for.
    :ivar connections_per_client: those of one address (IPv6: of one /64); 0 is no limit. Trusted proxies, which bring
        many clients, have none.
    :ivar requests_per_connection: after which a client's connection ends; 0 is no limit.
    :ivar requests_per_instance: outstanding on one; 0 is no limit.
    :ivar queue_length: requests of one version that wait for an instance with less.
    :ivar queue_seconds: how long one waits.
    :ivar pool_idle: idle connections kept for each instance.
    :ivar pool_seconds: how long an idle one is kept. Below the 5 s after which Node.js and uvicorn hang up: a
        connection that we close ourselves can not be closed under a request.
    :ivar linger_seconds: silence of a client that still had to send when its connection began to close: what it sends
        is read until then, 30 s at most, so that our answer is not lost. Also for the goodbye of one by TLS.
    """

    head_seconds: float = 10.0
    idle_seconds: float = 75.0
    connect_seconds: float = 5.0
    answer_seconds: float = 60.0
    body_seconds: float = 60.0
    tunnel_seconds: float = 3600.0
    line_bytes: int = 8192
    head_bytes: int = 32768
    head_fields: int = 100
    body_bytes: int = 0
    connections_most: int = 0
    connections_per_client: int = 0
    requests_per_connection: int = 10000
    requests_per_instance: int = 0
    queue_length: int = 100
    queue_seconds: float = 5.0
    pool_idle: int = 128
    pool_seconds: float = 4.0
    linger_seconds: float = 2.0


ACTING = (
    "head-seconds",
    "idle-seconds",
    "connect-seconds",
    "answer-seconds",
    "body-seconds",
    "tunnel-seconds",
    "line-bytes",
    "head-bytes",
    "head-fields",
    "body-bytes",
    "chunk-framing",
    "connections-most",
    "connections-per-client",
    "requests-per-connection",
    "requests-per-instance",
    "queue-length",
    "queue-seconds",
    "pool-idle",
    "pool-seconds",
    "linger-seconds",
    "descriptors",
)
"""Names under which limits are counted when they act: the options', and two that are none."""
