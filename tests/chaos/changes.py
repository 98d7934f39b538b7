"""What happens meanwhile: one move after the other, drawn by lot, and written down in the record as it happens."""

from __future__ import annotations

import asyncio
import json
import os
import random
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

import attrs

from .fleet import LASTING, NAMES, VERSIONS, Fleet, Process
from .record import Handover, InForce, Record, Rollout
from .standing import Standing, setting

NONE = "rolling/null"


def path_of(version: str | None) -> str:
    return NONE if version is None else f"apps/app-{version}-80/containers"


def version_of(path: str) -> str | None:
    return None if path == NONE else path.removeprefix("apps/app-").removesuffix("-80/containers")


@attrs.define(eq=False)
class Changes:
    """
    :ivar made: how often each move was made.    :ivar longest: until a change was in force, in seconds.
    :ivar hands_over: whether the router may be replaced.
    """

    standing: Standing
    fleet: Fleet
    record: Record
    draw: random.Random
    hands_over: bool = True
    made: Counter[str] = attrs.field(factory=Counter)
    longest: float = 0.0
    _under_way: set[asyncio.Task[Any]] = attrs.field(factory=set)

    # The moves

    def moves(self) -> dict[Callable[[], Awaitable[None]], float]:
        """Each with its weight."""
        return {
            self.blend: 5,
            self.stickiness: 2,
            self.choose_stable: 2,
            self.choose_candidate: 3,
            self.promote: 2,
            self.roll_back: 1,
            self.instances: 5,
            self.all_at_once: 2,
            self.kill: 3,
            self.retire: 1,
            self.lose_store: 1,
            **({self.hand_over: 0.6} if self.hands_over else {}),
        }

    async def go_on(self, until: float, pause: float) -> None:
        """
        Until then, every few hundred milliseconds.

        :param pause: the longest between two moves, in seconds.
        """
        moves = self.moves()
        while time.monotonic() < until:
            (move,) = self.draw.choices(list(moves), list(moves.values()))
            if until - time.monotonic() < self._longest_of(move):
                await asyncio.sleep(0.1)
                continue
            self.made[move.__name__] += 1
            await move()
            for task in [task for task in self._under_way if task.done()]:
                self._under_way.discard(task)
                task.result()
            await asyncio.sleep(self.draw.uniform(0, pause))
        await asyncio.gather(*self._under_way)

    def _longest_of(self, move: Callable[[], Awaitable[None]]) -> float:
        """How long it may take: streams have their time, and then are ended over as long."""
        return self.record.drain_seconds * {self.retire: 2, self.hand_over: 1}.get(move, 0)

    async def blend(self) -> None:
        blend = self.draw.choice([0, 100, self.draw.randint(1, 99), self.draw.randint(1, 99)])
        await self._by_api("PUT", "settings/blend", {"blend": blend}, blend=blend)

    async def stickiness(self) -> None:
        word, sticky = self.draw.choice([("off", "0"), ("cookie", "cookie"), ("ip-hash", "ip-hash")])
        await self._by_api("PUT", "settings/stickiness", {"stickiness": word}, sticky=sticky)

    async def choose_stable(self) -> None:
        now = self.now
        stable = self.draw.choice([one for one in VERSIONS if one != now.candidate])
        await self._write(attrs.evolve(now, stable=stable, names=self._with_lasting(stable)))

    async def choose_candidate(self) -> None:
        candidate = self.draw.choice([None, *(one for one in VERSIONS if one != self.now.stable)])
        await self._by_api("PUT", "settings/candidate", {"version": candidate}, candidate=candidate)

    async def promote(self) -> None:
        now = self.now
        if now.candidate is None:
            return
        if LASTING not in now.names[now.candidate]:
            await self._write(attrs.evolve(now, names=self._with_lasting(now.candidate)))
        candidate = now.candidate
        await self._by_api("POST", "promote", {"version": candidate}, stable=candidate, candidate=None, blend=0)

    async def roll_back(self) -> None:
        await self._by_api("POST", "rollback", {}, candidate=None, blend=0)

    async def instances(self) -> None:
        """Some come, some go."""
        await self._write(attrs.evolve(self.now, names=self._any_names(self.now.stable)))

    async def all_at_once(self) -> None:
        """As somebody does who edits the file."""
        await self._write(self.any_rollout())

    async def kill(self) -> None:
        """SIGKILL, whatever is in flight."""
        if mortal := self.fleet.mortal():
            in_play = [one for one in mortal if one.name in self.now.in_play]
            self._begin(self.fleet.kill(self.draw.choice(in_play or mortal), self.draw.uniform(0, 2)))

    async def retire(self) -> None:
        """As one removes an instance: from the keys, then wait until nothing is in flight, then stop it."""
        if mortal := self.fleet.mortal():
            one = self.draw.choice(mortal)
            one.is_spoken_for = one.leaves = True
            await self._write(attrs.evolve(self.now, names=self._any_names(self.now.stable)))
            self._begin(self._retire(one))

    async def _retire(self, one: Process) -> None:
        while await self._in_thread(self.standing.in_flight, one.address):
            await asyncio.sleep(0.1)
        await self.fleet.kill(one, self.draw.uniform(0, 1))

    async def lose_store(self) -> None:
        """The file is gone, or is something else, and comes back, perhaps with other things in it."""
        store = self.standing.router.store
        aside = store.with_suffix(".aside")
        os.replace(store, aside)
        trouble = self.draw.choice(["absent", "directory", "rubbish", "dangling"])
        if trouble == "directory":
            store.mkdir()
        elif trouble == "rubbish":
            store.write_text('{"rolling/null": "-", ')
        elif trouble == "dangling":
            store.symlink_to(store.with_suffix(".nowhere"))
        await asyncio.sleep(self.draw.uniform(0, 1))
        # A new process has nothing but what was saved. It does not start at all where the store's place is a directory.
        if self.hands_over and trouble != "directory" and self.draw.random() < 0.2:
            await self.hand_over()
        if trouble == "directory":
            store.rmdir()
        else:
            with suppress(FileNotFoundError):
                store.unlink()
        if self.draw.random() < 0.5:
            os.replace(aside, store)
            await self._in_thread(self.standing.settle)
        else:
            await self._write(self.any_rollout())

    async def hand_over(self) -> None:
        """A new process takes the place of the old one."""
        change = Handover(time.monotonic())
        self.record.handovers.append(change)
        await self._in_thread(self.standing.hand_over)
        change.over = time.monotonic()

    # What is drawn

    @property
    def now(self) -> Rollout:
        return self.record.states[-1].rollout

    def any_rollout(self) -> Rollout:
        stable, candidate = self.draw.sample(VERSIONS, 2)
        return Rollout(
            stable,
            self.draw.choice([candidate, candidate, None]),
            self.draw.choice([0, 100, self.draw.randint(1, 99), self.draw.randint(1, 99)]),
            self.draw.choice(["0", "cookie", "ip-hash"]),
            self._any_names(stable),
        )

    def _any_names(self, stable: str) -> dict[str, tuple[str, ...]]:
        """Instances in play, of each version: any, but of stable always the one that lasts."""
        spoken_for = {one.name for one in self.fleet.processes.values() if one.is_spoken_for and one.leaves}
        found = {}
        for version in VERSIONS:
            least = [LASTING] if version == stable or self.draw.random() < 0.5 else []
            rest = [name for name in NAMES if name not in least and (version, name) not in spoken_for]
            found[version] = (*least, *self.draw.sample(rest, self.draw.randint(0, len(rest))))
        return found

    def _with_lasting(self, version: str) -> dict[str, tuple[str, ...]]:
        names = self.now.names
        return {**names, version: tuple({**dict.fromkeys(names[version]), LASTING: None})}

    # How it comes about

    async def _write(self, rollout: Rollout) -> None:
        async with self._change(rollout):
            keys = self.keys(rollout)
            await self._in_thread(self.standing.router.write, keys)

    async def _by_api(self, method: str, path: str, body: dict[str, Any], **becomes: Any) -> None:
        """
        :param becomes: what the rollout is to become by this. A candidate that changes begins with blend 0.
        """
        now = self.now
        if "candidate" in becomes and becomes["candidate"] in (None, *{*VERSIONS} - {now.candidate}):
            becomes["blend"] = 0
        async with self._change(attrs.evolve(now, **becomes)) as rollout:
            await self._in_thread(self.standing.ask, method, path, body)
            keys = self.standing.keys()
            found = (
                version_of(keys[setting("stable/id")]),
                version_of(keys[setting("candidate/id")]),
                int(keys[setting("blendpercent")]),
            )
            assert found == (rollout.stable, rollout.candidate, rollout.blend), (path, body, now, found)

    @asynccontextmanager
    async def _change(self, rollout: Rollout):
        before, begins = self.record.states[-1], time.monotonic()
        self.record.states.append(InForce(rollout, begins))
        yield rollout
        await self._in_thread(self.standing.settle)
        before.ends = time.monotonic()
        self.longest = max(self.longest, before.ends - begins)

    def keys(self, rollout: Rollout) -> dict[str, str]:
        found = {
            "rolling/null": "-",
            setting("stable/id"): path_of(rollout.stable),
            setting("candidate/id"): path_of(rollout.candidate),
            setting("blendpercent"): str(rollout.blend),
            setting("stickyness"): rollout.sticky,
        }
        for version in VERSIONS:
            for name in rollout.names[version]:
                found[f"{path_of(version)}/{name}"] = self.fleet.processes[version, name].address
        return json.loads(json.dumps(found))

    def _begin(self, work: Any) -> None:
        self._under_way.add(asyncio.ensure_future(work))

    async def _in_thread(self, call: Callable[..., Any], *arguments: Any) -> Any:
        return await asyncio.to_thread(call, *arguments)
