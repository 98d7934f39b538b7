"""The benchmark's own arithmetic: what it reads, what it adds up, and what it writes for its peers."""

import json
import math
import os
import subprocess
import sys

import pytest

from bench import pages, peers, report
from bench.cpu import cpu_seconds, memory_bytes, tree
from bench.load import parse_wrk
from bench.measure import Sample
from bench.running import Cores, Trouble

GOOD = """\
Running 3s test @ http://127.0.0.1:8000/
  1 threads and 32 connections
  Thread Stats   Avg      Stdev     Max   +/- Stdev
    Latency     1.65ms    1.10ms  45.12ms   95.01%
    Req/Sec    19.80k   512.34    21.00k    70.00%
  Latency Distribution
     50%  840.00us
     75%    1.70ms
     90%    2.00ms
     99%    1.25s
  59400 requests in 3.00s, 14.50MB read
Requests/sec:  19800.00
Transfer/sec:      4.83MB
"""
BAD = GOOD.replace(
    "Requests/sec",
    "  Socket errors: connect 1, read 20, write 3, timeout 4\n  Non-2xx or 3xx responses: 500\nRequests/sec",
)

# Its child works and ends, and is waited for; then it works itself; then it stays until its input ends.
WORKER = """
import os, sys, time
def work(seconds):
    while time.process_time() < seconds:
        pass
child = os.fork()
if not child:
    work(0.2)
    os._exit(0)
os.waitpid(child, 0)
work(time.process_time() + 0.2)
child = os.fork()
if not child:
    sys.stdin.read()
    os._exit(0)
print(child, sum(os.times()[:4]), flush=True)
sys.stdin.read()
os.waitpid(child, 0)
"""


def test_wrk_is_read():
    load = parse_wrk(GOOD)
    assert (load.requests, load.seconds, load.rate, load.failed) == (59400, 3.0, 19800.0, 0)
    assert load.p50_ms == pytest.approx(0.84)
    assert load.p99_ms == pytest.approx(1250)


def test_every_kind_of_failure_counts():
    assert parse_wrk(BAD).failed == 1 + 20 + 3 + 4 + 500


def test_a_long_run_is_read_in_minutes():
    assert parse_wrk(GOOD.replace("in 3.00s", "in 1.50m")).seconds == 90


def test_something_else_than_a_result_is_shown():
    with pytest.raises(Trouble, match="unable to connect"):
        parse_wrk("unable to connect to 127.0.0.1:1 Connection refused\n")


@pytest.fixture
def worker():
    process = subprocess.Popen([sys.executable, "-c", WORKER], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    yield process
    process.communicate()


def test_cpu_time_is_that_of_the_tree_and_of_its_past_children(worker):
    child, used = worker.stdout.readline().split()
    assert tree(worker.pid) == [worker.pid, int(child)]
    assert float(used) > 0.35  # 0.2 here, 0.2 in the child that has ended, and Python's start
    assert cpu_seconds(worker.pid) == pytest.approx(float(used), abs=0.15)


def test_memory_is_that_of_the_tree(worker):
    child = int(worker.stdout.readline().split()[0])
    assert 2**20 < memory_bytes(child) < memory_bytes(worker.pid) < 2**28


def test_a_process_that_is_gone_has_nothing():
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    assert (tree(process.pid), cpu_seconds(process.pid), memory_bytes(process.pid)) == ([], 0, 0)


def test_the_proxy_has_the_last_core_to_itself():
    assert Cores.share_out([2, 0, 1]) == Cores(frozenset({2}), frozenset({0, 1}))
    assert Cores.share_out([3]) == Cores(frozenset({3}), frozenset({3}))


def _sample(number, row, rate, cpu_us, failed=0):
    numbers = {"rate": rate, "cpu_us": cpu_us, "busy": 1.0, "p50_ms": 1.0, "p99_ms": 2.0}
    return Sample(number, "small", row, numbers, failed)


SAMPLES = [
    _sample(1, "ours", 100.0, 50.0),
    _sample(1, "nginx", 200.0, 25.0),
    _sample(2, "ours", 50.0, 100.0, failed=2),  # the whole machine was slow, so the ratio is what it was
    _sample(2, "nginx", 100.0, 50.0, failed=1),
    _sample(3, "ours", 120.0, 40.0),
    _sample(3, "nginx", 120.0, 40.0),
]


def test_medians_are_taken_over_the_rounds_and_failures_added_up():
    numbers = report.medians(SAMPLES)["small"]
    assert (numbers["ours"]["rate"], numbers["ours"]["cpu_us"], numbers["ours"]["failed"]) == (100.0, 50.0, 2)
    assert numbers["nginx"]["failed"] == 1


def test_a_ratio_is_taken_within_a_round_before_the_median():
    assert report.ratios(SAMPLES, "small", "ours", "nginx") == {"rate": 0.5, "cpu_us": 2.0}


def test_pages_are_compared_within_a_round_too():
    pairs = pages.Pairs(3, 1, [10.0, 20.0, 40.0], [11.0, 20.0, 60.0])
    assert pairs.result() == {"pages": 50, "cpu_us_without": 20.0, "cpu_us_with": 20.0, "ratio": 1.1, "failed": 0}


def test_only_rounds_in_which_both_were_measured_are_compared():
    assert report.ratios(SAMPLES[:1] + SAMPLES[3:], "small", "ours", "nginx") == {"rate": 1.0, "cpu_us": 1.0}
    assert report.ratios(SAMPLES[:1], "small", "ours", "nginx") == {}


def test_nothing_is_compared_with_what_cannot_be_divided():
    broken = [_sample(1, "ours", 0.0, math.inf), _sample(1, "nginx", 0.0, math.inf)]
    assert report.ratios(broken, "small", "ours", "nginx") == {}


def test_the_table_shows_ratios_beside_the_others_only():
    lines = report.table(SAMPLES, {"small": "GET of 200 bytes"}, ("ours", "ours-returning")).splitlines()
    assert lines[0] == "small: GET of 200 bytes"
    assert lines[1].split()[-4:] == ["ours:", "rate", "ours:", "CPU"]
    assert lines[2].split() == ["ours", "100", "50.0", "100", "%", "1.00", "2.00", "2"]
    assert lines[3].split()[-4:] == ["×", "0.50", "×", "2.00"]


def test_the_numbers_are_json():
    text = json.dumps(report.as_json(SAMPLES, ("ours",), ["one"], machine=report.machine()))
    read = json.loads(text)
    assert read["ratios"]["small"]["ours"]["nginx"]["rate"] == 0.5
    assert read["troubles"] == ["one"]
    assert read["machine"]["cores"] == os.cpu_count()


@pytest.mark.parametrize("peer", peers.PEERS, ids=lambda peer: peer.name)
def test_every_peer_is_told_its_port_and_the_origins(peer, tmp_path):
    argv = peer.prepare(peers.Place(tmp_path, 21001, 21002))
    told = " ".join([*argv, *(file.read_text() for file in tmp_path.iterdir())])
    assert "21001" in told
    assert "21002" in told


def test_the_router_finds_both_versions_at_the_origin(tmp_path):
    argv = peers.ours(peers.Place(tmp_path, 21001, 21002))
    keys = json.loads((tmp_path / "rollout.json").read_text())
    assert f"file:{tmp_path / 'rollout.json'}" in argv
    assert (keys["rolling/bench/blendpercent"], keys["rolling/bench/stickyness"]) == ("50", "1")
    for role in ("stable", "candidate"):
        assert keys[keys[f"rolling/bench/{role}/id"] + "/one"] == "127.0.0.1:21002"


def test_another_command_takes_the_routers_place(tmp_path):
    prepare = peers.ours_by("draft --listen {port} --to '{origin}' {store}")
    argv = prepare(peers.Place(tmp_path, 21001, 21002))
    assert argv == ["draft", "--listen", "21001", "--to", "21002", str(tmp_path / "rollout.json")]
