"""
pictures: takes the pictures of the documentation, docs/images/*.png. Called by ``make pictures``.

SECONDS_OF_TRAFFIC in the environment (290) says how long the traffic lasts that they show. A router, two versions that
answer as quickly and as badly as real ones do, visitors, and a Chromium.
"""

from __future__ import annotations

import itertools
import os
import random
import shutil
import sys
import tempfile
import threading
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, Page, sync_playwright

from tests.live.instance import Call, Instance
from tests.live.router import TOKEN, Router, rollout
from tests.live.wire import Wire

IMAGES = Path(__file__).resolve().parent / "images"
OLD, NEW = "shop-20261120-093012", "shop-20261123-101500"
VISITORS = 6
MOST_BYTES = 200_000
BLENDS = (1, 5, 10, 25)


def answering(seconds: float, errors: float) -> Any:
    """How an instance behaves: about so quick, and so many of its answers are errors."""
    luck = random.Random(seconds)

    def behave(call: Call) -> None:
        call.read_body()
        time.sleep(min(1.0, seconds * luck.lognormvariate(0, 0.5)))
        call.answer(b"shop\n", status="500 Oops" if luck.random() < errors else "200 OK")

    return behave


def visit(port: int, is_over: threading.Event, number: int) -> None:
    """Visitors of one kind: each comes a few times, with the cookie that it got; more come and go, as over a day."""
    luck = random.Random(number)
    while not is_over.is_set():
        cookie = b""
        for _ in range(luck.randint(1, 6)):
            with Wire(port) as wire:
                answer = wire.ask(b"GET / HTTP/1.1\r\nHost: shop.test\r\n" + cookie + b"\r\n")
            pins = [one.split(b";")[0] for one in answer.all(b"Set-Cookie")]
            cookie = b"Cookie: " + pins[0] + b"\r\n" if pins else cookie
            crowd = 1.6 + random.Random(int(time.time() / 9)).random()
            is_over.wait(luck.expovariate(4 * crowd))


def open_page(
    browser: Browser, router: Router, size: tuple[int, int], language: str = "en-GB", theme: Any = "light"
) -> Page:
    context = browser.new_context(
        viewport={"width": size[0], "height": size[1]}, locale=language, color_scheme=theme, device_scale_factor=1
    )
    page = context.new_page()
    page.goto(f"http://127.0.0.1:{router.admin}/")
    return page


def sign_in(page: Page) -> None:
    page.fill("#token", TOKEN)
    page.click("#token-form button[type=submit]")
    page.wait_for_selector("#manage:not([hidden])")


def set_blend(page: Page, percent: int, why: str = "") -> None:
    page.fill("#why", why)
    page.fill("#blend-number", str(percent))
    page.click("#blend-set")
    page.wait_for_selector("[data-notice=said].good")


def keep(page: Page, name: str, **options: Any) -> None:
    path = IMAGES / f"{name}.png"
    page.screenshot(path=path, **options)
    size = path.stat().st_size
    print(f"{path.relative_to(IMAGES.parent.parent)}: {size // 1000} KB")
    if size > MOST_BYTES:
        raise SystemExit(f"{name}.png is {size} bytes; {MOST_BYTES} at most")


def take(browser: Browser, router: Router, seconds: float) -> None:
    """A release, by and by."""
    setup = open_page(browser, router, (760, 420))
    setup.wait_for_selector("#setup:not([hidden])")
    keep(setup, "setup")
    page = open_page(browser, router, (1280, 1000))
    sign_in(page)
    for percent, why in itertools.zip_longest(BLENDS, ("first visitors", "", "no errors so far"), fillvalue=""):
        page.wait_for_timeout(seconds / len(BLENDS) * 1000 / 1.4)
        set_blend(page, percent, why)
    page.click("[data-notice=said] button")  # at once: it goes by itself after a while
    page.wait_for_timeout(seconds / 3.5 * 1000)
    page.mouse.move(0, 0)
    page.evaluate("scrollTo(0, 0)")
    page.wait_for_timeout(1500)
    keep(page, "manage")
    page.click("#promote")
    keep(page, "promote")
    page.click("#ask-no")
    phone = open_page(browser, router, (390, 844), "ko-KR", "dark")
    sign_in(phone)
    phone.wait_for_timeout(2500)
    keep(phone, "phone")


def main(seconds: float) -> None:
    IMAGES.mkdir(exist_ok=True)
    with ExitStack() as stack:
        old = [Instance(OLD, name) for name in ("a", "b", "c")]
        new = [Instance(NEW, name) for name in ("a", "b")]
        for one in (*old, *new):
            stack.callback(one.stop)
            one.on("/", answering(0.03, 0.002) if one in old else answering(0.018, 0.03))
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        router = Router(directory, ("--state-dir", str(directory / "state")))
        router.write(rollout(old, new, 0, 1))
        stack.callback(router.kill)
        router.start()
        stack.callback(router.stop)
        is_over = threading.Event()
        visitors = [threading.Thread(target=visit, args=(router.port, is_over, n)) for n in range(VISITORS)]
        for one in visitors:
            one.start()
            stack.callback(one.join)
        stack.callback(is_over.set)
        playwright = stack.enter_context(sync_playwright())
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium"),
            args=["--no-sandbox", "--disable-gpu", "--font-render-hinting=none"],
        )
        stack.callback(browser.close)
        take(browser, router, seconds)


if __name__ == "__main__":
    sys.exit(main(float(os.environ.get("SECONDS_OF_TRAFFIC") or 290)))
