"""The graph of a soak, as a PNG. The only one who needs matplotlib (extra ``soak``)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import matplotlib
from matplotlib.figure import Figure

from .sample import Sample

matplotlib.use("Agg")

ROWS: list[tuple[str, list[tuple[str, Callable[[Sample], float]]]]] = [
    ("memory, MiB", [("", lambda one: one.rss / 2**20)]),
    ("descriptors", [("", lambda one: one.descriptors)]),
    ("connections to instances", [("all", lambda one: one.connections), ("idle", lambda one: one.pooled)]),
    ("requests per second", [("", lambda one: one.rate)]),
    ("time to an answer's head, ms", [("median", lambda one: one.median * 1e3), ("99 %", lambda one: one.slow * 1e3)]),
]


def draw(samples: Sequence[Sample], path: Path) -> None:
    """One row for each thing, over minutes."""
    figure = Figure(figsize=(12, 2.2 * len(ROWS)), layout="constrained")
    every = figure.subplots(len(ROWS), sharex=True)
    minutes = [one.at / 60 for one in samples]
    for axes, (title, lines) in zip(every, ROWS, strict=True):
        for label, value in lines:
            axes.plot(minutes, [value(one) for one in samples], linewidth=0.8, label=label)
        axes.set_title(title, loc="left", fontsize=10)
        axes.set_ylim(bottom=0)
        axes.grid(alpha=0.3)
        if len(lines) > 1:
            axes.legend(loc="upper right", fontsize=8)
    every[-1].set_xlabel("minutes")
    figure.savefig(path, dpi=100)
