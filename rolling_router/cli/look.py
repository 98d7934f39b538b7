"""cli.look: the commands that change nothing: status, versions, history."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from typing import Any

from rolling_router.cli import words
from rolling_router.cli.command import Command, Exit, RouterLost, World, add_json, in_reactor
from rolling_router.cli.rollout import add_rollout_options, opened
from rolling_router.cli.routers import Routers, add_router_options, named_routers


def _prepare_status(parser: ArgumentParser) -> None:
    add_rollout_options(parser)
    add_router_options(parser, None)
    add_json(parser)


async def _status(arguments: Namespace, world: World, reactor: Any) -> int:
    routers = Routers(named_routers(arguments, world), arguments, world, reactor)
    async with opened(arguments, world, reactor) as rollout:
        standing, broken = await rollout.control.view(), await rollout.control.interrupted()
    lines, status = words.standing_lines(standing, rollout.store), Exit.DONE
    if broken is not None:
        lines += words.interrupted_lines(broken)
    values: list[dict[str, Any]] = []
    for url in routers.urls:
        try:
            told = await routers.ask(url)
        except RouterLost as lost:
            status = Exit.ROUTER_LOST
            world.say(str(lost))
            values.append({"url": url, "in_force": None, "trouble": str(lost), "status": None})
            continue
        is_in_force = told["snapshot"].get("revision") == standing.revision
        values.append({"url": url, "in_force": is_in_force, "trouble": None, "status": told})
        lines += words.router_lines(url, told, standing.revision)
    if arguments.json:
        world.show_json(
            {
                **words.standing_value(standing, rollout.store),
                "interrupted": None if broken is None else words.history_value(broken),
                "routers": values,
            }
        )
    else:
        world.show("\n".join(lines))
    return status


def _prepare_versions(parser: ArgumentParser) -> None:
    add_rollout_options(parser)
    add_json(parser)


async def _versions(arguments: Namespace, world: World, reactor: Any) -> int:
    async with opened(arguments, world, reactor) as rollout:
        choices, standing = await rollout.control.versions(), await rollout.control.view()
    if arguments.json:
        world.show_json({"versions": words.version_values(choices, standing)})
    elif choices:
        world.show("\n".join(words.version_lines(choices, standing)))
    else:
        world.say("no version has an instance yet")
    return Exit.DONE


def _prepare_history(parser: ArgumentParser) -> None:
    add_rollout_options(parser)
    parser.add_argument("--last", metavar="N", type=int, default=20, help="how many changes [default: 20]")
    add_json(parser)


async def _history(arguments: Namespace, world: World, reactor: Any) -> int:
    async with opened(arguments, world, reactor) as rollout:
        entries = await rollout.control.last(arguments.last)
        has_history = rollout.control.has_history
    if arguments.json:
        world.show_json({"has_history": has_history, "history": [words.history_value(entry) for entry in entries]})
    elif entries:
        world.show("\n".join(words.history_lines(entries)))
    else:
        world.say("no change is written down yet" if has_history else "no history is kept; name a --state-dir")
    return Exit.DONE


COMMANDS = (
    Command("status", "show the settings, the instances, and what is wrong", _prepare_status, in_reactor(_status)),
    Command("versions", "list the versions that can be chosen", _prepare_versions, in_reactor(_versions)),
    Command("history", "list who changed what, when and why, newest first", _prepare_history, in_reactor(_history)),
)
