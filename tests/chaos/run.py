"""One run: a router, its instances, its clients and what happens to them, from one seed; and what came of it."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import attrs

from tests.live.router import Router

from .changes import Changes
from .clients import crowd
from .fleet import Fleet
from .judge import Judge, Outcome
from .record import InForce, Record
from .standing import Standing

DRAIN_SECONDS = 5.0
OPTIONS = (
    f"--drain-seconds={DRAIN_SECONDS:g}",
    # That the budget refuses what it should is tested elsewhere. Here it would make failures a matter of luck.
    "--retry-budget=100",
)


@attrs.define
class Result:
    """
    :ivar wrong: what must not be.    :ivar seen: how requests ended, by the word.    :ivar made: moves, by name.
    """

    seed: int
    wrong: list[str]
    seen: Mapping[str, int] = attrs.field(factory=dict)
    made: Mapping[str, int] = attrs.field(factory=dict)
    deaths: int = 0
    handovers: int = 0
    longest: float = 0.0
    seconds: float = 0.0

    def __str__(self) -> str:
        requests = sum(self.seen.values())
        ends = ", ".join(f"{count} {end}" for end, count in sorted(self.seen.items()))
        moves = ", ".join(f"{count} {name}" for name, count in sorted(self.made.items()))
        return (
            f"seed {self.seed}: {len(self.wrong)} wrong of {requests} requests in {self.seconds:.0f} s ({ends});"
            f" {sum(self.made.values())} moves ({moves}); {self.deaths} deaths, {self.handovers} hand-overs;"
            f" the longest change took {self.longest * 1000:.0f} ms"
        )


@asynccontextmanager
async def stage(directory: Path, seed: int, hands_over: bool, *options: str):
    """A router, its instances, and who changes them; all are gone in the end."""
    record = Record(DRAIN_SECONDS)
    fleet = Fleet(directory, record)
    router = Router(directory, (*OPTIONS, f"--state-dir={directory / 'state'}", *options))
    standing = Standing(router)
    changes = Changes(standing, fleet, record, random.Random(seed), hands_over)
    try:
        await fleet.start()
        record.states.append(InForce(changes.any_rollout(), time.monotonic()))
        router.write(changes.keys(changes.now))
        await asyncio.to_thread(standing.start)
        await asyncio.to_thread(standing.settle)
        yield changes
        await asyncio.to_thread(standing.stop)
    finally:
        standing.kill()
        await fleet.stop()


async def load(port: int, seed: int, done: Callable[[Outcome], None], over: asyncio.Event, pause: float = 0.15) -> None:
    """64 clients, until it is over."""
    await asyncio.gather(*(client.run() for client in crowd(port, seed, done, over, pause)))


async def run(
    directory: Path,
    seed: int,
    seconds: float,
    pause: float = 0.5,
    hands_over: bool = True,
    least_moves: int = 0,
    least_whole: int = 0,
) -> Result:
    """
    :param directory: for what the router and the instances write.    :param seconds: that the load lasts.
    :param pause: the longest between two changes, in seconds.
    :param least_moves: the load goes on until so many were made.    :param least_whole: and so many requests answered.
    """
    outcomes: list[Outcome] = []
    over = asyncio.Event()
    async with stage(directory, seed, hands_over) as changes:
        began = time.monotonic()
        asking = asyncio.ensure_future(load(changes.standing.router.port, seed, outcomes.append, over))
        try:
            await changes.go_on(began + seconds, pause)
            while changes.made.total() < least_moves or sum(one.end == "whole" for one in outcomes) < least_whole:
                await changes.go_on(time.monotonic() + 1, pause)  # a slow machine, or long moves
        finally:
            over.set()
            await asking
        took = time.monotonic() - began
        record = changes.record
        judge = Judge(record)
        journal = changes.fleet.journal()
        judge.judge(outcomes, journal)
        judge.end(journal)
    output = changes.standing.router.output()
    if "Traceback" in output:
        judge.wrong.append(f"the router logged a traceback: {output[output.index('Traceback') :][:3000]}")
    return Result(
        seed, judge.wrong, judge.seen, changes.made, len(record.deaths), len(record.handovers), changes.longest, took
    )
