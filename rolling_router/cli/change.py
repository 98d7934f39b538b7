"""cli.change: the commands that change settings. They make an operation, hand it to `Control`, and show the outcome."""

from __future__ import annotations

import getpass
import os
import re
from argparse import ArgumentParser, Namespace
from collections.abc import Callable
from typing import Any

from rolling_router.cli import words
from rolling_router.cli.command import Command, Exit, World, add_json, in_reactor
from rolling_router.cli.rollout import Rollout, add_rollout_options, opened
from rolling_router.cli.routers import DEFAULT_ROUTER, Routers, add_router_options, named_routers
from rolling_router.errors import SettingError, StoreLost
from rolling_router.options import ENVIRONMENT_PREFIX
from rolling_router.rollout.change import (
    Operation,
    Promote,
    RollBack,
    SetBlend,
    SetCandidate,
    SetStable,
    SetStickiness,
    SetUp,
    read_stickiness,
)
from rolling_router.rollout.control import Outcome, Stale
from rolling_router.rollout.keys import NULL
from rolling_router.rollout.shown import setting_values

WHO_VARIABLE = ENVIRONMENT_PREFIX + "WHO"
_NONE_WORDS = ("none", NULL)
_WHOLE = re.compile(r"-?[0-9]{1,18}\Z")

Make = Callable[[Namespace], Operation | None]


def _add_change_options(parser: ArgumentParser) -> None:
    add_rollout_options(parser)
    parser.add_argument("--reason", metavar="TEXT", default="", help="why, for the history")
    parser.add_argument("--who", metavar="NAME", help=f"who, for the history [{WHO_VARIABLE}] [default: the user]")
    parser.add_argument("--force", action="store_true", help="do what is refused only to protect from mishaps")
    parser.add_argument("--if-revision", metavar="REV", help="only if the settings are still at this revision")
    parser.add_argument("--wait", action="store_true", help="wait until every --router has the change in force")
    parser.add_argument("--wait-seconds", metavar="N", type=float, default=30.0, help="at most so long [default: 30]")
    add_router_options(parser, DEFAULT_ROUTER)
    add_json(parser)


def _command(name: str, text: str, prepare: Callable[[ArgumentParser], None], make: Make) -> Command:
    """:param make: the operation that the arguments ask for; ``None`` is an undo."""

    def prepare_all(parser: ArgumentParser) -> None:
        prepare(parser)
        _add_change_options(parser)

    async def run(arguments: Namespace, world: World, reactor: Any) -> int:
        return await _change(make(arguments), arguments, world, reactor)

    return Command(name, text, prepare_all, in_reactor(run))


async def _change(operation: Operation | None, arguments: Namespace, world: World, reactor: Any) -> int:
    urls = named_routers(arguments, world, DEFAULT_ROUTER) if arguments.wait else []
    routers = Routers(urls, arguments, world, reactor)
    if not 0 < arguments.wait_seconds <= 86400:
        raise SettingError(f"--wait-seconds is {arguments.wait_seconds:g}; it must be a number up to 86400")
    how = {
        "who": arguments.who or world.environ.get(WHO_VARIABLE) or user(),
        "why": arguments.reason,
        "based_on": arguments.if_revision,
        "force": arguments.force,
    }
    async with opened(arguments, world, reactor) as rollout:
        control = rollout.control
        await routers.check(control.app)
        outcome = await (control.undo(**how) if operation is None else control.change(operation, **how))
        if not arguments.json:
            _show(outcome, world)
        if outcome.trouble is not None:
            world.say(outcome.trouble)
        if arguments.wait:
            await wait_in_force(rollout, outcome, routers, arguments.wait_seconds)
            if not arguments.json:
                world.show("in force")
    if arguments.json:
        world.show_json(
            {
                "changed": outcome.is_changed,
                "revision": outcome.standing.revision,
                "before": setting_values(outcome.before.texts),
                "settings": setting_values(outcome.standing.texts),
                "trouble": outcome.trouble,
                "in_force": True if arguments.wait else None,
            }
        )
    return Exit.DONE


async def wait_in_force(rollout: Rollout, outcome: Outcome, routers: Routers, seconds: float) -> None:
    """
    Wait until all routers have it in force.

    :raises TimedOut: they have not, after `seconds`.    :raises Stale: somebody has changed something else meanwhile.
    """
    revision = outcome.standing.revision

    async def check() -> None:
        try:
            now = await rollout.control.view()
        except StoreLost:
            return  # the routers may know it already
        if now.revision != revision:
            raise Stale("the change was made, and then somebody else made another one; look again", now)

    await routers.until_in_force(rollout.control.app, revision, seconds, check)


def _show(outcome: Outcome, world: World) -> None:
    lines = words.changes(outcome.before.texts, outcome.standing.texts)
    if not outcome.is_changed:
        lines = ["nothing to change"]
    world.show("\n".join([*lines, f"revision {outcome.standing.revision}"]))


def user() -> str:
    """Who runs this command."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return f"user {os.geteuid()}"


# The commands


def _nothing(parser: ArgumentParser) -> None:
    """It takes the options of all changes alone."""


def _version(parser: ArgumentParser) -> None:
    parser.add_argument("version", metavar="VERSION", help="its name, or none")
    _port(parser)


def _port(parser: ArgumentParser) -> None:
    text = "the port inside its containers, where it is not known"
    parser.add_argument("--port", metavar="PORT", type=int, help=text)


def _setup(parser: ArgumentParser) -> None:
    parser.add_argument("--stable", metavar="VERSION", help="a version's name, or none")
    parser.add_argument("--candidate", metavar="VERSION", help="a version's name, or none")
    parser.add_argument("--blend", metavar="N", help="percent for the candidate")
    parser.add_argument("--sticky", metavar="NAME", help="on, off, or a strategy's name")
    _port(parser)


def _blend(parser: ArgumentParser) -> None:
    parser.add_argument("blend", metavar="N", help="0 to 100")


def _sticky(parser: ArgumentParser) -> None:
    parser.add_argument("sticky", metavar="NAME", help="on, off, or a strategy's name; see: rolling-router plugins")


def _promote(parser: ArgumentParser) -> None:
    parser.add_argument("version", metavar="VERSION", nargs="?", help="the candidate that is meant; another is refused")


def _set_up(arguments: Namespace) -> Operation:
    return SetUp(
        _written(arguments.stable),
        _written(arguments.candidate),
        None if arguments.blend is None else _percent(arguments.blend),
        None if arguments.sticky is None else read_stickiness(arguments.sticky),
        arguments.port,
    )


def _written(version: str | None) -> str | None:
    return NULL if version in _NONE_WORDS else version


def _chosen(version: str) -> str | None:
    return None if version in _NONE_WORDS else version


def _percent(text: str) -> Any:
    """A number if it is one; what else was typed is refused where numbers are, and named."""
    return int(text) if _WHOLE.match(text) else text


COMMANDS = (
    _command("setup", "make the app's keys; what is there and not named stays", _setup, _set_up),
    _command(
        "stable",
        "make a version stable",
        _version,
        lambda told: SetStable(_chosen(told.version), told.port),
    ),
    _command(
        "candidate",
        "make a version the candidate; it begins with blend 0",
        _version,
        lambda told: SetCandidate(_chosen(told.version), told.port),
    ),
    _command("blend", "set how many percent go to the candidate", _blend, lambda told: SetBlend(_percent(told.blend))),
    _command(
        "sticky", "set how clients are made to stay", _sticky, lambda told: SetStickiness(read_stickiness(told.sticky))
    ),
    _command("promote", "make the candidate stable", _promote, lambda told: Promote(told.version)),
    _command("rollback", "take all traffic off the candidate and let it go", _nothing, lambda told: RollBack()),
    _command("undo", "put back what the last change replaced", _nothing, lambda told: None),
)
