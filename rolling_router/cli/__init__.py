"""
cli: the `rolling-router` command. Here its commands come together; each is a module beside this one.

No rule of the rollout lives in this room: it makes operations for `rollout.control`, and shows what came of them.
"""

from __future__ import annotations

import argparse
import io
import os
import sys
from collections.abc import Sequence

import rolling_router
from rolling_router.cli import change, deploy, drain, look, plugins, remove, token
from rolling_router.cli.command import EXIT_STATUSES, Command, Exit, World

COMMANDS: tuple[Command, ...] = (
    *look.COMMANDS,
    *change.COMMANDS,
    *deploy.COMMANDS,
    *remove.COMMANDS,
    *drain.COMMANDS,
    *token.COMMANDS,
    *plugins.COMMANDS,
)


def make_parser() -> argparse.ArgumentParser:
    statuses = "\n".join(f"  {one.value}  {text}" for one, text in EXIT_STATUSES.items())
    parser = argparse.ArgumentParser(
        prog="rolling-router",
        description="Looks at a rollout and steers it, by its store. Each command has a --help of its own.\n"
        "The router itself is started with: twistd -n rolling-router",
        epilog=f"exit status:\n{statuses}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    _add_version(parser)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for command in COMMANDS:
        under = commands.add_parser(
            command.name, help=command.help, description=command.describe(), conflict_handler="resolve"
        )
        _add_version(under)
        command.prepare(under)
        under.set_defaults(run=command.run)
    return parser


def _add_version(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--version", action="version", version=f"rolling-router {rolling_router.__version__}")


def _check_order(parser: argparse.ArgumentParser, words: Sequence[str]) -> None:
    """argparse would take the value of an option that comes too early for the command."""
    first = words[0].partition("=")[0] if words else ""
    if first.startswith("--") and not any(own.startswith(first) for own in ("--help", "--version")):
        parser.error(f"{first} comes too early; options are written behind the command: rolling-router COMMAND {first}")


def main(arguments: Sequence[str] | None = None) -> int:
    """:returns: the exit status."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a version's name may have what this terminal has not
    parser, words = make_parser(), sys.argv[1:] if arguments is None else arguments
    _check_order(parser, words)
    parsed = parser.parse_args(words)
    world = World(os.environ, sys.stdout, sys.stderr)
    status: int = parsed.run(parsed, world)
    for why in tuple(world.unshown):
        world.say(f"what there is to show could not be written: {why}")
        status = status or Exit.UNSHOWN
    return status
