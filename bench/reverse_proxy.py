"""bench.reverse_proxy: the reverse proxy that comes with twisted.web, as a process: ``PORT ORIGIN_PORT``."""

from __future__ import annotations

import sys

from twisted.internet import reactor
from twisted.logger import globalLogBeginner
from twisted.web.proxy import ReverseProxyResource
from twisted.web.server import Site

from bench.quiet import errors_only


def main(port: int, origin: int) -> None:
    globalLogBeginner.beginLoggingTo([errors_only()], redirectStandardIO=False)
    site = Site(ReverseProxyResource("127.0.0.1", origin, b""))
    site.noisy = False
    reactor.listenTCP(port, site, backlog=1024, interface="127.0.0.1")
    reactor.run()


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
