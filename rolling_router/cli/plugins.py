"""cli.plugins: what can be named in ``--store`` and ``--strategy``."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

from rolling_router.cli.command import Command, Exit, World


def _prepare(parser: ArgumentParser) -> None:
    """It takes no options."""


def _run(arguments: Namespace, world: World) -> int:
    from rolling_router.registry import store_plugins, strategy_plugins

    lines: list[str] = []
    for title, plugins in (("Stores", store_plugins()), ("Strategies", strategy_plugins())):
        lines += [f"{title}:", *(f"  {name:12} {plugin.description}" for name, plugin in sorted(plugins.items()))]
    world.show("\n".join(lines))
    return Exit.DONE


COMMANDS = (Command("plugins", "list the stores and strategies that can be used", _prepare, _run),)
