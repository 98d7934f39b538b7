"""Away: a network that goes and returns, tabs that nobody looks at, and somebody far down the page."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from urllib.request import Request, urlopen

import pytest
from live.router import TOKEN, Router, until
from playwright.sync_api import expect

from .conftest import PHONE, make_token, notice, picture, set_blend, sign_in

UNSEEN = "Object.defineProperty(document, 'hidden', {get: () => window.isUnseen ?? %s})"
LOOK = "(isUnseen) => { window.isUnseen = isUnseen; document.dispatchEvent(new Event('visibilitychange')); }"


class Network:
    """What lies between a browser and the settings port."""

    def __init__(self, port: int) -> None:
        self._to, self._is_there = port, True
        self._ends: list[socket.socket] = []
        self._lock = threading.Lock()  # or one that is just being made would outlive the leaving
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listening.getsockname()[1]
        threading.Thread(target=self._run, daemon=True).start()

    def leave(self) -> None:
        with self._lock:
            self._is_there = False
            self._hang_up()

    def come_back(self) -> None:
        self._is_there = True

    def close(self) -> None:
        self._listening.close()
        with self._lock:
            self._hang_up()

    def _hang_up(self) -> None:
        while self._ends:
            with suppress(OSError):
                self._ends.pop().shutdown(socket.SHUT_RDWR)

    def _run(self) -> None:
        with suppress(OSError):
            while True:
                near = self._listening.accept()[0]
                with self._lock:
                    if not self._is_there:
                        near.close()
                        continue
                    far = socket.create_connection(("127.0.0.1", self._to))
                    self._ends += [near, far]
                for pair in ((near, far), (far, near)):
                    threading.Thread(target=_carry, args=pair, daemon=True).start()


def _carry(source: socket.socket, to: socket.socket) -> None:
    with suppress(OSError):
        while data := source.recv(1 << 16):
            to.sendall(data)
    for end in (source, to):
        with suppress(OSError):
            end.shutdown(socket.SHUT_RDWR)


@pytest.fixture
def network(router: Router) -> Iterator[Network]:
    made = Network(router.admin)
    yield made
    made.close()


def set_elsewhere(router: Router, percent: int) -> None:
    """As a program does, past the browser."""

    def ask(method: str, path: str, body: object = None, **headers: str) -> dict:
        mine = {"Authorization": f"Bearer {TOKEN}", "Content-Type": "application/json", **headers}
        sent = None if body is None else json.dumps(body).encode("ascii")
        url = f"http://127.0.0.1:{router.admin}/api/v1/{path}"
        with urlopen(Request(url, sent, mine, method=method), timeout=30) as answer:  # our own router
            return json.load(answer)

    seen = ask("GET", "status")["revision"]
    ask("PUT", "settings/blend", {"blend": percent}, **{"If-Match": f'"{seen}"'})


def test_what_was_changed_while_the_network_was_away_is_in_the_history(browser, router, network):
    context = browser.new_context(locale="en-GB")
    page = context.new_page()
    try:
        page.goto(f"http://127.0.0.1:{network.port}/")
        sign_in(page, TOKEN)
        expect(page.locator("#live")).to_have_text("Live")
        page.fill("#blend-number", "42")
        network.leave()
        for percent in (6, 7):
            set_elsewhere(router, percent)
        expect(page.locator("#live")).to_have_text("Not live")
        page.click("#blend-set")
        expect(notice(page, "said")).to_contain_text("The router did not answer")
        network.come_back()
        expect(page.locator("#live")).to_have_text("Live")
        rows = page.locator("#history tr")
        expect(rows.first).to_contain_text("Blend 6 → 7")
        expect(rows.nth(1)).to_contain_text("Blend 0 → 6")
        expect(page.locator("#blend-number")).to_have_value("42")  # and still only chosen
    finally:
        context.close()


@pytest.fixture
def tab(router, open_page):
    """A live one, which can be looked away from; its clock can be moved on."""
    page = open_page(router, token=None)
    page.add_init_script(UNSEEN % "false")
    page.clock.install()  # before the page: of its timers, what is then installed could end none that it found there
    page.reload()
    sign_in(page, TOKEN)
    expect(page.locator("#live")).to_have_text("Live")
    return page


def look_away(tab):
    """For longer than it keeps its stream."""
    tab.evaluate(LOOK, True)
    tab.clock.run_for(11_000)
    expect(tab.locator("#live")).to_have_text("Connecting…")


def test_a_tab_that_nobody_looks_at_is_let_go_and_live_again_when_it_is_seen(router, tab):
    ended = []
    tab.on("requestfailed", lambda one: ended.append(one.url) if one.url.endswith("/events") else None)
    tab.evaluate(LOOK, True)
    tab.clock.run_for(3_000)
    tab.evaluate(LOOK, False)  # soon enough
    tab.clock.run_for(8_000)
    assert tab.inner_text("#live") != "Connecting…"
    look_away(tab)
    until(lambda: tab.wait_for_timeout(50) or ended)
    set_elsewhere(router, 23)
    tab.evaluate(LOOK, False)
    expect(tab.locator("#live")).to_have_text("Live")
    expect(tab.locator('[data-bar="asked"]')).to_contain_text("candidate 23%")
    expect(tab.locator("#history tr").first).to_contain_text("→ 23")


def test_a_tab_that_is_seen_again_belongs_to_whoever_is_signed_in_by_then(service, tab):
    viewer = make_token(Path(service.options[1]), "jun", "viewer")
    look_away(tab)
    other = tab.context.new_page()
    other.goto(tab.url)
    other.click("#sign-out")
    sign_in(other, viewer)
    expect(other.locator("#who")).to_contain_text("jun")
    tab.evaluate(LOOK, False)
    expect(tab.locator("#who")).to_contain_text("jun")
    expect(tab.locator("#live")).to_have_text("Live")
    expect(tab.locator("#blend-set")).to_be_hidden()
    look_away(tab)
    other.click("#sign-out")
    expect(other.locator("#setup")).to_be_visible()
    tab.evaluate(LOOK, False)
    expect(tab.locator("#setup")).to_be_visible()


def test_many_tabs_leave_the_one_that_is_looked_at_a_connection(router, open_page):
    """A browser has six to a host; with a stream in each tab, the seventh page would never come."""
    page = open_page(router)
    for _ in range(8):
        tab = page.context.new_page()
        tab.add_init_script(UNSEEN % "true")
        tab.goto(page.url)
        expect(tab.locator("#sign-out")).to_be_visible()
    set_blend(page, 11)


def test_who_is_refused_the_events_can_steer_all_the_same(router, open_page):
    page = open_page(router, token=None)
    page.route("**/api/v1/events", lambda one: one.fulfill(status=503, body="{}"))
    sign_in(page, TOKEN)
    expect(page.locator("#stable-name")).to_have_text("shop-41")
    expect(notice(page, "live")).to_contain_text("Not live since")
    set_blend(page, 19)
    expect(page.locator('[data-bar="asked"]')).to_contain_text("candidate 19%")
    set_elsewhere(router, 21)
    expect(page.locator('[data-bar="asked"]')).to_contain_text("candidate 21%")
    page.unroute("**/api/v1/events")
    expect(page.locator("#live")).to_have_text("Live")


def test_what_a_step_came_to_is_in_view_wherever_one_is(router, open_page):
    page = open_page(router, size=PHONE)
    page.select_option("#sticky", "on")
    page.click("#sticky-set")
    expect(notice(page, "said")).to_contain_text("Sticky sessions are set")
    expect(notice(page, "said")).to_be_in_viewport(ratio=1)
    assert page.evaluate("window.scrollY") > 0
    picture(page, "in-view", whole=False)
