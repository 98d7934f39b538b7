"""cli.command: what the commands of `rolling-router` share: form, exit statuses, and how they get to run."""

from __future__ import annotations

import enum
import json
import os
import signal
from argparse import ArgumentParser, Namespace
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TextIO

import attrs

from rolling_router.cli.words import plain
from rolling_router.errors import Conflict, RouterError, SettingError, StoreLost


class Exit(enum.IntEnum):
    """How a command ended."""

    DONE = 0
    REFUSED = 1
    USAGE = 2
    STORE_LOST = 3
    CONFLICT = 4
    TIMED_OUT = 5
    ROUTER_LOST = 6
    UNSHOWN = 7
    INTERRUPTED = 130


EXIT_STATUSES: Mapping[Exit, str] = {
    Exit.DONE: "done, or there was nothing to do",
    Exit.REFUSED: "refused, or a value that cannot be used; nothing was changed",
    Exit.USAGE: "the command line cannot be understood",
    Exit.STORE_LOST: "the store gave no answer; the text says whether the change happened, if that is known",
    Exit.CONFLICT: "somebody else changed the settings meanwhile; look again, then decide",
    Exit.TIMED_OUT: "what was waited for did not come in time: with --wait, the change is in the store; "
    "of a deployment that is not ready, nothing is",
    Exit.ROUTER_LOST: "a router gave no usable answer (status --router, drain)",
    Exit.UNSHOWN: "done, but what there is to show could not be written",
    Exit.INTERRUPTED: "ended by Ctrl-C",
}
"""All exit statuses, and what they mean."""


class TimedOut(RouterError):
    """What was waited for did not come in time."""


class RouterLost(RouterError):
    """A router gave no usable answer."""


# The first that fits.
_ENDS: tuple[tuple[type[RouterError], Exit, str], ...] = (
    (SettingError, Exit.REFUSED, "refused"),
    (Conflict, Exit.CONFLICT, "conflict"),
    (StoreLost, Exit.STORE_LOST, "store-lost"),
    (TimedOut, Exit.TIMED_OUT, "timed-out"),
    (RouterLost, Exit.ROUTER_LOST, "router-lost"),
    (RouterError, Exit.REFUSED, "refused"),
)


@attrs.frozen
class World:
    """
    What a command sees of the process.

    :ivar unshown: why something could not be written where it was to be shown. Never an exception: what was done is
        done, and the exit status is to say so. Empty where it is only that nobody reads on.
    """

    environ: Mapping[str, str]
    out: TextIO
    err: TextIO
    unshown: list[str] = attrs.field(factory=list, init=False)

    def say(self, text: str) -> None:
        """A line for people, beside the result."""
        self._print(f"rolling-router: {plain(text)}", self.err)

    def show(self, lines: str) -> None:
        """The result, for people: lines that are fit for a terminal."""
        self._print(lines, self.out)

    def show_now(self, line: str) -> None:
        """A line of the result that tells of something under way; seen at once, also by a program that logs it."""
        self._print(plain(line), self.out)

    def show_json(self, value: Any) -> None:
        """The result, for programs."""
        self._print(json.dumps(value, indent=2), self.out)

    def _print(self, text: str, file: TextIO) -> None:
        try:
            print(text, file=file, flush=True)
        except OSError as wrong:
            # What is left in its buffer would be tried again when the process ends, and fail again.
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, file.fileno())
            os.close(nowhere)
            if not isinstance(wrong, BrokenPipeError):  # a pager or a filter that has seen enough
                self.unshown.append(wrong.strerror or str(wrong))


Run = Callable[[Namespace, World], int]
Work = Callable[[Namespace, World, Any], Awaitable[int]]


@attrs.frozen
class Command:
    """
    One command.

    :ivar prepare: adds its arguments to its parser.    :ivar run: does it, and gives the exit status.
    """

    name: str
    help: str
    prepare: Callable[[ArgumentParser], None]
    run: Run

    def describe(self) -> str:
        return self.help[0].upper() + self.help[1:] + "."


def add_json(parser: ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print one JSON object, for programs")


def in_reactor(work: Work) -> Run:
    """
    Make a command of a coroutine function that is handed the reactor, too, and ends in an exit status.

    What it raises of this project's errors becomes one line, or with ``--json`` an object, and the exit status for it.
    """

    def run(arguments: Namespace, world: World) -> int:
        from twisted.internet import reactor
        from twisted.internet.defer import CancelledError, Deferred
        from twisted.internet.task import react

        _log_to(world)
        ended: list[int] = []

        async def to_the_end() -> None:
            try:
                ended.append(await work(arguments, world, reactor))
            except RouterError as wrong:
                ended.append(_told(wrong, arguments, world))
            except CancelledError:
                pass  # by a signal, of which the exit status tells

        def begin(_: Any) -> Deferred[None]:
            over: Deferred[None] = Deferred()
            working = Deferred.fromCoroutine(to_the_end())

            def leave() -> Deferred[None]:
                for sign in (signal.SIGINT, signal.SIGTERM):  # once is enough; Twisted would show a traceback
                    signal.signal(sign, signal.SIG_IGN)
                working.cancel()  # a write that is under way goes on to its end
                return over

            reactor.addSystemEventTrigger("before", "shutdown", leave)

            def end(result: Any) -> Any:
                over.callback(None)
                return result

            return working.addBoth(end)

        try:
            react(begin, _reactor=reactor)
        except SystemExit as over:
            if not ended:
                # Nothing but a signal, or a mistake of ours that `react` has logged, ends it before its end.
                return Exit.INTERRUPTED if over.code in (None, 0) else 1
        return ended[0]

    return run


def _told(wrong: RouterError, arguments: Namespace, world: World) -> int:
    status, word = next((status, word) for kind, status, word in _ENDS if isinstance(wrong, kind))
    if getattr(arguments, "json", False):
        standing = getattr(wrong, "standing", None)
        now = {} if standing is None else {"revision": standing.revision}
        world.show_json({"error": {"code": word, "text": str(wrong), **now}})
    world.say(str(wrong))
    return status


def _log_to(world: World) -> None:
    """What the rooms below log as a warning is for the person at the terminal."""
    from twisted.logger import ILogObserver, LogEvent, LogLevel, formatEvent, globalLogBeginner
    from zope.interface import implementer

    @implementer(ILogObserver)
    def observe(event: LogEvent) -> None:
        if event["log_level"] >= LogLevel.warn:
            world.say(formatEvent(event))
            if "log_failure" in event:
                print(event["log_failure"].getTraceback(), file=world.err)

    globalLogBeginner.beginLoggingTo([observe], redirectStandardIO=False, discardBuffer=True)
