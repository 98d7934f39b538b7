"""cli.drain: shows what is still in flight on instances that left, and waits until that is nothing."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from twisted.internet.task import deferLater

from rolling_router.cli.command import Command, Exit, RouterLost, TimedOut, World, add_json, in_reactor
from rolling_router.cli.routers import DEFAULT_ROUTER, TELL_SECONDS, Routers, add_router_options, named_routers
from rolling_router.cli.words import plain
from rolling_router.errors import SettingError

AGAIN_SECONDS = 0.5

Rows = list[dict[str, Any]]
"""Of ``leaving`` in a router's status."""


def _prepare(parser: ArgumentParser) -> None:
    parser.add_argument("--wait", action="store_true", help="wait until nothing is left on any --router")
    parser.add_argument("--wait-seconds", metavar="N", type=float, default=300.0, help="at most so long [default: 300]")
    add_router_options(parser, DEFAULT_ROUTER)
    add_json(parser)


async def _drain(arguments: Namespace, world: World, reactor: Any) -> int:
    if not 0 < arguments.wait_seconds <= 86400:
        raise SettingError(f"--wait-seconds is {arguments.wait_seconds:g}; it must be a number up to 86400")
    routers = Routers(named_routers(arguments, world, DEFAULT_ROUTER), arguments, world, reactor)
    if arguments.wait:
        left = await _until_nothing(routers, arguments.wait_seconds, world, reactor)
    else:
        left = {url: _left(await routers.ask(url)) for url in routers.urls}
    if arguments.json:
        world.show_json({"routers": [{"url": url, "leaving": rows} for url, rows in left.items()]})
    else:
        lines = [line for url, rows in left.items() for line in _lines(url, rows)]
        world.show("\n".join(lines) or "nothing is left")
    return Exit.DONE


async def _until_nothing(routers: Routers, seconds: float, world: World, reactor: Any) -> dict[str, Rows]:
    """
    Ask again and again.

    :raises TimedOut: something is left after so many seconds.    :raises RouterLost: a router gave no answer at first.
    """
    begun = told_at = reactor.seconds()
    told = {url: await routers.ask(url) for url in routers.urls}
    while True:
        silent = [f"{url} does not agree in all of its processes" for url, status in told.items() if _differs(status)]
        for url in routers.urls:
            if url not in told:
                silent.append(f"{url} gives no answer")
        in_flight = sum(row["in_flight"] for status in told.values() for row in _left(status))
        if not in_flight and not silent:
            return {url: _left(status) for url, status in told.items()}
        words = "; ".join([f"{in_flight} still in flight", *silent])
        if reactor.seconds() - begun >= seconds:
            raise TimedOut(f"not drained after {seconds:g} s: {words}")
        if reactor.seconds() - told_at >= TELL_SECONDS:
            told_at = reactor.seconds()
            world.say(f"waiting: {words}")
        await deferLater(reactor, min(AGAIN_SECONDS, max(0.0, begun + seconds - reactor.seconds())))
        told = {}
        for url in routers.urls:
            with suppress(RouterLost):
                told[url] = await routers.ask(url)


def _differs(status: Mapping[str, Any]) -> bool:
    """Whether a worker process follows something else than the others, or said nothing: what is left is not known."""
    return bool(status["snapshot"].get("revision") is None and status.get("is_set_up", True))


def _left(status: Mapping[str, Any]) -> Rows:
    return [dict(row) for row in status.get("leaving", ())]


def _lines(url: str, rows: Rows) -> list[str]:
    return [
        f"{plain(row['version'])}  {plain(row['instance'])}  {row['in_flight']} in flight  ({plain(url)})"
        for row in rows
    ]


COMMANDS = (
    Command("drain", "show what is in flight on instances that left; wait for its end", _prepare, in_reactor(_drain)),
)
