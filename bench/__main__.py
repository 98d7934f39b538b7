"""bench: the command, ``python -m bench``. Starts everything, goes through the rounds, reports."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import resource
import signal
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import attrs

from bench import origin, report
from bench.load import WORKLOADS, Workload
from bench.measure import IDLE, IDLE_CLIENTS, Sample, started, under_load, with_idle_clients
from bench.peers import OURS, PEERS, Peer, environ, find_program, ours_by, version_of
from bench.running import ROOT, Cores, Running, Trouble, free_port, running

RETURNING = f"{OURS}-returning"
TITLES = {
    **{workload.name: workload.what for workload in WORKLOADS},
    IDLE: f"{IDLE_CLIENTS:,} clients, each connected and silent after one request",
}
_DESCRIPTORS = IDLE_CLIENTS + 1000


def main() -> int:
    """:returns: 0 when everything that was asked for was measured and every request was answered well, else 1."""
    options = _options()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # unwinds, and thereby ends what was started
    bench = Bench(options.peers, options.workloads, options.rounds, options.seconds)
    try:
        _raise_descriptors()
        bench.run()
    except Trouble as trouble:
        bench.complain(str(trouble))
    print(f"\n{report.table(bench.samples, TITLES, (OURS, RETURNING))}" if bench.samples else "\nNothing was measured.")
    if OURS in bench.versions:
        print(f"{OURS} is {bench.versions[OURS]}")
    _write_json(options.json, bench, options)
    for trouble in bench.troubles:
        print(f"TROUBLE: {trouble}", file=sys.stderr)
    return 1 if bench.troubles else 0


class Bench:
    """The rounds, over all peers and workloads. `troubles` holds whatever makes the result less than whole."""

    def __init__(self, peers: Sequence[Peer], workloads: Sequence[str], rounds: int, seconds: int):
        self._peers, self._workloads, self._rounds, self._seconds = peers, workloads, rounds, seconds
        self._cores = Cores.share_out(sorted(os.sched_getaffinity(0)))
        self._returning = ""
        self.samples: list[Sample] = []
        self.troubles: list[str] = []
        self.versions: dict[str, str] = {}

    def run(self) -> None:
        """:raises Trouble: nothing can be measured at all."""
        find_program("wrk")
        if self._cores.proxy == self._cores.rest:
            self.complain("there is only one core: proxy and load share it, and the rates say little")
        os.sched_setaffinity(0, self._cores.rest)  # for ourselves, and so for wrk, the origin and the idle clients
        with _origin(self._cores) as behind, contextlib.ExitStack() as stack:
            proxies = {peer: self._start(stack, peer, behind.port) for peer in self._peers}
            self._go_round({peer: proxy for peer, proxy in proxies.items() if proxy is not None}, behind.port)

    def complain(self, trouble: str) -> None:
        self.troubles.append(trouble)
        _say(f"TROUBLE: {trouble}")

    def _start(self, stack: contextlib.ExitStack, peer: Peer, behind: int) -> Running | None:
        _say(f"starting {peer.name}")
        try:
            self.versions[peer.name] = version_of(peer)
            proxy = stack.enter_context(started(peer, behind, self._cores))
            if peer.name == OURS:
                self._returning = self._cookie(proxy)
            under_load(proxy, WORKLOADS[0], 1, ())  # pools and caches are warm afterwards
        except Trouble as trouble:
            self.complain(f"{peer.name} is MISSING: {trouble}")
            return None
        return proxy

    def _cookie(self, proxy: Running) -> str:
        """The header by which a client comes back."""
        cookie = origin.verify(proxy.port).get("set-cookie")
        if cookie is None:
            self.complain(f"{OURS} sets no cookie, so returning clients are not measured")
            return ""
        return "Cookie: " + cookie.partition(";")[0]

    def _go_round(self, proxies: Mapping[Peer, Running], behind: int) -> None:
        for number in range(1, self._rounds + 1):
            for workload in self._workloads:
                for peer, proxy in proxies.items():
                    self._measure(number, workload, peer, proxy, behind)

    def _measure(self, number: int, workload: str, peer: Peer, proxy: Running, behind: int) -> None:
        rows = {peer.name: ()}
        if peer.name == OURS and workload == WORKLOADS[0].name and self._returning:
            rows[RETURNING] = (self._returning,)
        for row, headers in rows.items():
            try:
                if workload == IDLE:
                    with started(peer, behind, self._cores) as fresh:  # what a load has left behind is another matter
                        numbers, failed = with_idle_clients(fresh)
                else:
                    numbers, failed = under_load(proxy, _named(workload), self._seconds, headers)
            except Trouble as trouble:
                self.complain(f"{row}, {workload}, round {number}: {trouble}")
                continue
            self._keep(Sample(number, workload, row, numbers, failed))

    def _keep(self, sample: Sample) -> None:
        self.samples.append(sample)
        numbers = "  ".join(f"{name} {value:,.4g}" for name, value in sample.numbers.items())
        _say(f"round {sample.round}/{self._rounds}  {sample.workload:6}  {sample.row:15} {numbers}")
        if sample.failed:
            self.complain(f"{sample.row}, {sample.workload}, round {sample.round}: {sample.failed} FAILED")


@contextlib.contextmanager
def _origin(cores: Cores) -> Iterator[Running]:
    with tempfile.TemporaryDirectory(prefix="bench-origin-") as name:
        directory, port = Path(name), free_port()
        program, *rest = origin.prepare(directory, port)
        argv = [find_program(program), *rest]
        with running(argv, port, directory, cores.rest, environ(directory)) as behind:
            origin.verify(port)
            yield behind


def _named(workload: str) -> Workload:
    return next(each for each in WORKLOADS if each.name == workload)


def _options() -> argparse.Namespace:
    peers = {peer.name: peer for peer in PEERS}
    parser = argparse.ArgumentParser(
        prog="python -m bench",
        description="Measure the router beside other proxies, all before the same origin on this machine.",
        epilog=f"Peers: {', '.join(peers)}. Workloads: {', '.join(TITLES)}.",
    )
    parser.add_argument("--rounds", type=_count, default=3, help="how often all is measured (3)")
    parser.add_argument("--seconds", type=_count, default=3, help="how long each load lasts (3)")
    parser.add_argument("--peers", type=_names(peers), metavar="NAME,...", help="only these peers")
    parser.add_argument("--workloads", type=_names(TITLES), metavar="NAME,...", help="only these workloads")
    parser.add_argument(
        "--only", type=_names([*peers, *TITLES]), default=[], metavar="NAME,...", help="both of these in one list"
    )
    parser.add_argument("--json", type=Path, default=ROOT / "build" / "bench.json", help="where all numbers go")
    parser.add_argument(
        "--ours-command",
        metavar="COMMAND",
        help="start this in place of the router; {port}, {admin}, {origin}, {store} and {state} are filled in",
    )
    options = parser.parse_args()
    only_peers = [name for name in options.only if name in peers]
    options.peers = [peers[name] for name in options.peers or only_peers or peers]
    options.workloads = options.workloads or [name for name in options.only if name in TITLES] or list(TITLES)
    if options.ours_command:
        prepare = ours_by(options.ours_command)
        options.peers = [attrs.evolve(peer, prepare=prepare) if peer.name == OURS else peer for peer in options.peers]
    return options


def _count(text: str) -> int:
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 1")
    return int(text)


def _names(known: Iterable[str]) -> Callable[[str], list[str]]:
    def read(text: str) -> list[str]:
        asked = [name.strip() for name in text.split(",")]
        unknown = [name for name in asked if name not in known]
        if unknown:
            raise argparse.ArgumentTypeError(f"there is no {unknown[0]!r}; there are {', '.join(known)}")
        return [name for name in known if name in asked]

    return read


def _raise_descriptors() -> None:
    """
    Let this process, and so all that it starts, have as many descriptors as the system allows.

    :raises Trouble: that is too few for the idle clients.
    """
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    if hard != resource.RLIM_INFINITY and hard < _DESCRIPTORS:
        raise Trouble(f"a process may have {hard} descriptors; {_DESCRIPTORS} are needed (ulimit -Hn)")


def _write_json(path: Path, bench: Bench, options: argparse.Namespace) -> None:
    result = report.as_json(
        bench.samples,
        (OURS, RETURNING),
        bench.troubles,
        machine=report.machine(),
        versions=bench.versions,
        options={"rounds": options.rounds, "seconds": options.seconds},
        missing=[peer.name for peer in options.peers if peer.name not in {sample.row for sample in bench.samples}],
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    _say(f"all numbers are in {os.path.relpath(path)}")


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
