"""traffic.notify: words for whoever supervises this process, by systemd's protocol (sd_notify(3)). Never fails."""

from __future__ import annotations

import socket
import time
from collections.abc import Mapping

from twisted.logger import Logger

_log = Logger()


class Notify:
    """Tells the supervisor how it goes; says nothing where there is none."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._address = environ.get("NOTIFY_SOCKET", "")

    def ready(self, status: str) -> None:
        self._send("READY=1", f"STATUS={status}")

    def reloading(self, status: str) -> None:
        self._send("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}", f"STATUS={status}")

    def succeeded_by(self, pid: int) -> None:
        """Another process is what this one was. Said by the old one: its word still counts."""
        self._send(f"MAINPID={pid}", "READY=1", f"STATUS=process {pid} has taken over")

    def stopping(self) -> None:
        self._send("STOPPING=1")

    def _send(self, *lines: str) -> None:
        if not self._address:
            return
        address = "\0" + self._address[1:] if self._address.startswith("@") else self._address
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sending:
                sending.setblocking(False)
                sending.sendto("\n".join(lines).encode("utf-8"), address)
        except OSError as wrong:
            _log.warn("the supervisor at NOTIFY_SOCKET cannot be told: {why}", why=wrong.strerror)
