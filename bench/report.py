"""bench.report: medians, ratios, the table, and the facts about the machine. Takes samples, measures nothing."""

from __future__ import annotations

import math
import os
import platform
import subprocess
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Any

import attrs

from bench.measure import Sample
from bench.running import ROOT

# What a table shows of a workload: the numbers and their headings, and those that are compared.
_LOAD = {"rate": "req/s", "cpu_us": "CPU µs/req", "busy": "busy", "p50_ms": "p50 ms", "p99_ms": "p99 ms"}
_IDLE = {"memory_mb": "memory MB", "client_kb": "KB/client"}
_COMPARED = {"rate": "rate", "cpu_us": "CPU", "memory_mb": "memory", "client_kb": "KB/client"}
_DIGITS = {"rate": 0, "cpu_us": 1, "p50_ms": 2, "p99_ms": 2, "memory_mb": 1, "client_kb": 2}


def medians(samples: Sequence[Sample]) -> dict[str, dict[str, dict[str, float]]]:
    """:returns: workload, row, number -> the median of the rounds; `failed` is their sum."""
    result: dict[str, dict[str, dict[str, float]]] = {}
    for workload, row in dict.fromkeys((sample.workload, sample.row) for sample in samples):
        of_row = [sample for sample in samples if (sample.workload, sample.row) == (workload, row)]
        numbers = {name: median(sample.numbers[name] for sample in of_row) for name in of_row[0].numbers}
        numbers["failed"] = sum(sample.failed for sample in of_row)
        result.setdefault(workload, {})[row] = numbers
    return result


def ratios(samples: Sequence[Sample], workload: str, ours: str, peer: str) -> dict[str, float]:
    """
    Ours to a peer's, number by number: each round by itself, since a machine changes its mood, then the median.

    :returns: nothing where they were never measured in the same round.
    """
    found: dict[str, list[float]] = {}
    by_round = {(sample.round, sample.row): sample.numbers for sample in samples if sample.workload == workload}
    for (number, row), mine in by_round.items():
        theirs = by_round.get((number, peer))
        if row != ours or theirs is None:
            continue
        for name in _COMPARED.keys() & mine.keys():
            if theirs[name] and math.isfinite(mine[name] / theirs[name]):
                found.setdefault(name, []).append(mine[name] / theirs[name])
    return {name: median(values) for name, values in found.items()}


def table(samples: Sequence[Sample], titles: Mapping[str, str], ours: Sequence[str]) -> str:
    """
    All that was measured, for people.

    :param titles: workload -> what it is.    :param ours: the rows that the others are compared with.
    """
    parts = []
    for workload, rows in medians(samples).items():
        parts.append(f"{workload}: {titles[workload]}\n" + _workload_table(samples, workload, rows, ours))
    return "\n\n".join(parts)


def _workload_table(
    samples: Sequence[Sample], workload: str, rows: Mapping[str, Mapping[str, float]], ours: Sequence[str]
) -> str:
    shown = _IDLE if "memory_mb" in next(iter(rows.values())) else _LOAD
    compared = [(mine, name) for mine in ours if mine in rows for name in _COMPARED if name in shown]
    head = ["", *shown.values(), "failed", *(f"{mine}: {_COMPARED[name]}" for mine, name in compared)]
    lines = [head]
    for row, numbers in rows.items():
        line = [row, *(_shown(name, numbers[name]) for name in shown), f"{numbers['failed']:.0f}"]
        for mine, name in compared:
            ratio = None if row in ours else ratios(samples, workload, mine, row).get(name)
            line.append("" if ratio is None else f"× {ratio:.2f}")
        lines.append(line)
    return _aligned(lines)


def _shown(name: str, value: float) -> str:
    return f"{value * 100:.0f} %" if name == "busy" else f"{value:,.{_DIGITS[name]}f}"


def _aligned(lines: Sequence[Sequence[str]]) -> str:
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  " + "  ".join([line[0].ljust(widths[0]), *map(str.rjust, line[1:], widths[1:])]).rstrip() for line in lines
    )


def as_json(samples: Sequence[Sample], ours: Sequence[str], troubles: Sequence[str], **facts: Any) -> dict[str, Any]:
    """All that was measured, for programs: every sample, the medians, and ours to each peer's."""
    middle = medians(samples)
    compared = {
        workload: {
            mine: {row: ratios(samples, workload, mine, row) for row in rows if row not in ours}
            for mine in ours
            if mine in rows
        }
        for workload, rows in middle.items()
    }
    return {
        **facts,
        "troubles": list(troubles),
        "medians": middle,
        "ratios": compared,
        "samples": [attrs.asdict(sample) for sample in samples],
    }


def machine() -> dict[str, Any]:
    """What the numbers depend on, besides the programs."""
    return {
        "measured": datetime.now(UTC).isoformat(timespec="seconds"),
        "cpu": _cpu_model(),
        "cores": os.cpu_count(),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "revision": _revision(),
    }


def _cpu_model() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def _revision() -> str | None:
    asked = ["git", "-C", str(ROOT), "describe", "--always", "--dirty"]
    try:
        done = subprocess.run(asked, capture_output=True, text=True, check=False)
    except OSError:  # no git, or no checkout: the numbers are good all the same
        return None
    return done.stdout.strip() or None
