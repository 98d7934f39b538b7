"""
health: which instances can serve. Pure: what probes and traffic tell -> until when an instance is left alone.

Called by `probes` and `proxy.dispatch`. It writes the records of `routing.fleet`, which `routing` only reads.
"""

from __future__ import annotations

import enum
import math
from collections.abc import Iterable

import attrs
from twisted.internet.error import ConnectError, TimeoutError

from rolling_router.rollout.model import HealthKeys
from rolling_router.routing.fleet import Fleet, Load, Standing
from rolling_router.routing.plan import Plan

FIRST_SECONDS = 1.0
LONGEST_SECONDS = 30.0

STRIKES = 3
"""Requests that must go wrong in a row before an instance that does take connections is ejected."""


@attrs.frozen
class Rules:
    """
    What traffic may tell of an instance; made from the options.

    :ivar statuses: answers that count as failures.    :ivar ramp_seconds: until one that is back has its whole share.
    """

    statuses: frozenset[int] = frozenset()
    ramp_seconds: float = 10.0


def no_connection(wrong: BaseException | None) -> str:
    """Why one could not be made, in few words: Twisted's own have the system's behind its number and their own."""
    if isinstance(wrong, TimeoutError):
        return "it took no connection in time"
    told = wrong.args[0] if isinstance(wrong, ConnectError) and wrong.args else ""
    return str(told or wrong).rstrip(".")


class Failing(enum.Enum):
    """How an attempt to have a request answered failed; the word is the metrics'."""

    CONNECT = "connect"  # it took no connection: nothing was sent
    RESET = "reset"  # it ended the connection before the answer was over
    ANSWER = "answer"  # what it answered is no HTTP
    TIMEOUT = "timeout"  # it did not answer, or fell silent
    STATUS = "status"  # it answered with a status that is taken for a failure


# What traffic tells


def unreachable(load: Load, now: float, rules: Rules = Rules()) -> bool:
    """
    An attempt to connect failed: eject the instance, twice as long each time in a row.

    Even the last one of its version: nothing was lost, it is tried again where nobody else can serve, and a version
    that takes no connection cannot serve, so that its share goes to the other one.

    :returns: whether that is news. Attempts that were under way together tell the same thing; were each one counted,
        a busy instance that restarts in a second would be left alone for the longest time.
    """
    if load.ejected_until > now:
        return False
    _eject(load, now, rules)
    return True


def reached(load: Load, now: float) -> bool:
    """
    It took a connection. One that was ejected for taking none is back at once.

    :returns: whether it is back by this; see `_is_back`.
    """
    is_back = False
    if load.ejections and load.failures < STRIKES:
        load.ejections = load.failures = 0
        if load.ejected_until > now:
            load.ramp_until += now - load.ramp_from
            load.ramp_from = load.ejected_until = now
        _settle(load)
        is_back = _is_back(load, now)
    return is_back


def failed(load: Load, fleet: Fleet, now: float, rules: Rules) -> bool:
    """
    A request that it had taken went wrong: eject it after some in a row, but never the last usable one of `fleet`.

    :returns: whether it was ejected by this.
    """
    load.failures += 1
    if load.failures < STRIKES or load.out_until > now:
        return False
    if not any(one.out_until <= now for one in fleet.loads if one is not load):
        return False
    _eject(load, now, rules)
    return True


def answered(load: Load, now: float) -> bool:
    """
    It answered well. Called only where `failures` is not 0: where there is something to forgive.

    :returns: whether it is back by this; see `_is_back`.
    """
    is_back = _is_back(load, now)
    if now >= load.ramp_until:
        load.failures = load.ejections = 0
    else:
        load.failures = 1
    return is_back


def _is_back(load: Load, now: float) -> bool:
    """Whether this is the first good sign after its ejection, whose end is a moment at which nobody looks."""
    if not load.is_missed or load.out_until > now:
        return False
    load.is_missed = False
    return True


def _eject(load: Load, now: float, rules: Rules) -> None:
    load.ejections += 1
    load.is_missed = True
    load.failures = max(load.failures, 1)
    seconds = min(LONGEST_SECONDS, FIRST_SECONDS * 2.0 ** min(load.ejections - 1, 10))
    load.ejected_until = load.ramp_from = now + seconds
    load.ramp_until = load.ramp_from + rules.ramp_seconds
    load.credit = 0.0
    _settle(load)


def _settle(load: Load) -> None:
    load.out_until = load.ejected_until if load.standing is Standing.TRUSTED else math.inf


# What probes tell


@attrs.frozen
class Check:
    """
    How instances are asked.

    :ivar path: ``/...`` for a GET, ``tcp`` for a connection, ``off`` for not at all.
    :ivar interval_seconds: between two questions to one instance.    :ivar timeout_seconds: for its answer.
    :ivar rise: passes in a row that bring it back.    :ivar fall: failures in a row that take it out.
    """

    path: str = "off"
    interval_seconds: float = 5.0
    timeout_seconds: float = 2.0
    rise: int = 2
    fall: int = 3

    @property
    def is_on(self) -> bool:
        return self.path != "off"

    def __str__(self) -> str:
        """In words, for the log."""
        if not self.is_on:
            return "off"
        what = "a connection" if self.path == "tcp" else f"GET {self.path}"
        return (
            f"{what} every {self.interval_seconds:g} s, {self.timeout_seconds:g} s for the answer; "
            f"{self.fall} failed in a row take an instance out, {self.rise} passed bring it back"
        )

    def overridden(self, keys: HealthKeys) -> Check:
        """The same, but for what the store says."""
        return attrs.evolve(self, **attrs.asdict(keys, filter=lambda _, value: value is not None))


def probed(load: Load, trouble: str | None, check: Check, now: float, rules: Rules) -> bool:
    """
    An instance was asked how it is.

    :param trouble: what is wrong, or ``None``.
    :returns: whether that is news: it is trusted again, or no longer, or it is new and failed for the first time.
    """
    if trouble is None:
        load.passes, load.fails = load.passes + 1, 0
        needed = {Standing.TRUSTED: math.inf, Standing.UNPROVEN: 1, Standing.DOWN: check.rise}[load.standing]
        if load.passes < needed:
            return False
        if load.standing is Standing.DOWN:
            load.ramp_from, load.ramp_until, load.credit = now, now + rules.ramp_seconds, 0.0
        load.standing = Standing.TRUSTED
    else:
        load.passes, load.fails = 0, load.fails + 1
        load.why = trouble
        if load.standing is not Standing.TRUSTED or load.fails < check.fall:
            return load.standing is Standing.UNPROVEN and load.fails == 1
        load.standing = Standing.DOWN
    _settle(load)
    return True


def unasked(loads: Iterable[Load]) -> list[Load]:
    """
    Nobody asks any more: all are trusted.

    :returns: those that were not.
    """
    loads = list(loads)
    back = [load for load in loads if load.standing is not Standing.TRUSTED]
    for load in loads:
        load.standing = Standing.TRUSTED
        load.passes = load.fails = 0
        _settle(load)
    return back


def newcomers(before: Plan, plan: Plan) -> list[Load]:
    """
    Instances of `plan` that must pass a probe before they get traffic.

    Those of a version that is new, and those that a known version got beside others. A known version that changes all
    its instances at once stays trusted: it would be out as a whole, while nothing says that anything is wrong.
    """
    known = {fleet.version.id: fleet for fleet in (before.stable, before.candidate) if fleet is not None}
    found: dict[Load, None] = {}
    staying: set[Load] = set()
    for fleet in (plan.stable, plan.candidate):
        if fleet is None:
            continue
        old = known.get(fleet.version.id)
        if old is None:
            found.update(dict.fromkeys(fleet.loads))
            continue
        kept = [load for load in fleet.loads if load in old.loads]
        staying.update(kept or fleet.loads)
        if kept:
            found.update(dict.fromkeys(load for load in fleet.loads if load not in old.loads))
    return [load for load in found if load not in staying]


def distrust(loads: Iterable[Load]) -> None:
    """They are new: none gets traffic before it has passed once."""
    for load in loads:
        load.standing = Standing.UNPROVEN
        load.passes = load.fails = 0
        load.why = "it is new, and has not passed a health probe yet"
        _settle(load)
