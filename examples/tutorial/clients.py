"""tutorial.clients: clients of the application: one by one, with cookies or without, and many at a time."""

from __future__ import annotations

import http.client
import re
import threading
from collections import Counter
from contextlib import suppress
from http.cookies import SimpleCookie
from types import TracebackType

import attrs

_VERSION = re.compile(r"Running Hello World v\. ([\w.-]+)<")
_COLOUR = re.compile(r"background: (\w+)")
_VISITS = re.compile(r"Visits in this session: (\d+)")


@attrs.frozen
class Seen:
    """What a client sees of the page.    :ivar version: of the page; ``None`` where there was none."""

    status: int
    text: str
    set_cookies: tuple[str, ...]

    @property
    def version(self) -> str | None:
        found = _VERSION.search(self.text)
        return found[1] if found and self.status == 200 else None

    @property
    def colour(self) -> str | None:
        found = _COLOUR.search(self.text)
        return found[1] if found else None

    @property
    def visits(self) -> int:
        found = _VISITS.search(self.text)
        assert found, self
        return int(found[1])


class Client:
    """One client that keeps cookies, as a browser does."""

    def __init__(self, port: int) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        self.cookies: dict[str, str] = {}

    def get(self) -> Seen:
        sent = {"Cookie": "; ".join(f"{name}={text}" for name, text in self.cookies.items())} if self.cookies else {}
        self._connection.request("GET", "/", headers=sent)
        answer = self._connection.getresponse()
        seen = Seen(
            answer.status, answer.read().decode("utf-8", "replace"), tuple(answer.msg.get_all("Set-Cookie", []))
        )
        for line in seen.set_cookies:
            for name, morsel in SimpleCookie(line).items():
                self.cookies[name] = morsel.value
        return seen

    def close(self) -> None:
        self._connection.close()


def look(port: int) -> Seen:
    """One request of a client that nobody knows."""
    client = Client(port)
    try:
        return client.get()
    finally:
        client.close()


def look_often(port: int, times: int = 100) -> list[str | None]:
    """So many requests of unknown clients, one after the other: the versions that answered, in order."""
    client = Client(port)
    try:
        seen = []
        for _ in range(times):
            client.cookies.clear()
            seen.append(client.get().version)
        return seen
    finally:
        client.close()


def look_at_once(port: int, times: int = 100, clients: int = 10) -> Counter[str | None]:
    """So many requests in all, by several clients at the same time."""
    counts: Counter[str | None] = Counter()
    lock = threading.Lock()

    def ask() -> None:
        seen = Counter(look_often(port, times // clients))
        with lock:
            counts.update(seen)

    threads = [threading.Thread(target=ask) for _ in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return counts


class Load:
    """Clients that ask all the time, while something is changed: ``with Load(port) as load: ...``, then look at it."""

    def __init__(self, port: int, clients: int = 4) -> None:
        self.seen: Counter[str | None] = Counter()
        self.failed: list[str] = []
        self._port, self._is_over, self._lock = port, threading.Event(), threading.Lock()
        self._threads = [threading.Thread(target=self._ask, daemon=True) for _ in range(clients)]

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, wrong: BaseException | None, at: TracebackType | None) -> None:
        self._is_over.set()
        for thread in self._threads:
            thread.join()

    def _ask(self) -> None:
        while not self._is_over.is_set():
            client = Client(self._port)
            try:
                for _ in range(50):
                    if self._is_over.is_set():
                        break
                    self._note(client.get())
                    client.cookies.clear()
            except (OSError, http.client.HTTPException) as wrong:
                with self._lock:
                    self.failed.append(repr(wrong))
            finally:
                with suppress(OSError):
                    client.close()

    def _note(self, seen: Seen) -> None:
        with self._lock:
            self.seen[seen.version] += 1
            if seen.version is None:
                self.failed.append(f"{seen.status} {seen.text[:100]}")
