"""tutorial.browser: the settings page, and the application's, in Debian's Chromium driven by Playwright."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING, Any

from examples.tutorial.machine import until

if TYPE_CHECKING:
    from playwright.sync_api import BrowserContext, Page

# Without these Chromium asks its maker's hosts for news, and as root it needs to be told that there is no sandbox.
FLAGS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
]  # fmt: skip
WAIT_MILLISECONDS = 30_000
NONE = "rolling/null"


class Browser:
    """Chromium, started when the first page is opened."""

    def __init__(self) -> None:
        self._playwright: Any = None
        self._chromium: Any = None
        self.mistakes: list[str] = []

    def open(self, url: str) -> Page:
        """A page in a browser of its own, cookies and all."""
        page = self._context().new_page()
        page.set_default_timeout(WAIT_MILLISECONDS)
        page.on("pageerror", lambda wrong: self.mistakes.append(str(wrong)))
        page.goto(url)
        return page

    def _context(self) -> BrowserContext:
        from playwright.sync_api import expect, sync_playwright

        if self._chromium is None:
            path = shutil.which("chromium") or shutil.which("chromium-browser")
            assert path, "Chromium is needed: .ci/needs chromium"
            expect.set_options(timeout=WAIT_MILLISECONDS)
            self._playwright = sync_playwright().start()
            # Ctrl-C is ours: Chromium ends when the walk closes it.
            self._chromium = self._playwright.chromium.launch(
                executable_path=path, args=FLAGS, handle_sigint=False, handle_sigterm=False, handle_sighup=False,
                timeout=90_000,
            )  # fmt: skip
        context: BrowserContext = self._chromium.new_context(locale="en-GB")
        return context

    def close(self) -> None:
        if self._chromium is not None:
            self._chromium.close()
        if self._playwright is not None:
            self._playwright.stop()


class SettingsPage:
    """What a person does on the settings page, and what that person sees."""

    def __init__(self, page: Page) -> None:
        from playwright.sync_api import expect

        self.page = page
        self.expect: Any = expect

    def fill_setup(self, host: str, bearer: str, port: str = "") -> None:
        """The setup screen's inputs, and OK."""
        for name, text in {"host": host, "bearer": bearer, "port": port}.items():
            self.page.fill(f"#{name}", text)
        self.page.click("#occs-form button[type=submit]")

    def notice(self, name: str) -> Any:
        return self.page.locator(f'[data-notice="{name}"]')

    def shows(self, **words: str) -> None:
        """Wait until these are shown, e.g. ``stable="rolling/null", blend="0"``."""
        places = {
            "stable": "#stable-name", "candidate": "#candidate-name", "sticky": "#sticky-now", "app": "#app",
            "port": "#app-port",
        }  # fmt: skip
        for name, text in words.items():
            if name == "blend":
                self.expect(self.page.locator("#blend-number")).to_have_value(text)
            elif name == "asked":  # which is 0 while there is no candidate, whatever the blend is
                self.expect(self.page.locator('[data-bar="asked"]')).to_contain_text(f"candidate {text}%")
            else:
                self.expect(self.page.locator(places[name])).to_have_text(text)

    def choices(self, role: str) -> list[str]:
        """What the dropdown of a role offers."""
        return [text.strip() for text in self.page.locator(f"#{role}-select option").all_inner_texts()]

    def choose(self, role: str, version: str) -> None:
        """:param version: its id; `NONE` for none."""
        found = until(
            lambda: next((text for text in self.choices(role) if text.startswith(f"{version} (")), None),
            f"{role}'s dropdown has {version}",
        )
        self.page.select_option(f"#{role}-select", label=found)
        self.page.click(f'[data-role="{role}"] form button')
        self.shows(**{role: version})

    def set_blend(self, percent: int) -> None:
        self.page.fill("#blend-number", str(percent))
        self.page.click("#blend-set")
        self.expect(self.notice("said")).to_contain_text("The blend is set")

    def set_sticky(self, choice: str) -> None:
        """:param choice: ``on`` or ``off``."""
        self.page.select_option("#sticky", choice)
        self.page.click("#sticky-set")

    def promote_is_offered(self) -> bool:
        return bool(self.page.locator("#promote").is_visible())

    def promote(self) -> str:
        """Promote, and say yes: what the page says while it works."""
        held: list[Any] = []
        self.page.route("**/api/v1/promote", lambda route: held.append(route))
        self.page.click("#promote")
        self.page.click("#ask-yes")
        self.expect(self.page.locator("#promote")).to_be_disabled()
        said = str(self.page.locator("#promote").inner_text())
        until(lambda: self.page.wait_for_timeout(50) or held, "the page has sent it")
        held[0].continue_()
        self.shows(candidate=NONE)
        self.page.unroute("**/api/v1/promote")
        return said
