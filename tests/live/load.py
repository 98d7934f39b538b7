"""Clients that ask one thing after the other on kept connections, in threads, until they are told to stop."""

from __future__ import annotations

import threading
import time
from collections import Counter
from types import TracebackType

import attrs

from .router import Router
from .wire import get


@attrs.define(eq=False)
class Load:
    """
    Load on a router for as long as the context lasts. At its end, no request may have failed.

    :ivar connections: how many; every fourth of them is made anew for each request.
    :ivar pause_seconds: between two requests of one client: two cores have more to do than this.
    :ivar versions: who answered how often.    :ivar seconds: how long each answer took.
    """

    router: Router
    connections: int = 32
    pause_seconds: float = 0.02
    versions: Counter[str] = attrs.field(factory=Counter)
    seconds: list[float] = attrs.field(factory=list)
    wrong: list[object] = attrs.field(factory=list)
    _since: float = 0.0
    _lock: threading.Lock = attrs.field(factory=threading.Lock)
    _over: threading.Event = attrs.field(factory=threading.Event)
    _clients: list[threading.Thread] = attrs.field(factory=list)

    def __enter__(self) -> Load:
        self._clients = [threading.Thread(target=self._run, args=(n,)) for n in range(self.connections)]
        for client in self._clients:
            client.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, value: object, trace: TracebackType | None) -> None:
        self._over.set()
        for client in self._clients:
            client.join(30)
        if kind is None:
            assert self.wrong == []
            assert self.seconds

    def forget(self) -> None:
        """Begin anew to count and to measure. What was asked before, and is answered only now, does not count."""
        with self._lock:
            self._since = time.monotonic()
            self.versions.clear()
            self.seconds.clear()

    def _run(self, number: int) -> None:
        wire = None
        while not self._over.wait(self.pause_seconds):
            try:
                wire = wire or self.router.wire()
                began = time.monotonic()
                answer = wire.ask(get("/", *(("Connection: close",) if number % 4 == 0 else ())))
                assert (answer.status, answer.is_cut) == (200, False), answer
                with self._lock:
                    if began > self._since:
                        self.seconds.append(time.monotonic() - began)
                        self.versions[answer.version] += 1
            except Exception as wrong:
                self.wrong.append((number, repr(wrong)))
                return
            if number % 4 == 0:
                wire.sock.close()
                wire = None
        if wire is not None:
            wire.sock.close()
