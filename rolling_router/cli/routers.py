"""cli.routers: asks routers how they are, and waits until all of them follow a change. Used by `look` and `change`."""

from __future__ import annotations

import json
from argparse import ArgumentParser, Namespace
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import treq
from treq.client import HTTPClient
from twisted.internet.defer import CancelledError, Deferred, FirstError, gatherResults
from twisted.internet.error import ConnectError, DNSLookupError
from twisted.internet.task import deferLater
from twisted.web.client import Agent, BrowserLikePolicyForHTTPS, HTTPConnectionPool
from twisted.web.http_headers import Headers

from rolling_router.cli.command import RouterLost, TimedOut, World
from rolling_router.endpoints import Endpoints, Url
from rolling_router.errors import SettingError
from rolling_router.health import no_connection
from rolling_router.occs.calls import sealed
from rolling_router.options import ENVIRONMENT_PREFIX

ROUTER_VARIABLE = ENVIRONMENT_PREFIX + "ROUTER"
TOKEN_VARIABLE = ENVIRONMENT_PREFIX + "TOKEN"
DEFAULT_ROUTER = "http://127.0.0.1:8080"

ASK_SECONDS = 5.0
AGAIN_SECONDS = 0.2
TELL_SECONDS = 2.0
"""How long a wait may be before it is spoken of, and between words about it."""
_MOST_BYTES = 16 * 1024 * 1024


def add_router_options(parser: ArgumentParser, default: str | None) -> None:
    told = f" [{ROUTER_VARIABLE}]" + (f" [default: {default}]" if default else "")
    parser.add_argument(
        "--router", metavar="URL", action="append", help=f"a router's settings port; may be repeated{told}"
    )
    parser.add_argument(
        "--token-file", metavar="PATH", help=f"file with a token for the settings ports; or set {TOKEN_VARIABLE}"
    )


def named_routers(arguments: Namespace, world: World, default: str | None = None) -> list[str]:
    """
    The routers that are named, by option, else by environment, else `default`.

    :raises SettingError: one is no URL.
    """
    named = arguments.router or world.environ.get(ROUTER_VARIABLE, "").split() or ([default] if default else [])
    return [_check_url(one) for one in named]


def _check_url(text: str) -> str:
    try:
        parts = urlsplit(text)
        is_good = parts.scheme in ("http", "https") and bool(parts.hostname) and not (parts.query or parts.fragment)
        is_good = is_good and parts.username is None and (parts.port is None or parts.port > 0)
    except ValueError:
        is_good = False
    if not is_good or not text.isascii() or not text.isprintable():
        raise SettingError(f"the router is {text!r}; it must be the URL of its settings port, such as {DEFAULT_ROUTER}")
    return text.rstrip("/")


class Routers:
    """Some routers' settings ports."""

    def __init__(self, urls: Sequence[str], arguments: Namespace, world: World, reactor: Any) -> None:
        """:raises SettingError: the token file cannot be read."""
        self.urls = tuple(urls)
        self._world = world
        self._reactor = reactor
        token = _token(arguments.token_file, world)
        self._headers = Headers({"Accept": ["application/json"]})
        if token:
            self._headers.setRawHeaders("Authorization", [f"Bearer {token}"])
        # Not kept connections: there may be minutes between two questions.
        pool = HTTPConnectionPool(reactor, persistent=False)
        endpoints = Endpoints(reactor, BrowserLikePolicyForHTTPS(), ASK_SECONDS)
        self._client = HTTPClient(Agent.usingEndpointFactory(reactor, endpoints, pool))

    async def ask(self, url: str) -> Mapping[str, Any]:
        """
        A router's status.

        :raises RouterLost: it gave none.    :raises SettingError: it wants a token, or another one.
        """
        answering = sealed(Deferred.fromCoroutine(self._status(url)))
        try:
            return await answering.addTimeout(ASK_SECONDS, self._reactor)
        except (RouterLost, SettingError, CancelledError):
            raise
        except Exception as wrong:
            is_told = isinstance(wrong, (ConnectError, DNSLookupError))
            why = no_connection(wrong) if is_told else f"{type(wrong).__name__} {wrong}".strip()
            raise RouterLost(f"the router {url} gave no answer ({why}); look whether it runs") from None

    async def _status(self, url: str) -> Mapping[str, Any]:
        # Redirects are not followed: they would take the token along.
        answer = await self._client.get(
            Url.from_text(f"{url}/api/v1/status"), headers=self._headers, allow_redirects=False
        )
        pieces: list[bytes] = []

        def take(piece: bytes) -> None:
            pieces.append(piece)
            if sum(map(len, pieces)) > _MOST_BYTES:
                raise RouterLost(f"the router {url} answers without end")

        await treq.collect(answer, take)
        if answer.code in (401, 403):
            raise SettingError(f"the router {url} wants a token; set {TOKEN_VARIABLE}, or give --token-file")
        try:
            status = json.loads(b"".join(pieces))
            is_ours = answer.code == 200 and {"app", "snapshot", "store", "counts"} <= set(status)
        except (ValueError, TypeError):
            is_ours = False
        if not is_ours:
            raise RouterLost(f"what answers at {url} with status {answer.code} is no router's settings port")
        found: Mapping[str, Any] = status
        return found

    async def check(self, app: str) -> None:
        """
        Look, before a change, whether its wait could end. A router that gives no answer may be there by then.

        :raises SettingError: one wants a token, or another one, or routes another app.
        """
        await self._lacking(self.urls, app, "")

    async def until_in_force(
        self, app: str, revision: str, seconds: float, check: Callable[[], Awaitable[None]]
    ) -> None:
        """
        Wait until each router says that it has this revision in force.

        :param check: called about once a second; raises where waiting makes no sense any more.
        :raises TimedOut: they did not within `seconds`.    :raises SettingError: one routes another app.
        """
        now = self._reactor.seconds
        begun = told_at = checked_at = now()
        waiting: dict[str, str] = dict.fromkeys(self.urls, "")
        while True:
            waiting = await self._lacking(waiting, app, revision)
            if not waiting:
                return
            whys = "; ".join(f"{url} {why}" for url, why in waiting.items())
            if now() - begun >= seconds:
                raise TimedOut(f"the change is in the store, but not in force after {seconds:g} s: {whys}")
            if now() - told_at >= TELL_SECONDS:
                told_at = now()
                self._world.say(f"waiting for {app} since {now() - begun:.0f} s: {whys}")
            if now() - checked_at >= 1:
                checked_at = now()
                await check()
            await deferLater(self._reactor, min(AGAIN_SECONDS, max(0.0, begun + seconds - now())))

    async def _lacking(self, urls: Collection[str], app: str, revision: str) -> dict[str, str]:
        """Those that are still to be waited for, and why."""
        asked = [Deferred.fromCoroutine(self._lacks(url, app, revision)) for url in urls]
        try:
            found = await gatherResults(asked, consumeErrors=True)
        except FirstError as first:
            for one in asked:
                one.cancel()
            cause: Any = first.subFailure.value
            raise cause from None
        return {url: why for url, why in zip(urls, found, strict=True) if why is not None}

    async def _lacks(self, url: str, app: str, revision: str) -> str | None:
        """Why this router is still to be waited for."""
        try:
            status = await self.ask(url)
        except RouterLost as lost:
            return str(lost).removeprefix(f"the router {url} ")
        if status["app"] != app:
            raise SettingError(f"the router {url} routes {status['app']}, not {app}; name another --router")
        seen = status["snapshot"].get("revision")
        return None if seen == revision else f"has revision {seen or 'none'} in force, not {revision}"


def _token(path: str | None, world: World) -> str | None:
    if path is None:
        token = world.environ.get(TOKEN_VARIABLE, "").strip()
    else:
        try:
            token = Path(path).read_text("utf-8").strip()
        except (OSError, ValueError) as wrong:
            raise SettingError(f"the token file {path} cannot be read: {getattr(wrong, 'strerror', wrong)}") from None
    if not token.isascii() or not token.isprintable() or " " in token:
        raise SettingError(f"the token of {path or TOKEN_VARIABLE} is not one word of ASCII; look where it came from")
    return token or None
