"""
traffic.worker_log: a worker's own log, told to its parent line by line, and logged there under the worker's level.

A worker is started with `observer` as twistd's ``--logger``; `crew` calls `repeat` with what comes. Lines of the access
log never come this way.
"""

from __future__ import annotations

import json
import sys

from twisted.logger import ILogObserver, LogEvent, Logger, LogLevel, eventAsText
from zope.interface import implementer

OBSERVER = f"{__name__}.observer"
"""For twistd's ``--logger``."""

_MARK = b'{"level": '


@implementer(ILogObserver)
class _Told:
    """Each event as a line of JSON on the standard error that the process was started with."""

    def __call__(self, event: LogEvent) -> None:
        level = event.get("log_level") or LogLevel.info
        text = eventAsText(event, includeTimestamp=False, includeSystem=False)
        if not text:
            return
        fields = {"level": level.name, "namespace": event.get("log_namespace") or "-", "text": text}
        if event.get("log_system") is not None:  # Twisted's older lines, which have that in the namespace's place
            fields["system"] = str(event["log_system"])
        assert sys.__stderr__ is not None
        sys.__stderr__.write(json.dumps(fields) + "\n")
        sys.__stderr__.flush()


def observer() -> ILogObserver:
    return _Told()


def repeat(number: int, line: bytes) -> None:
    """
    Log a line of a worker's standard error. The time is now: the same, but for what a pipe takes.

    :param number: the worker's.    :param line: from `observer`; or of somebody who knows no log, and then as it is.
    """
    level, namespace, text = LogLevel.info, __name__, line.decode("utf-8", "replace")
    system: dict[str, str] = {}
    if line.startswith(_MARK):
        try:
            fields = json.loads(line)
            level, namespace = LogLevel.levelWithName(fields["level"]), fields["namespace"]
            text = fields["text"]
            system = {"log_system": fields["system"]} if "system" in fields else {}
        except ValueError:
            pass  # two wrote at once; better as it came than not at all
    Logger(namespace).emit(level, "worker {number}: {text}", number=number, text=text, **system)
