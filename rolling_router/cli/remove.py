"""cli.remove: `remove`, which takes registered instances away, where only the operator starts any."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from typing import Any

from rolling_router.cli.command import Command, Exit, World, add_json, in_reactor
from rolling_router.cli.deploy_options import read_instances
from rolling_router.cli.rollout import OCCS, add_rollout_options, named_store, opened
from rolling_router.cli.words import plain
from rolling_router.delivery.keys import Keys
from rolling_router.delivery.patience import Patience
from rolling_router.delivery.removing import unregister
from rolling_router.delivery.telling import Teller
from rolling_router.errors import SettingError
from rolling_router.rollout.naming import is_name


def _prepare(parser: ArgumentParser) -> None:
    parser.epilog = (
        "The instances run on: they are yours to stop, when rolling-router drain --wait says that nothing is in flight "
        "there. The last instance of a version that is stable or the candidate is not taken away."
    )
    parser.add_argument("version", metavar="VERSION", help="its name")
    parser.add_argument(
        "--instance",
        metavar="HOST:PORT",
        action="append",
        default=[],
        help="take this instance away, and no other; may be repeated",
    )
    add_rollout_options(parser)
    add_json(parser)


async def _remove(arguments: Namespace, world: World, reactor: Any) -> int:
    version = arguments.version
    if not is_name(version):
        raise SettingError(f"the version is {version[:100]!r}; it must be a version's name without '/', such as 1.0.1")
    instances = read_instances(arguments.instance)
    if (named_store(arguments, world) or "").startswith(OCCS):
        raise SettingError(
            "the platform of an occs store registers instances by itself, and takes them away with their deployment: "
            f"stop and delete {version} in its console"
        )
    async with opened(arguments, world, reactor) as rollout:
        keys = Keys(rollout.control.app, rollout.keys, Patience(reactor, Teller(reactor, world.say, world.say), 5.0))
        removed = await unregister(keys, version, instances)
        if not instances and version in await keys.notes():
            await keys.forget(version)  # else the next deploy would remove what has this name by then
    if arguments.json:
        world.show_json({"version": version, "changed": bool(removed), "removed": list(removed)})
    elif removed:
        world.show(f"removed {plain(', '.join(removed))} of {plain(version)}")
    else:
        world.show(f"nothing to remove: no instance of {plain(version)} is registered")
    return Exit.DONE


COMMANDS = (Command("remove", "take registered instances of a version away", _prepare, in_reactor(_remove)),)
