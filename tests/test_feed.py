"""The live events, in memory: what is sampled, who is told what and when, and who is not waited for."""

from __future__ import annotations

import json

import attrs
import pytest
from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import Clock
from twisted.web.http import Request

from rolling_router.admin.doorman import Visit
from rolling_router.admin.feed import MOST_LISTENERS, PATIENCE_SECONDS, Feed
from rolling_router.admin.identity import Rights
from rolling_router.admin.samples import WINDOW, Sampler, Series
from rolling_router.admin.view import About
from rolling_router.observe.counts import Counts
from rolling_router.rollout.model import Snapshot, Version
from tests.settings_port import NOW, House

AT = int(NOW)


@pytest.fixture
def house(tmp_path):
    made = House(tmp_path).start()
    yield made
    made.stop()


class Stream:
    """An event stream as a browser reads it. `taken` is what it has read; it reads while it `is_reading`."""

    def __init__(self, page, **headers):
        self.page = page
        self.text = ""
        self.is_over = False
        self.response = None
        page.send("GET", "/api/v1/events", **headers).addCallback(self._answered)

    def _answered(self, response):
        self.response = response
        response.collect(self._take).addBoth(self._end)

    def _take(self, piece):
        self.text += piece.decode("ascii")

    def _end(self, _):
        self.is_over = True

    def read(self):
        """All events since the last call."""
        for _ in range(4):  # request, head and body each take one
            self.page.flush()
        frames, self.text = self.text.split("\n\n")[:-1], ""
        found = []
        for frame in frames:
            fields = dict(line.split(": ", 1) for line in frame.splitlines())
            if "event" in fields:
                found.append((fields["event"], json.loads(fields["data"]), fields.get("id")))
        return found

    def names(self):
        return [name for name, _, _ in self.read()]

    def one(self, name):
        """The data of the last event of this name."""
        return [data for its_name, data, _ in self.read() if its_name == name][-1]


def opened(house, page=None, **headers):
    return Stream(page or house.signed_in(), **headers)


def finish(
    counts, number=1, role="stable", version="v1", reason="new", asked="stable", status=200, seconds=0.004, cut=False
):
    for _ in range(number):
        counts.finished(version, role, reason, asked, status, 0, 0, seconds, cut)


# Samples


def test_a_sample_is_what_happened_since_the_one_before():
    counts, sampler = Counts("shop"), Sampler()
    finish(counts, 5)
    assert sampler.take(counts, 1) is None
    finish(counts, 8)
    finish(counts, 1, status=502)
    finish(counts, 1, cut=True)
    finish(counts, 2, role="candidate", version="v2", reason="pinned", asked=None, seconds=0.2)
    finish(counts, 3, role="stable", reason="candidate-down", asked="candidate")
    sample = sampler.take(counts, 2)
    stable, candidate = sample.roles["stable"], sample.roles["candidate"]
    assert (stable["requests"], stable["errors"], stable["cut"]) == (13, 1, 1)
    assert (candidate["requests"], candidate["errors"]) == (2, 0)
    assert 0.0025 < stable["p50"] < stable["p95"] < stable["p99"] <= 0.005
    assert 0.1 < candidate["p50"] <= 0.25
    assert sample.asked == {"stable": 10, "candidate": 3}
    assert sample.served == {"stable": 13, "candidate": 0, "none": 0}
    assert sample.reasons == {"new": 10, "pinned": 2, "candidate-down": 3}
    quiet = sampler.take(counts, 3)
    assert (quiet.roles["stable"]["requests"], quiet.roles["stable"]["p50"], quiet.reasons) == (0, None, {})


def test_after_a_gap_a_sample_is_the_average_over_it():
    counts, sampler = Counts("shop"), Sampler()
    sampler.take(counts, 1)
    finish(counts, 10)
    assert sampler.take(counts, 5).roles["stable"]["requests"] == 2.5


def test_counts_that_end_with_a_worker_make_no_negative_seconds():
    before, after, sampler = Counts("shop"), Counts("shop"), Sampler()
    finish(before, 10)
    sampler.take(before, 1)
    finish(after, 3)
    assert sampler.take(after, 2) is None
    finish(after, 4)
    assert sampler.take(after, 3).roles["stable"]["requests"] == 4


def test_a_series_keeps_its_window_and_its_gaps():
    counts, sampler, series = Counts("shop"), Sampler(), Series()
    sampler.take(counts, 0)
    series.changed(1, Snapshot("shop", Version("a", 80)))
    series.changed(1000, Snapshot("shop", Version("a", 80), Version("b", 80), 5))
    series.add(1, sampler.take(counts, 1))
    series.add(4, sampler.take(counts, 4))
    told = series.told("run")
    assert (told["from"], told["to"], told["complete"]) == (1, 4, True)
    assert told["stable"]["requests"] == [0, None, None, 0]
    for at in range(5, 2000):
        finish(counts)
        series.add(at, sampler.take(counts, at))
    told = series.told("run")
    assert (told["to"] - told["from"] + 1, told["to"]) == (WINDOW, 1999)
    assert told["stable"]["requests"] == [1] * WINDOW == told["reasons"]["new"]
    assert [(one["at"], one["candidate"]) for one in told["rollout"]] == [(1100, "b")]
    assert series.has(1099)
    assert not series.has(1098)
    assert not series.has(2000)
    later = series.told("run", 1997)
    assert (later["from"], later["to"], later["complete"]) == (1998, 1999, False)
    assert later["asked"] == {"stable": [1, 1], "candidate": [0, 0]}
    assert series.told("run", 1999)["from"] is None


# Events


def test_a_listener_is_told_the_state_then_the_series_then_every_second(house):
    stream = opened(house)
    first, second = stream.read()
    assert (first[0], second[0], second[1]["complete"]) == ("state", "series", True)
    assert stream.response.headers.getRawHeaders(b"Content-Type") == [b"text/event-stream; charset=utf-8"]
    assert "counts" not in first[1]
    finish(house.counts, 7)
    house.advance(3)
    told = stream.read()
    assert [name for name, _, _ in told] == ["sample"] * 3
    assert [sample["at"] for _, sample, _ in told] == [second[1]["to"] + number for number in (1, 2, 3)]
    assert sum(sample["stable"]["requests"] for _, sample, _ in told) == 7
    assert [id for _, _, id in told] == [f"run1-{sample['at']}" for _, sample, _ in told]
    assert told[0][1]["candidate"]["version"] == "v2"
    assert told[0][1]["stable"]["instances"] == [{"address": "10.0.0.1:80", "in_flight": 0, "usable": True}]


def test_a_change_is_told_at_once_however_it_was_made(house):
    stream, page = opened(house), house.signed_in(name="jun")
    stream.read()
    page.write("PUT", "settings/blend", {"blend": 40, "why": "x"})
    told = stream.read()
    assert [name for name, _, _ in told if name != "sample"][:2] == ["history", "state"]
    assert told[-1][1]["snapshot"]["blend"] == 40 or told[1][1]["snapshot"]["blend"] == 40
    house.store.write("rolling/shop/blendpercent", "60")  # by an editor, say
    house.advance(0.05)
    state = stream.one("state")
    assert (state["snapshot"]["blend"], state["in_force"], state["undo"]) == (60, True, None)


def test_what_another_process_writes_into_the_history_is_told_too(house):
    stream = opened(house)
    stream.read()
    other = House(house.directory, house.store.keys).start()
    other.signed_in(name="cli").write("PUT", "settings/blend", {"blend": 70})
    house.store.write("rolling/shop/blendpercent", "70")
    house.advance(0.05)
    told = {name: data for name, data, _ in stream.read()}
    assert (told["history"]["who"], told["state"]["undo"]["who"]) == ("cli", "cli")
    other.stop()


def test_a_store_that_left_and_is_back_is_told_and_its_every_read_is_not(house):
    stream = opened(house)
    stream.read()
    for _ in range(20):
        house.store.changed()
        house.advance(0.02)
    assert "state" not in stream.names()
    house.store.is_away = True
    house.store.changed()
    house.advance(0.1)
    assert stream.one("state")["store"]["state"] == "lost"
    house.advance(1.5)
    assert stream.one("sample")["store"]["state"] == "lost"
    house.store.is_away = False
    house.advance(6)
    assert "there" in [data["store"]["state"] for name, data, _ in stream.read() if name == "state"]


def test_the_beginning_of_the_end_is_told(house):
    stream = opened(house)
    stream.read()
    house.draining = True
    house.advance(1.1)
    assert stream.one("state")["router"]["draining"] is True


def test_who_comes_back_gets_only_what_was_missed(house):
    page = house.signed_in()
    house.advance(10)
    last = house.port._feed._series.last_at
    house.advance(3)
    (_, state, _), (_, series, id) = opened(house, page, Last_Event_ID=f"run1-{last}").read()
    assert (state["app"], series["complete"], series["from"], series["to"]) == ("shop", False, last + 1, last + 3)
    assert id == f"run1-{last + 3}"
    for strange in (
        f"other-{last}",
        f"run1-{last + 9}",
        "run1-1",
        "run1-",
        "-",
        "run1-9" + "9" * 40,
        "run1-" + "9" * 5000,
        "<script>",
        "run1-²",
    ):
        assert opened(house, page, Last_Event_ID=strange.encode().decode("latin-1")).read()[1][1]["complete"] is True


def test_the_same_second_is_made_into_text_once_for_all(house, monkeypatch):
    page = house.signed_in()
    streams = [opened(house, page) for _ in range(50)]
    made = []
    told = Series.told
    monkeypatch.setattr(Series, "told", lambda self, *arguments: made.append(1) or told(self, *arguments))
    house.advance(2)
    assert [len(stream.read()) for stream in streams] == [4] * 50
    assert made == []
    for _ in range(5):
        opened(house, page)
    assert len(made) <= 1


def test_a_change_of_this_second_is_in_the_series_of_who_comes_after_it(house):
    one, other = house.signed_in(), house.signed_in(name="jun")
    house.advance(1)
    opened(house, one).read()
    house.store.write("rolling/shop/blendpercent", "30")
    house.advance(0.05)
    assert opened(house, other).one("series")["rollout"][-1]["blend"] == 30


def test_a_stream_ends_with_its_session_and_says_so(house):
    page = house.signed_in()
    stream = opened(house, page)
    stream.read()
    page.ask("DELETE", "/api/v1/session", X_CSRF_Token=page.csrf)
    assert stream.read()[-1][:2] == ("end", {"reason": "signed-out"})
    assert stream.is_over
    assert len(house.port._feed) == 0


def test_a_stream_of_another_tab_hears_of_a_new_sign_in_after_it_was_answered(house, monkeypatch):
    page, order = house.signed_in(), []
    stream = opened(house, page)
    (session,) = house.port._sessions._sessions.values()
    session.ended.insert(0, lambda: order.append("told"))
    secret = house.token(name="jun")
    finish_ = Request.finish
    monkeypatch.setattr(Request, "finish", lambda self: order.append("answered") or finish_(self))
    assert page.sign_in(token=secret).code == 200
    assert order[:2] == ["answered", "told"]
    assert stream.read()[-1][:2] == ("end", {"reason": "signed-out"})


def test_an_open_page_keeps_its_session(house):
    page = house.signed_in()
    opened(house, page)
    for _ in range(5):
        house.clock.advance(3600)
        house.advance(1.1)
    assert page.get("/api/v1/session").json["signed_in"] is True


def test_there_is_room_for_so_many_and_no_more(house):
    page = house.signed_in()
    streams = [opened(house, page) for _ in range(MOST_LISTENERS)]
    answer = page.get("/api/v1/events")
    assert (answer.code, answer.json["code"], answer.headers["Retry-After"]) == (503, "too-many-listeners", "10")
    house.advance(1.1)
    assert {len(stream.read()) for stream in streams} == {3}


def test_who_listens_with_all_the_streams_keeps_nobody_else_from_listening(house):
    viewer, operator = house.signed_in(Rights.VIEWER, "jun"), house.signed_in()
    streams = [opened(house, viewer) for _ in range(MOST_LISTENERS)]
    house.advance(1.1)
    for one in streams:
        one.read()
    assert opened(house, operator).read()[0][0] == "state"
    house.advance(1.1)
    assert [bool(one.read()) for one in streams] == [False] + [True] * (MOST_LISTENERS - 1)
    assert viewer.get("/api/v1/events").json["code"] == "too-many-listeners"


def test_head_of_the_stream_does_not_hang(house):
    assert house.signed_in().ask("HEAD", "/api/v1/events").code == 200


def test_the_end_of_the_router_ends_the_streams(house):
    stream = opened(house)
    stream.read()
    house.port.stopService()
    house.advance(0.1)
    assert stream.read()[-1][0] == "end"
    assert stream.is_over


def feed(asked, clock=None, figures=lambda: Deferred()):
    about = About("shop", "run", NOW, 1, "file", ("cookie",), True)
    return Feed(clock or Clock(), about, None, lambda: None, figures, lambda count: asked, lambda visit: True)


def has_ended(work):
    """Not so while it is chained to a coroutine that goes on, for all that `called` says."""
    ended = []
    work.addBoth(ended.append)
    return bool(ended)


def test_the_end_of_the_router_waits_for_no_history():
    made = feed(asked=Deferred())
    made.startService()
    assert has_ended(made.stopService())


@pytest.mark.parametrize("tells", [lambda asked: None, lambda asked: asked.errback(ValueError("not as asked"))])
def test_nor_for_figures_however_they_are_given_up(tells):
    clock = Clock()
    made = feed(asked=succeed(()), clock=clock, figures=lambda: Deferred(tells))
    made.startService()
    clock.advance(2)
    assert has_ended(made.stopService())
    assert clock.getDelayedCalls() == []


@attrs.define(eq=False)
class SlowRequest:
    """As much of a request as a listener needs; its transport is full when the test says so."""

    written: list = attrs.field(factory=list)
    aborted: bool = False
    producer: object = None

    @property
    def channel(self):
        return self

    def forceAbortClient(self):
        self.aborted = True

    def setHeader(self, name, value):
        """Nobody reads it."""

    def notifyFinish(self):
        return Deferred()

    def registerProducer(self, producer, streaming):
        assert streaming
        self.producer = producer

    def unregisterProducer(self):
        self.producer = None

    def write(self, data):
        self.written.append(data)


def test_one_who_does_not_read_is_told_nothing_then_all_afresh_or_is_dropped(house):
    feed, identity = house.port._feed, house.port._tokens.find(house.token())
    request = SlowRequest()
    listening = Deferred.fromCoroutine(feed.listen(request, Visit(identity, None), None))
    house.advance(2)
    request.producer.pauseProducing()
    before = len(request.written)
    house.advance(PATIENCE_SECONDS - 2)
    assert len(request.written) == before
    request.producer.resumeProducing()
    state, series = request.written[before:]
    assert state.startswith(b"event: state")
    assert b'"complete":false' in series
    missed = json.loads(series.partition(b"data: ")[2])
    assert missed["to"] - missed["from"] + 1 >= PATIENCE_SECONDS - 3
    request.producer.pauseProducing()
    house.advance(PATIENCE_SECONDS + 2)
    assert request.aborted
    listening.addErrback(lambda reason: None)
    listening.cancel()
    assert len(feed) == 0


def test_figures_that_lack_a_worker_are_a_gap_and_no_jump(house):
    stream = opened(house)
    finish(house.counts, 1000)
    house.advance(2)
    whole, figures = house.counts, house.port._feed._ask_figures
    silent = attrs.evolve(figures().result, counts=Counts("shop"), silent=1)
    house.port._feed._ask_figures = lambda: succeed(silent)
    house.advance(1)
    house.port._feed._ask_figures = figures
    finish(whole, 3)
    house.advance(2)
    numbers = [data["stable"] and data["stable"]["requests"] for name, data, _ in stream.read() if name == "sample"]
    assert numbers[-3:] == [None, 1.5, 0]
