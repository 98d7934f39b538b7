"""bench.cpu: what a process and all below it have used, from ``/proc``."""

from __future__ import annotations

import os
from collections import defaultdict
from pathlib import Path

_PROC = Path("/proc")
_TICKS = os.sysconf("SC_CLK_TCK")


def cpu_seconds(pid: int) -> float:
    """CPU time, user and system, of a process tree, children that have ended and were waited for included."""
    return sum(sum(_stat(each)[11:15]) for each in tree(pid)) / _TICKS


def memory_bytes(pid: int) -> int:
    """
    Memory of a process tree: the proportional set size, in which a page shared by two counts half in each.
    The resident set size where the system does not tell that.
    """
    return sum(_memory_kib(each) for each in tree(pid)) * 1024


def tree(pid: int) -> list[int]:
    """The process and all below it. Empty when it is gone."""
    children = defaultdict(list)
    for entry in _PROC.iterdir():
        if entry.name.isdigit() and (stat := _stat(int(entry.name))):
            children[stat[1]].append(int(entry.name))
    found = [pid] if _stat(pid) else []
    for each in found:  # grows while we walk it
        found.extend(children[each])
    return found


def _stat(pid: int) -> list[int]:
    """The numbers of ``/proc/PID/stat`` after the program's name, which may itself hold spaces and brackets."""
    try:
        text = (_PROC / str(pid) / "stat").read_text()
    except OSError:  # it has ended meanwhile
        return []
    return [0, *map(int, text.rpartition(")")[2].split()[1:])]


def _memory_kib(pid: int) -> int:
    for name, field in (("smaps_rollup", "Pss:"), ("status", "VmRSS:")):
        try:
            lines = (_PROC / str(pid) / name).read_text().splitlines()
        except OSError:
            continue
        for line in lines:
            if line.startswith(field):
                return int(line.split()[1])
    return 0
