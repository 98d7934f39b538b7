"""bench.load: the kinds of load, and wrk, which makes them."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Sequence
from pathlib import Path

import attrs

from bench.running import Trouble

_UNITS = {"us": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
_BROWSER = """\
wrk.headers["User-Agent"] = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"
wrk.headers["Accept"] = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"
wrk.headers["Accept-Language"] = "en-US,en;q=0.5"
wrk.headers["Accept-Encoding"] = "gzip, deflate"
wrk.headers["Upgrade-Insecure-Requests"] = "1"
local n = 0
"""
_PATHS = _BROWSER + 'request = function() n = n + 1 return wrk.format("GET", "/?page=" .. n) end\n'
_UNIQUE = (
    _BROWSER
    + """\
request = function()
    n = n + 1
    wrk.headers["Referer"] = "http://127.0.0.1/?page=" .. n - 1
    return wrk.format("GET", "/?page=" .. n)
end
"""
)
_POST = 'wrk.method = "POST"\nwrk.body = string.rep("x", 16384)\n'


@attrs.frozen
class Workload:
    """
    One kind of load.

    :ivar script: for wrk, in Lua; empty for plain GETs.
    """

    name: str
    what: str
    path: str
    connections: int = 32
    headers: tuple[str, ...] = ()
    script: str = ""


WORKLOADS = (
    Workload("small", "GET of 200 bytes, 32 kept connections", "/"),
    Workload("paths", "the same with a browser's fields, and a path that differs each time", "/", script=_PATHS),
    Workload("unique", "the same, and a Referer that differs each time, too: no head comes twice", "/", script=_UNIQUE),
    Workload("new", "GET of 200 bytes, a new connection for each", "/", headers=("Connection: close",)),
    Workload("64k", "GET of 64 KiB, 32 kept connections", "/64k"),
    # Four connections only: what is under way when time is up was paid for and is not counted.
    Workload("10m", "GET of 10 MiB, 4 kept connections", "/10m", connections=4),
    Workload("post", "POST of 16 KiB, 32 kept connections", "/post", script=_POST),
)


@attrs.frozen
class Load:
    """What wrk saw. `failed` counts lost connections, timeouts and answers other than 2xx and 3xx."""

    requests: int
    seconds: float
    p50_ms: float
    p99_ms: float
    failed: int

    @property
    def rate(self) -> float:
        return self.requests / self.seconds


def run_wrk(workload: Workload, port: int, seconds: int, headers: Sequence[str], directory: Path) -> Load:
    """
    Put a load on a port of this machine.

    :raises Trouble: wrk itself failed.
    """
    argv = ["wrk", "--latency", "-t1", f"-c{workload.connections}", f"-d{seconds}s", "--timeout", "10s"]
    for header in (*workload.headers, *headers):
        argv += ["-H", header]
    if workload.script:
        script = directory / f"{workload.name}.lua"
        script.write_text(workload.script, encoding="ascii")
        argv += ["-s", str(script)]
    argv.append(f"http://127.0.0.1:{port}{workload.path}")
    done = subprocess.run(argv, capture_output=True, text=True, timeout=seconds + 60, check=False)
    if done.returncode:
        raise Trouble(f"wrk ended with status {done.returncode}: {(done.stderr or done.stdout).strip()[:300]}")
    return parse_wrk(done.stdout)


def parse_wrk(text: str) -> Load:
    """
    Read what ``wrk --latency`` prints.

    :raises Trouble: it is something else.
    """
    counted = re.search(r"(\d+) requests in ([\d.]+)(us|ms|s|m|h),", text)
    if counted is None:
        raise Trouble(f"wrk printed no count of requests: {text.strip()[:300]!r}")
    return Load(
        requests=int(counted[1]),
        seconds=float(counted[2]) * _UNITS[counted[3]],
        p50_ms=_percentile(text, 50),
        p99_ms=_percentile(text, 99),
        failed=_failed(text),
    )


def _percentile(text: str, percent: int) -> float:
    found = re.search(rf"^\s+{percent}%\s+([\d.]+)(us|ms|s|m|h)\s*$", text, re.MULTILINE)
    return float(found[1]) * _UNITS[found[2]] * 1000 if found else float("nan")


def _failed(text: str) -> int:
    lost = re.search(r"Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)", text)
    refused = re.search(r"Non-2xx or 3xx responses: (\d+)", text)
    return sum(map(int, lost.groups() if lost else ())) + int(refused[1] if refused else 0)
