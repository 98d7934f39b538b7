"""
``python -m tests.chaos.soak``: load with changes for long; what the router takes up must come back to where it was.

``SOAK_SECONDS`` says for how long (1800). Leaves build/soak.png, and build/soak.json with what it shows. Exit status 1
if a request failed that need not, or if something is left over.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import statistics
import sys
import tempfile
import time
from pathlib import Path

import attrs

from .changes import Changes
from .journal import Journal
from .judge import Judge, Outcome
from .run import load, stage
from .sample import Sample, connections_to, rss, sockets

BUILD = Path("build")
MARGIN_BYTES = 8 << 20
"""Of memory, that the last tenth of the time may have more than the second one: what is allocated wanders."""
REST_SECONDS = 20.0
"""After the load, for pools (4 s), lingering connections and streams to end."""


@attrs.define(eq=False)
class Soak:
    """One run. :ivar requests: that are over."""

    changes: Changes
    judge: Judge
    samples: list[Sample] = attrs.field(factory=list)
    _new: list[Outcome] = attrs.field(factory=list)
    _unjudged: list[Outcome] = attrs.field(factory=list)
    requests: int = 0
    _journal: Journal = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self._journal = self.changes.fleet.journal()

    async def run(self, seed: int, seconds: float) -> list[str]:
        before = await self.take(time.monotonic())
        began, over = time.monotonic(), asyncio.Event()
        port = self.changes.standing.router.port
        asking = asyncio.ensure_future(load(port, seed, self._done, over))
        watching = asyncio.ensure_future(self._watch(began, over, max(1.0, seconds / 600)))
        try:
            await self.changes.go_on(began + seconds, 2.0)
        finally:
            over.set()
            await asyncio.gather(asking, watching)
        self._judge(time.monotonic())
        self.judge.end(self._journal)
        after = await self._rested(before, began)
        return [*self.judge.wrong, *self._left(before, after)]

    async def _rested(self, before: Sample, began: float) -> Sample:
        """The first sample in which nothing is left, or the last one."""
        ends = time.monotonic() + REST_SECONDS
        while True:
            await asyncio.sleep(0.5)
            self.samples.append(await self.take(began))
            now = self.samples[-1]
            if (now.descriptors <= before.descriptors + 1 and not now.connections) or time.monotonic() > ends:
                return now

    def _left(self, before: Sample, after: Sample) -> list[str]:
        wrong = []
        # Threads of the pool, and what Python opens once, may have come; a connection is two.
        if after.descriptors > before.descriptors + 1:
            wrong.append(f"{after.descriptors} descriptors are left, of {before.descriptors} before")
        if after.connections:
            wrong.append(f"{after.connections} connections to instances are left")
        status = self.changes.standing.router.status()
        if status["counts"]["clients_open"] or status["leaving"]:
            wrong.append(f"something is left: {status['counts']['clients_open']} clients, {status['leaving']}")
        tenth = max(1, len(self.samples) // 10)
        early = statistics.median(one.rss for one in self.samples[tenth : 2 * tenth] or self.samples)
        late = statistics.median(one.rss for one in self.samples[-tenth:])
        if late > early + MARGIN_BYTES:
            wrong.append(f"memory grew from {early / 2**20:.1f} to {late / 2**20:.1f} MiB")
        return wrong

    async def _watch(self, began: float, over: asyncio.Event, step: float) -> None:
        while not over.is_set():
            await asyncio.sleep(step)
            self.samples.append(await self.take(began))
            self._judge(time.monotonic() - 5)  # by when its instances' deaths are known

    async def take(self, began: float) -> Sample:
        """What it takes up now, and what it did since the last time."""
        standing = self.changes.standing
        ports = {one.port for one in self.changes.fleet.processes.values()}
        status = await asyncio.to_thread(standing.router.status)
        descriptors, inodes = sockets(standing.pid)
        connections = connections_to(ports, inodes)
        roles = [status["snapshot"][role] for role in ("stable", "candidate")]
        busy = sum(one["in_flight"] for role in roles if role for one in role["instances"])
        busy += sum(one["in_flight"] for one in status["leaving"])
        now = time.monotonic()
        at = now - began
        new, self._new = self._new, []
        plain = [one.head_at - one.began for one in new if one.end == "whole" and one.is_plain]
        return Sample(
            at,
            rss(standing.pid),
            descriptors,
            connections,
            max(0, connections - busy),
            len(new) / max(at - (self.samples[-1].at if self.samples else 0.0), 0.001),
            statistics.median(plain) if plain else 0.0,
            sorted(plain)[int(len(plain) * 0.99)] if plain else 0.0,
        )

    def _done(self, outcome: Outcome) -> None:
        self.requests += 1
        self._new.append(outcome)
        self._unjudged.append(outcome)

    def _judge(self, until: float) -> None:
        """Those that were over by then; they are forgotten, for there will be many."""
        due = [one for one in self._unjudged if one.ended <= until]
        self._unjudged = [one for one in self._unjudged if one.ended > until]
        self.judge.judge(due, self._journal)
        self.changes.record.forget(until - 120)  # no stream lasts so long


async def soak(seed: int, seconds: float) -> tuple[Soak, list[str]]:
    directory = Path(tempfile.mkdtemp(prefix="soak-"))
    # No hand-over: it would begin with a fresh process, and so hide what the old one had kept.
    async with stage(directory, seed, False) as changes:
        made = Soak(changes, Judge(changes.record))
        wrong = await made.run(seed, seconds)
    output = changes.standing.router.output()
    if "Traceback" in output:
        wrong.append("the router logged a traceback")
    return made, wrong


def main() -> int:
    seconds = float(os.environ.get("SOAK_SECONDS") or 1800)
    seed = int(os.environ.get("CHAOS_SEED") or random.randrange(1 << 32))
    print(f"seed {seed}: {seconds:g} s", flush=True)
    made, wrong = asyncio.run(soak(seed, seconds))
    BUILD.mkdir(exist_ok=True)
    (BUILD / "soak.json").write_text(json.dumps([attrs.asdict(one) for one in made.samples]))
    from .graph import draw

    draw(made.samples, BUILD / "soak.png")
    ends = ", ".join(f"{count} {end}" for end, count in sorted(made.judge.seen.items()))
    print(f"{made.requests} requests ({ends}); {sum(made.changes.made.values())} moves ({dict(made.changes.made)})")
    for name, of in (("first", made.samples[0]), ("last", made.samples[-1])):
        print(f"{name}: {of}")
    for one in wrong[:20]:
        print(one)
    print(f"{len(wrong)} wrong; build/soak.png")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
