"""A short run of what `make chaos` does for long. ``CHAOS_SEED`` runs one once more."""

from __future__ import annotations

import asyncio
import os
import random
from pathlib import Path

from .run import run

SECONDS = 10.0


def test_no_request_fails_that_need_not_whatever_changes(tmp_path: Path) -> None:
    seed = int(os.environ.get("CHAOS_SEED") or random.randrange(1 << 32))
    print(f"seed {seed}")
    result = asyncio.run(run(tmp_path, seed, SECONDS, pause=0.3))
    print(result)
    assert result.wrong == [], f"once more: CHAOS_SEED={seed}"
    assert result.seen["whole"] > 30  # some 3,000 on an idle machine
    assert sum(result.made.values()) > 5
