"""hello_world: the command, ``python -m examples.hello_world --port 3000 --version 1.0.0 --colour yellow``."""

from __future__ import annotations

import argparse
import sys

from twisted.internet.error import CannotListenError
from twisted.logger import (
    FilteringLogObserver,
    LogLevel,
    LogLevelFilterPredicate,
    globalLogBeginner,
    textFileLogObserver,
)

from examples.hello_world.app import make_site


def main(argv: list[str] | None = None) -> None:
    """Serve until a signal comes."""
    from twisted.internet import reactor

    options = _parser().parse_args(argv)
    _log_warnings_only()
    site = make_site(reactor, options.version, options.colour)
    try:
        port = reactor.listenTCP(options.port, site, backlog=1024, interface=options.host)
    except CannotListenError as taken:
        sys.exit(f"cannot listen on {options.host}:{options.port}: {taken.socketError}")
    address = port.getHost()
    print(f"Hello World {options.version} answers at http://{address.host}:{address.port}/", flush=True)
    reactor.run()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m examples.hello_world",
        description="A small web application to roll out: one page that shows its version, in its colour. "
        "It also answers /healthz, /slow?seconds=2, /events?count=10, /bytes?n=1024, /echo (POST, PUT) and /ws.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("--port", type=int, default=3000, help="where to listen; 0 takes any free port")
    parser.add_argument("--host", default="127.0.0.1", metavar="ADDRESS", help="the address to listen on")
    parser.add_argument("--version", default="1.0.0", help="the version that the page shows")
    parser.add_argument("--colour", default="yellow", help="the page's background, as CSS spells it")
    return parser


def _log_warnings_only() -> None:
    # Without an observer Twisted keeps every access line in memory, for the one that may yet come.
    quiet = FilteringLogObserver(textFileLogObserver(sys.stderr), [LogLevelFilterPredicate(LogLevel.warn)])
    globalLogBeginner.beginLoggingTo([quiet], redirectStandardIO=False)


if __name__ == "__main__":
    main()
