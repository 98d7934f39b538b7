"""cli.deploy: `deploy`, the step of a CI run that makes a new version the candidate. The steps are in `delivery`."""

from __future__ import annotations

import random
from argparse import ArgumentParser, Namespace
from typing import Any

import attrs

from rolling_router.cli.change import WHO_VARIABLE, user, wait_in_force
from rolling_router.cli.command import Command, Exit, TimedOut, World, add_json, in_reactor
from rolling_router.cli.deploy_options import MANAGER, add_deploy_options, checked_ways, read_build, read_started
from rolling_router.cli.rollout import OCCS, Rollout, add_rollout_options, named_store, opened
from rolling_router.cli.routers import DEFAULT_ROUTER, Routers, add_router_options, named_routers
from rolling_router.delivery.deploy import Casting, Deploy, Done
from rolling_router.delivery.keys import Keys
from rolling_router.delivery.patience import AWAY_SECONDS, Patience
from rolling_router.delivery.registering import Registering
from rolling_router.delivery.running import NotReady, Running
from rolling_router.delivery.telling import Teller
from rolling_router.delivery.turn import Turn
from rolling_router.errors import SettingError
from rolling_router.health import Check
from rolling_router.occs.calls import TokenRefused
from rolling_router.occs.client import OccsClient, address
from rolling_router.occs.token import FILE_VARIABLE, VARIABLE, Token
from rolling_router.probes import Asker, NotAsked
from rolling_router.rollout.control import Outcome
from rolling_router.rollout.model import Instance
from rolling_router.rollout.shown import setting_values

TOKEN_VARIABLE = "API_TOKEN"
"""The tutorial's name for it. Where the other commands' are set, those are taken."""


def _prepare(parser: ArgumentParser) -> None:
    add_rollout_options(parser)
    add_deploy_options(parser)
    parser.add_argument("--reason", metavar="TEXT", default="", help="why, for the history")
    parser.add_argument("--who", metavar="NAME", help=f"who, for the history [{WHO_VARIABLE}] [default: the user]")
    parser.add_argument("--wait", action="store_true", help="wait until every --router has the change in force")
    parser.add_argument("--wait-seconds", metavar="N", type=float, default=30.0, help="at most so long [default: 30]")
    add_router_options(parser, DEFAULT_ROUTER)
    add_json(parser)


async def _run(arguments: Namespace, world: World, reactor: Any) -> int:
    if not 0 < arguments.wait_seconds <= 86400:
        raise SettingError(f"--wait-seconds is {arguments.wait_seconds:g}; it must be a number up to 86400")
    urls = named_routers(arguments, world, DEFAULT_ROUTER) if arguments.wait else []
    routers = Routers(urls, arguments, world, reactor)
    teller = Teller(reactor, world.say if arguments.json else world.show_now, world.say)
    way = _of_instances if arguments.instance else _on_platform
    try:
        done = await way(arguments, world, reactor, teller, routers)
    except NotReady as late:
        raise TimedOut(str(late)) from None
    if arguments.json:
        world.show_json(_value(done, teller, arguments.wait))
    return Exit.DONE


async def _on_platform(arguments: Namespace, world: World, reactor: Any, teller: Teller, routers: Routers) -> Done:
    """Where the store's platform runs deployments."""
    manager = _named_manager(arguments, world)
    build = read_build(arguments, world.environ, bool(manager))
    manager = _manager(manager)
    has_own = bool(world.environ.get(VARIABLE) or world.environ.get(FILE_VARIABLE))
    if not has_own:
        Token.from_environ(world.environ, TOKEN_VARIABLE)  # what is wrong with it is told by that name
        world = attrs.evolve(world, environ={**world.environ, VARIABLE: world.environ[TOKEN_VARIABLE]})
    arguments.store, arguments.app = OCCS + manager, build.app
    ways = checked_ways(arguments, *_who(arguments, world, f"deploy of {build.full_image}"))
    try:
        async with opened(arguments, world, reactor) as rollout:
            await routers.check(rollout.control.app)
            token = Token.from_environ(world.environ)
            client = OccsClient.of_manager(reactor, manager, rollout.environ, token)
            try:
                return await _deploy(client, rollout, teller, reactor).run(
                    build, ways, _follow(arguments, rollout, routers, teller)
                )
            finally:
                await client.close()
    except TokenRefused as refused:
        named = str(refused) if has_own else str(refused).replace(VARIABLE, TOKEN_VARIABLE)
        raise TokenRefused(named) from None


async def _of_instances(arguments: Namespace, world: World, reactor: Any, teller: Teller, routers: Routers) -> Done:
    """Where nothing starts instances, and those that run are registered."""
    started = read_started(arguments, world.environ)
    ways = checked_ways(arguments, *_who(arguments, world, f"deploy of {started.version}"))
    check = Check(path=started.health_path)
    asker = Asker(reactor)

    async def ask(instance: Instance) -> str | None:
        try:
            return await asker(instance, check) if check.is_on else None
        except NotAsked:
            return "it could not be asked, for want of descriptors here"

    async with opened(arguments, world, reactor) as rollout:
        await routers.check(rollout.control.app)
        # A file that is not there will hardly come by itself.
        patience = Patience(reactor, teller, 5.0 if rollout.keys.is_atomic else AWAY_SECONDS)
        return await Registering(_casting(rollout, patience, teller), ask).run(
            started.version,
            started.port,
            started.instances,
            ways,
            arguments.remove_old,
            _follow(arguments, rollout, routers, teller),
        )


def _casting(rollout: Rollout, patience: Patience, teller: Teller) -> Casting:
    keys = Keys(rollout.control.app, rollout.keys, patience)
    return Casting(rollout.control, keys, patience, teller, Turn(keys, patience, random.random))


def _deploy(client: OccsClient, rollout: Rollout, teller: Teller, reactor: Any) -> Deploy:
    patience = Patience(reactor, teller)
    casting = _casting(rollout, patience, teller)
    return Deploy(casting, Running(client.deployments, casting.keys, patience, teller))


def _follow(arguments: Namespace, rollout: Rollout, routers: Routers, teller: Teller) -> Any:
    async def follow(outcome: Outcome) -> None:
        if outcome.trouble is not None:
            teller.warn(outcome.trouble)
        if arguments.wait:
            await wait_in_force(rollout, outcome, routers, arguments.wait_seconds)
            teller.step("in force")

    return follow


def _named_manager(arguments: Namespace, world: World) -> str:
    """The command line before the environment, and in each of these the manager before the store."""
    from_store = (named_store(arguments, world) or "").strip()
    from_store = from_store.removeprefix(OCCS) if from_store.startswith(OCCS + "https:") else ""
    if arguments.store and getattr(arguments, MANAGER.dest) is None:
        return from_store
    return MANAGER.text(arguments, world.environ).strip() or from_store


def _manager(text: str) -> str:
    """:raises SettingError: it is no address to which a token may be sent."""
    where = address(text if "://" in text else f"https://{text}")
    if where.scheme != "https":
        raise SettingError(f"{MANAGER.named()} is {text!r}; it must be https://HOST, for the token is sent there")
    return where.to_text()


def _who(arguments: Namespace, world: World, why: str) -> tuple[str, str]:
    return arguments.who or world.environ.get(WHO_VARIABLE) or user(), arguments.reason or why


def _value(done: Done, teller: Teller, is_in_force: bool) -> dict[str, Any]:
    outcome = done.outcome
    return {
        "version": done.version,
        "changed": outcome.is_changed,
        "removed": list(done.removed),
        "revision": outcome.standing.revision,
        "before": setting_values(outcome.before.texts),
        "settings": setting_values(outcome.standing.texts),
        "steps": [{"seconds": seconds, "text": text} for seconds, text in teller.steps],
        "trouble": outcome.trouble,
        "in_force": True if is_in_force else None,
    }


COMMANDS = (
    Command("deploy", "deploy a new version as the candidate, in place of the one before", _prepare, in_reactor(_run)),
)
