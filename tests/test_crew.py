"""The parent's side of talking to a worker."""

from __future__ import annotations

import io
import sys

import pytest
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.error import ProcessTerminated
from twisted.internet.task import Clock
from twisted.internet.testing import MemoryReactorClock
from twisted.logger import Logger, LogLevel, eventAsText, globalLogPublisher
from twisted.python.failure import Failure

from rolling_router.observe.log_file import LogFile
from rolling_router.options import RouterOptions, read_settings
from rolling_router.traffic.crew import ANSWER_SECONDS, ASK, END_SECONDS, TELL_FD, Crew, _unanswered, _Worker
from rolling_router.traffic.sockets import Sockets
from rolling_router.traffic.worker_log import observer


class Transport:
    """A worker process's pipes."""

    pid = 4711

    def __init__(self):
        self.asked = 0

    def closeStdin(self): ...

    def writeToChild(self, fd, data):
        assert data == ASK
        self.asked += 1


def test_a_worker_that_hangs_is_asked_once_and_again_when_it_has_answered():
    clock, worker, transport = Clock(), _Worker(1), Transport()
    worker.makeConnection(transport)
    told = []

    def ask():
        worker.ask().addTimeout(ANSWER_SECONDS, clock).addErrback(_unanswered).addCallback(told.append)

    ask(), ask()
    assert transport.asked == 2, "both are waited for"
    clock.advance(ANSWER_SECONDS)
    for _ in range(1000):
        ask()
    assert (transport.asked, set(told)) == (2, {None})
    worker.childDataReceived(TELL_FD, b'{"at": 1}\n{"at": 2}\n')
    told.clear()
    ask()
    assert transport.asked == 3
    worker.childDataReceived(TELL_FD, b'{"at": 3}\n')
    assert told == [{"at": 3}]


class Deaf(Transport):
    """A worker process that neither answers nor ends before it is killed."""

    def __init__(self, worker):
        super().__init__()
        self.signals = []
        self._worker = worker
        worker.makeConnection(self)

    def signalProcess(self, name):
        self.signals.append(name)
        if name == "KILL":
            self._worker.processEnded(Failure(ProcessTerminated(signal=9)))


@pytest.fixture
def deaf(tmp_path):
    """A crew of two such, its clock, and their pipes."""
    options, clock = RouterOptions(), MemoryReactorClock()
    options.parseOptions(["--app=shop", f"--store=file:{tmp_path}/r.json", "--workers=2", "--drain-seconds=5"])
    crew = Crew(read_settings(options, {}), clock, (), {}, Sockets(), is_late=False)
    crew._workers += [_Worker(1), _Worker(2)]
    return crew, clock, [Deaf(worker) for worker in crew._workers]


def test_who_waits_for_figures_may_stop_waiting(deaf):
    crew, _, _ = deaf
    asked = crew.figures()
    asked.cancel()
    assert isinstance(failure_of(asked), CancelledError)


def test_workers_that_do_not_end_are_killed(deaf):
    crew, clock, transports = deaf
    over = Deferred.fromCoroutine(crew.stop())
    assert [transport.signals for transport in transports] == [["TERM"], ["TERM"]]
    clock.advance(5 + END_SECONDS)
    assert [transport.signals for transport in transports] == [["TERM", "KILL"], ["TERM", "KILL"]]
    assert over.called
    assert failure_of(over) is None


def failure_of(deferred):
    """What a Deferred failed with; ``None`` where it did not, or has not yet."""
    failures = []
    deferred.addErrback(failures.append)
    return failures[0].value if failures else None


def test_lines_of_the_access_log_reach_standard_output_whole_and_as_they_are(tmp_path):
    lines = {number: [b"%d " % number + b"x" * length for length in (1, 9000, 30)] for number in (1, 2)}
    through = LogFile(str(tmp_path / "log"))
    one, two = (_Worker(number, through=through) for number in (1, 2))
    pieces = {number: b"\n".join([*told, b""]) for number, told in lines.items()}
    for at in range(0, len(pieces[1]), 700):
        one.childDataReceived(1, pieces[1][at : at + 700])
        two.childDataReceived(1, pieces[2][at : at + 700])
    one.childDataReceived(1, b"1 killed in the mid")
    through.close()
    assert sorted((tmp_path / "log").read_bytes().splitlines()) == sorted(lines[1] + lines[2])


@pytest.fixture
def heard():
    events = []
    globalLogPublisher.addObserver(events.append)
    yield events
    globalLogPublisher.removeObserver(events.append)


def test_what_a_worker_logs_is_logged_as_it_meant_it(heard, monkeypatch):
    told, worker = io.StringIO(), _Worker(2)
    monkeypatch.setattr(sys, "__stderr__", told)
    log = Logger("rolling_router.probes", observer=observer())
    log.error("{who} is down", who="10.0.0.1:80")
    try:
        raise ValueError("wörd {not} a format")
    except ValueError:
        log.failure("unexpected", Failure())
    log.info("stopped")
    Logger("log_legacy", observer=observer()).info(
        "Gate starting on 8000", log_system="-"
    )  # as twisted.python.log does
    worker.childDataReceived(2, told.getvalue().encode() + b"no log at all\n" + b'{"level": "half')
    worker.childDataReceived(2, b" a line\n")
    down, failure, stopped, older, plain, half = heard
    assert (down["log_level"], down["log_namespace"]) == (LogLevel.error, "rolling_router.probes")
    assert [one["log_format"].format(**one) for one in (down, stopped, plain, half)] == [
        "worker 2: 10.0.0.1:80 is down",
        "worker 2: stopped",
        "worker 2: no log at all",
        'worker 2: {"level": "half a line',
    ]
    assert stopped["log_level"] is LogLevel.info
    assert eventAsText(older).endswith(" [-] worker 2: Gate starting on 8000")
    assert eventAsText(stopped).endswith(" [rolling_router.probes#info] worker 2: stopped")
    assert failure["log_level"] is LogLevel.critical
    assert "Traceback" in failure["text"]
    assert "wörd {not} a format" in failure["text"]
