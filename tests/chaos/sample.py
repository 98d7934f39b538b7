"""What a process takes up at one moment, as the system tells it. Linux only, like the rest of these tests."""

from __future__ import annotations

import os
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path

import attrs

_ESTABLISHED = "01"


@attrs.frozen
class Sample:
    """
    :ivar at: seconds since the start.    :ivar rss: bytes of memory.    :ivar pooled: connections to instances that
    carry nothing.    :ivar rate: requests per second, since the sample before.    :ivar median: of how long a plain
    request took meanwhile, in seconds, and `slow` the 99th percentile.
    """

    at: float
    rss: int
    descriptors: int
    connections: int
    pooled: int
    rate: float = 0.0
    median: float = 0.0
    slow: float = 0.0


def rss(pid: int) -> int:
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.partition("VmRSS:")[2].split()[0]) * 1024


def sockets(pid: int) -> tuple[int, set[str]]:
    """How many descriptors it has, and the inodes of those that are sockets."""
    names = []
    for descriptor in os.listdir(f"/proc/{pid}/fd"):
        with suppress(OSError):  # closed meanwhile
            names.append(os.readlink(f"/proc/{pid}/fd/{descriptor}"))
    return len(names), {name[8:-1] for name in names if name.startswith("socket:[")}


def connections_to(ports: Collection[int], inodes: Collection[str]) -> int:
    """How many of these sockets are connected to one of these ports."""
    found = 0
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        words = line.split()
        found += words[3] == _ESTABLISHED and int(words[2].partition(":")[2], 16) in ports and words[9] in inodes
    return found
