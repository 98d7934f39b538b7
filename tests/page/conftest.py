"""A Chromium of the distribution's, driven by Playwright; and the pages that a test opens in it."""

from __future__ import annotations

import re
import shutil
import subprocess
import sysconfig
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from live.conftest import start_instance, start_router
from live.instance import Instance
from live.router import ROOT, TOKEN, Router, rollout
from playwright.sync_api import Browser, BrowserContext, Page, expect, sync_playwright

__all__ = ["start_instance", "start_router"]

SCREENSHOTS = ROOT / "build" / "screenshots"
DESKTOP, PHONE, WALL = (1280, 900), (390, 844), (2560, 1440)
# Without these Chromium asks its maker's hosts for news, and as root it needs to be told that there is no sandbox.
FLAGS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
]  # fmt: skip

expect.set_options(timeout=30_000)


# For this package, not the whole run: Playwright keeps an asyncio loop running, over which others' tests would trip.
@pytest.fixture(scope="package")
def browser() -> Iterator[Browser]:
    path = shutil.which("chromium") or shutil.which("chromium-browser")
    assert path, "Chromium is needed: .ci/needs chromium"
    with sync_playwright() as playwright:
        found = playwright.chromium.launch(executable_path=path, args=FLAGS, timeout=90_000)
        yield found
        found.close()


@pytest.fixture(scope="module")
def instances(start_instance: Callable[..., Instance]) -> tuple[Instance, Instance]:
    """Stable's and the candidate's."""
    return start_instance("shop-41", "a"), start_instance("shop-42", "a")


@pytest.fixture(scope="module")
def service(
    start_router: Callable[..., Router],
    instances: tuple[Instance, Instance],
    tmp_path_factory: pytest.TempPathFactory,
) -> Router:
    """One router for all tests of a file."""
    stable, candidate = instances
    return start_router(rollout([stable], [candidate]), "--state-dir", str(tmp_path_factory.mktemp("state")))


@pytest.fixture
def router(service: Router, instances: tuple[Instance, Instance]) -> Router:
    """The same, in the rollout that each test begins with."""
    stable, candidate = instances
    service.put(rollout([stable], [candidate]))
    return service


class Opened:
    """Pages of one test, and what went wrong in them."""

    def __init__(self, browser: Browser) -> None:
        self._browser = browser
        self._contexts: list[BrowserContext] = []
        self.mistakes: list[str] = []
        self.foreign: list[str] = []

    def __call__(
        self,
        router: Router,
        *,
        token: str | None = TOKEN,
        size: tuple[int, int] = DESKTOP,
        language: str = "en",
        theme: str = "light",
        path: str = "/",
    ) -> Page:
        """A page in a browser of its own (cookies and all), signed in with the token if there is one."""
        context = self._browser.new_context(
            viewport={"width": size[0], "height": size[1]},
            locale={"en": "en-GB", "ko": "ko-KR"}[language],
            color_scheme=theme,  # type: ignore[arg-type]  # one of Playwright's literals
        )
        self._contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(30_000)
        page.on("pageerror", lambda wrong: self.mistakes.append(str(wrong)))
        page.on("console", self._heard)
        origin = f"http://127.0.0.1:{router.admin}"
        page.on("request", lambda one: None if one.url.startswith(origin) else self.foreign.append(one.url))
        page.goto(origin + path)
        if token is not None:
            sign_in(page, token)
            expect(page.locator("#manage")).to_be_visible()
            expect(page.locator("#live")).to_have_text({"en": "Live", "ko": "실시간"}[language])
        return page

    def _heard(self, message: Any) -> None:
        # A refused request shows as an error of the network, which is what several tests are after.
        if message.type == "error" and "Failed to load resource" not in message.text and "ERR_" not in message.text:
            self.mistakes.append(message.text)

    def close(self) -> None:
        for context in self._contexts:
            context.close()


OpenPage = Callable[..., Page]


@pytest.fixture
def open_page(browser: Browser) -> Iterator[Opened]:
    """
    ``open_page(router)``: the settings page, signed in. At the end of the test no script may have failed, nothing may
    have been blocked by the page's own policy, and nothing asked of another host.
    """
    opened = Opened(browser)
    yield opened
    opened.close()
    assert opened.mistakes == []
    assert opened.foreign == []


def sign_in(page: Page, token: str) -> None:
    way = page.locator("#way-token")
    expect(page.locator("#setup")).to_be_visible()
    if way.is_visible():
        way.click()
    page.fill("#token", token)
    page.click("#token-form button[type=submit]")


def make_token(state_dir: Path, name: str, role: str) -> str:
    """With the command that an operator uses."""
    argv = ["rolling-router", "token", "create", "--state-dir", str(state_dir), "--name", name, "--role", role]
    program = str(Path(sysconfig.get_path("scripts")) / argv[0])
    made = subprocess.run([program, *argv[1:]], capture_output=True, text=True, check=True, cwd=ROOT)
    found = re.search(r"rrt_\S+", made.stdout)
    assert found, made
    return found.group()


def picture(page: Page, name: str, *, whole: bool = True) -> Path:
    """Keep a screenshot for people to look at."""
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    path = SCREENSHOTS / f"{name}.png"
    page.screenshot(path=path, full_page=whole)
    return path


def set_blend(page: Page, percent: int) -> None:
    page.fill("#blend-number", str(percent))
    page.click("#blend-set")
    expect(notice(page, "said")).to_contain_text("The blend is set")


def notice(page: Page, name: str) -> Any:
    return page.locator(f'[data-notice="{name}"]')
