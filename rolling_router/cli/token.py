"""cli.token: the tokens by which people and programs sign in at the settings port. Reads and writes one file."""

from __future__ import annotations

import time
from argparse import ArgumentParser, Namespace
from datetime import UTC, datetime

from rolling_router.admin.identity import Rights
from rolling_router.admin.token_file import Token, TokenFile, make_token
from rolling_router.cli.command import Command, Exit, World, add_json
from rolling_router.cli.words import plain
from rolling_router.errors import SettingError
from rolling_router.options import OPTIONS

_STATE_DIR = next(option for option in OPTIONS if option.name == "state-dir")


def _prepare(parser: ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    create = actions.add_parser("create", help="make a token, and print it this once")
    create.add_argument("--role", choices=[one.value for one in Rights], required=True, help="what it allows")
    revoke = actions.add_parser("revoke", help="let a token count no more; its sessions end")
    for one in (create, revoke):
        one.add_argument("--name", metavar="NAME", required=True, help="whose it is; shown in the history")
    for one in (create, actions.add_parser("list", help="list the tokens by name"), revoke):
        help = f"directory of the tokens, the router's own [{_STATE_DIR.variable}]"
        one.add_argument("--state-dir", metavar="PATH", help=help)
        add_json(one)


def _run(arguments: Namespace, world: World) -> int:
    try:
        directory = arguments.state_dir or _STATE_DIR.text(world.environ)
        if not directory:
            raise SettingError(f"--state-dir is missing; give the router's, or set {_STATE_DIR.variable}")
        _ACTIONS[arguments.action](TokenFile(directory), arguments, world)
    except SettingError as wrong:
        world.say(str(wrong))
        if arguments.json:
            world.show_json({"error": {"code": "refused", "text": str(wrong)}})
        return Exit.REFUSED
    return Exit.DONE


def _create(file: TokenFile, arguments: Namespace, world: World) -> None:
    secret, token = make_token(arguments.name, Rights(arguments.role), time.time())
    file.add(token)
    if arguments.json:
        world.show_json({**_value(token), "token": secret})
    else:
        world.say(f"{token.name} may now sign in as {token.rights.value} by this token; it is not shown again:")
        world.show(secret)


def _list(file: TokenFile, arguments: Namespace, world: World) -> None:
    tokens = file.read()
    if arguments.json:
        world.show_json({"tokens": [_value(one) for one in tokens]})
    elif tokens:
        width = max(len(one.name) for one in tokens)
        world.show("\n".join(f"{plain(one.name):{width}}  {one.rights.value:8}  {_made_at(one)}" for one in tokens))
    else:
        world.say("there is no token yet")


def _revoke(file: TokenFile, arguments: Namespace, world: World) -> None:
    file.remove(arguments.name)
    if arguments.json:
        world.show_json({"name": arguments.name, "revoked": True})
    else:
        world.say(f"{arguments.name}'s token counts no more")


_ACTIONS = {"create": _create, "list": _list, "revoke": _revoke}


def _value(token: Token) -> dict[str, str]:
    return {"name": token.name, "role": token.rights.value, "made_at": _made_at(token)}


def _made_at(token: Token) -> str:
    return datetime.fromtimestamp(token.made_at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


COMMANDS = (Command("token", "make, list and revoke tokens for the settings port", _prepare, _run),)
