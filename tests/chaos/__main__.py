"""
``python -m tests.chaos``: every change at random, under load. Exit status 1 if anything went wrong.

``CHAOS_SECONDS`` says for how long each seed (120), ``CHAOS_SEEDS`` how many (10), ``CHAOS_SEED`` which one alone.
"""

from __future__ import annotations

import asyncio
import os
import random
import sys
import tempfile
from pathlib import Path
from traceback import print_exception

from .run import Result, run


def main() -> int:
    seconds = float(os.environ.get("CHAOS_SECONDS") or 120)
    count = int(os.environ.get("CHAOS_SEEDS") or 10)
    named = os.environ.get("CHAOS_SEED")
    seeds = [int(named)] if named else [random.randrange(1 << 32) for _ in range(count)]
    wrong = 0
    for seed in seeds:
        print(f"seed {seed}: {seconds:g} s", flush=True)
        directory = Path(tempfile.mkdtemp(prefix="chaos-"))
        try:
            result = asyncio.run(run(directory, seed, seconds))
        except Exception as failure:
            print_exception(failure)
            result = Result(seed, [repr(failure)])
        print(result, flush=True)
        for one in result.wrong[:20]:
            print(f"  {one}", flush=True)
        wrong += bool(result.wrong)
        if result.wrong:
            print(f"  once more: CHAOS_SEED={seed} make chaos; the router's log is in {directory}", flush=True)
    print(f"{wrong} of {len(seeds)} seeds went wrong" if wrong else f"nothing went wrong in {len(seeds)} seeds")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
