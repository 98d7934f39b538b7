"""cli: the `rolling-router` command."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

import rolling_router


def main(arguments: Sequence[str] | None = None) -> int:
    """:returns: the exit status."""
    parser = argparse.ArgumentParser(
        prog="rolling-router",
        description="Tells about this installation. The router itself is started with: twistd -n rolling-router",
    )
    parser.add_argument("--version", action="version", version=f"rolling-router {rolling_router.__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    commands.add_parser("plugins", help="list the stores and strategies that can be used")
    parser.parse_args(arguments)
    return _plugins()


def _plugins() -> int:
    from rolling_router.registry import store_plugins, strategy_plugins

    for title, plugins in (("Stores", store_plugins()), ("Strategies", strategy_plugins())):
        print(f"{title}:")
        for name, plugin in sorted(plugins.items()):
            print(f"  {name:12} {plugin.description}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
