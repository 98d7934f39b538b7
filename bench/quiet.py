"""bench.quiet: the log of a measured Twisted process, for ``twistd --logger``: errors only, to standard error."""

from __future__ import annotations

import sys

from twisted.logger import FilteringLogObserver, ILogObserver, LogLevel, LogLevelFilterPredicate, textFileLogObserver


def errors_only() -> ILogObserver:
    return FilteringLogObserver(textFileLogObserver(sys.stderr), [LogLevelFilterPredicate(LogLevel.error)])
