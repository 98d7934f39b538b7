"""tutorial.walk: what all items share: the emulator, the router as its service, the page, the clients, the workflow."""

from __future__ import annotations

import re
import shutil
import tempfile
from pathlib import Path
from typing import Any

from examples.tutorial import clients, commands
from examples.tutorial.browser import Browser, SettingsPage
from examples.tutorial.clients import Load, Seen
from examples.tutorial.machine import Machine, free_port, until
from examples.tutorial.platform import NULL, Platform
from rolling_router.rollout.keys import revision

APP = "docker-hello-world"
ROUTER = "rolling-router-sticky"
ROUTER_ID = f"{ROUTER}-1"
PASSWORD = "the-registry's-password-of-the-walk"
YELLOW, GREEN, ORANGE = "1.0.0", "1.0.1", "1.0.2"


class Walk:
    """
    One walk through the tutorial, in a folder and on ports of its own.

    :ivar results: of the items before.    :ivar page: the settings page, as soon as it is open.
    """

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="tutorial-"))
        self.app_port, self.settings_port = free_port(), free_port()
        self.manager = f"https://127.0.0.1:{free_port()}"
        self.machine = Machine(self._variables())
        self.platform = Platform(self.manager, self.folder / "occs", APP)
        self.browser = Browser()
        self.results: tuple[Any, ...] = ()
        self.first_run: str | None = None
        self.promoting = ""
        self._page: SettingsPage | None = None

    def _variables(self) -> dict[str, str]:
        return {
            "TUTORIAL": str(self.folder),
            "APP_PORT": str(self.app_port),
            "SETTINGS_PORT": str(self.settings_port),
            "SERVICE_MANAGER": self.manager,
            "DOCKER_PASSWORD": PASSWORD,
            "OCCS_EMULATOR_MANAGER": f"tcp:{self.manager.rpartition(':')[2]}:interface=127.0.0.1",
            "OCCS_EMULATOR_NODE": "tcp:0:interface=127.0.0.1",
            "OCCS_EMULATOR_READY_FILE": str(self.folder / "ready.json"),
            "OCCS_EMULATOR_STOP_SECONDS": "1",
        }

    def close(self) -> None:
        """End everything, and leave nothing behind."""
        try:
            self.browser.close()
        finally:
            self.machine.close()
            shutil.rmtree(self.folder, ignore_errors=True)

    # The platform and the router

    def start_emulator(self) -> None:
        process = self.machine.start(commands.EMULATOR, self.folder / "emulator.log")

        def is_ready() -> bool:
            assert process.poll() is None, self.log()
            return (self.folder / "ready.json").exists()

        until(is_ready, "the emulator is ready")

    def log(self) -> str:
        """The emulator's, and what its containers print."""
        return (self.folder / "emulator.log").read_text("utf-8", "replace")

    def ca(self) -> Path:
        return self.folder / "occs" / "certificate.pem"

    # The page

    @property
    def settings_url(self) -> str:
        return f"http://127.0.0.1:{self.settings_port}/"

    @property
    def page(self) -> SettingsPage:
        if self._page is None:
            self._page = self.open_page()
        return self._page

    def open_page(self) -> SettingsPage:
        """The settings page in a browser of its own."""
        return SettingsPage(self.browser.open(self.settings_url))

    def await_page(self) -> None:
        """Until the page has what the platform has: what one does there is based on what it shows."""
        keys = self.platform.keys(f"rolling/{APP}/")
        self.page.expect(self.page.page.locator("#store")).to_contain_text(revision(APP, keys))

    # The application

    def look(self) -> Seen:
        return clients.look(self.app_port)

    def look_often(self, times: int = 100) -> list[str | None]:
        return clients.look_often(self.app_port, times)

    def client(self) -> clients.Client:
        return clients.Client(self.app_port)

    def load(self) -> Load:
        return Load(self.app_port)

    def waits_for(self, *versions: str) -> None:
        """Wait until clients whom nobody knows see all of these and nothing else."""
        until(lambda: set(self.look_often(4 * len(versions))) == set(versions), f"{', '.join(versions)} answers")

    # What the workflow has made

    def tags(self) -> list[str]:
        """The images' in the registry, oldest first."""
        return sorted(path.name for path in (self.folder / "registry" / "me" / "hello-world").iterdir())

    def version_of(self, setting: str) -> str:
        """The deployment's id that `stable/id` or `candidate/id` names; `rolling/null` for none."""
        text = self.platform.setting(setting) or NULL
        if text == NULL:
            return NULL
        found = re.fullmatch(r"apps/app-(.+)-3000/containers", text)
        assert found, text
        return found[1]

    @property
    def stable(self) -> str:
        return self.version_of("stable/id")

    @property
    def candidate(self) -> str:
        return self.version_of("candidate/id")

    def path(self, id_: str) -> str:
        return f"apps/app-{id_}-3000/containers"
