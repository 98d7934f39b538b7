"""What systemd is to the router: it hears its words, and knows which process is the main one."""

from __future__ import annotations

import os
import signal
import socket
from contextlib import suppress
from pathlib import Path

import attrs

from .router import until


def lives(pid: int) -> bool:
    with suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False


@attrs.define(eq=False)
class Supervisor:
    """
    Listens where ``NOTIFY_SOCKET`` points.

    :ivar words: of all messages so far, in their order.    :ivar pids: each main process after the first.
    """

    directory: Path
    words: list[str] = attrs.field(factory=list)
    pids: list[int] = attrs.field(factory=list)
    _socket: socket.socket = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(self.path))
        self._socket.settimeout(60)

    @property
    def path(self) -> Path:
        return self.directory / "notify"

    def hear(self, word: str) -> list[str]:
        """Wait for a message with this word; gives all of that message."""
        while True:
            words = self._socket.recv(4096).decode().split("\n")
            self.words += words
            self.pids += [int(one.removeprefix("MAINPID=")) for one in words if one.startswith("MAINPID=")]
            if any(one.startswith(word) for one in words):
                return words

    def end(self) -> None:
        """The last main process, and whatever else is left of them."""
        for pid in self.pids:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM)
        try:
            until(lambda: not any(map(lives, self.pids)), 30, "all successors have ended")
        finally:
            for pid in self.pids:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            self._socket.close()
