"""settings_port: the settings port in memory: its real resource, over a store in memory and a clock turned by hand."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import attrs
from treq.testing import StubTreq
from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import Clock

from rolling_router.admin.identity import Rights
from rolling_router.admin.origins import Origins
from rolling_router.admin.port import Access, SettingsPort
from rolling_router.admin.token_file import TokenFile, make_token
from rolling_router.admin.view import About
from rolling_router.observe.counts import Counts
from rolling_router.observe.figures import Figures
from rolling_router.observe.report import Report
from rolling_router.rollout.control import Control
from rolling_router.rollout.history import History
from rolling_router.rollout.model import Snapshot
from rolling_router.rollout.watcher import Watcher
from tests.stores import MemoryStore

NOW = 1_795_435_200.0
APP = "shop"
KEYS = {
    "rolling/null": "-",
    "rolling/shop/stable/id": "apps/app-v1-80/containers",
    "rolling/shop/candidate/id": "apps/app-v2-80/containers",
    "rolling/shop/blendpercent": "5",
    "rolling/shop/stickyness": "0",
    "apps/app-v1-80/containers/a": "10.0.0.1:80",
    "apps/app-v2-80/containers/a": "10.0.0.2:80",
    "apps/app-v3-80/containers/a": "10.0.0.3:80",
}
ROOT_URL = "http://localhost:8080"


class WatchedStore(MemoryStore):
    """Tells its watcher of changes, also of those that a test makes by `write`."""

    changed: Any = staticmethod(lambda: None)

    def watch(self, changed: Any) -> None:
        self.changed = changed

    def put(self, changes: Any, expected: Any) -> Any:
        done = super().put(changes, expected)
        self.changed()
        return done

    def write(self, key: str, text: str | None) -> None:
        super().write(key, text)
        self.changed()


@attrs.frozen
class Answer:
    code: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class House:
    """The settings port and what it stands on. `figures` is what the traffic tells."""

    def __init__(
        self, directory: Any, keys: Mapping[str, str] = KEYS, *, keeps_tokens: bool = True, **access: Any
    ) -> None:
        self.clock = Clock()
        self.clock.advance(NOW)
        self.store = WatchedStore(keys)
        self.counts = Counts(APP)
        self.draining = False
        self.snapshot = Snapshot(APP)
        self.directory = directory
        history = History(str(directory), APP, at_once)
        self.watcher = Watcher(
            self.clock,
            APP,
            self.store,
            self._follow,
            strategies=("cookie", "ip-hash"),
            default="cookie",
            random=lambda: 0.5,
        )
        self.control = Control(
            APP,
            self.store,
            strategies=("cookie", "ip-hash"),
            default="cookie",
            clock=self.clock,
            random=lambda: 0.5,
            history=history,
        )
        about = About(APP, "run1", NOW, 1, "file", ("cookie", "ip-hash"), True)
        report = Report(lambda: self.watcher.state, lambda: self.snapshot, self.clock.seconds)
        self.tokens = TokenFile(str(directory))
        settings: dict[str, Any] = {
            "origins": Origins(),
            "directory": str(directory) if keeps_tokens else None,
            "environ": {},
            "aside": at_once,
            "address": ROOT_URL,
            **access,
        }
        self.port = SettingsPort(
            self.clock, about, report, self.watcher, self.control, self.figures, Access(**settings)
        )

    def start(self) -> House:
        self.port.startService()
        self.watcher.startService()
        self.advance(0.1)
        return self

    def stop(self) -> None:
        self.port.stopService()
        self.watcher.stopService()
        self.advance(30)

    def _follow(self, snapshot: Snapshot) -> None:
        self.snapshot = snapshot

    def figures(self) -> Deferred[Figures]:
        return succeed(Figures(self.counts, {}, {}, self.draining, 0, self.snapshot.revision or None))

    def advance(self, seconds: float) -> None:
        """In steps small enough for timers that beget timers."""
        self.clock.pump([0.01] * round(seconds * 100))

    def token(self, rights: Rights = Rights.OPERATOR, name: str = "mari") -> str:
        secret, token = make_token(name, rights, self.clock.seconds())
        self.tokens.add(token)
        self.advance(1.1)
        return secret

    def browser(self) -> Browser:
        return Browser(self)

    def signed_in(self, rights: Rights = Rights.OPERATOR, name: str = "mari") -> Browser:
        browser = self.browser()
        assert browser.sign_in(token=self.token(rights, name)).code == 200
        return browser

    @property
    def revision(self) -> str:
        state = self.watcher.state
        assert state.snapshot is not None
        return state.snapshot.revision


class Browser:
    """Keeps cookies as browsers do, and the CSRF token as the page does."""

    def __init__(self, house: House, root: str = ROOT_URL) -> None:
        self.house = house
        self.root = root
        self.csrf: str | None = None
        self._treq = StubTreq(house.port.site.resource)

    def send(self, method: str, path: str, body: Any = None, **headers: str) -> Deferred[Any]:
        """Not waited for; an event stream never ends."""
        fields = {name.replace("_", "-"): value for name, value in headers.items()}
        data = None
        if body is not None:
            data = body if isinstance(body, bytes) else json.dumps(body).encode()
            fields.setdefault("Content-Type", "application/json")
        return self._treq.request(method, self.root + path, data=data, headers=fields)

    def flush(self) -> None:
        self._treq.flush()

    def ask(self, method: str, path: str, body: Any = None, **headers: str) -> Answer:
        answers: list[Answer] = []

        async def asked() -> None:
            response = await self.send(method, path, body, **headers)
            text = await response.content()
            fields = {
                name.decode().title(): b", ".join(values).decode("latin-1")
                for name, values in response.headers.getAllRawHeaders()
            }
            answers.append(Answer(response.code, fields, text))

        asking = Deferred.fromCoroutine(asked())
        for _ in range(3000):
            if asking.called:
                break
            self.flush()
            self.house.advance(0.01)
        assert asking.called, f"{method} {path} is not answered"
        asking.addErrback(lambda reason: reason.raiseException())
        return answers[0]

    def get(self, path: str, **headers: str) -> Answer:
        return self.ask("GET", path, **headers)

    def sign_in(self, **body: Any) -> Answer:
        answer = self.ask("POST", "/api/v1/session", body)
        if answer.code == 200:
            self.csrf = answer.json["csrf"]
        return answer

    def write(self, method: str, path: str, body: Any, **headers: str) -> Answer:
        """As the page writes: based on what is in force, unless `headers` say otherwise."""
        mine = {"If_Match": f'"{self.house.revision}"', "X_CSRF_Token": self.csrf or "", **headers}
        return self.ask(method, "/api/v1/" + path, body, **mine)


def at_once(call: Any, *arguments: Any) -> Deferred[Any]:
    """In the place of a thread."""
    try:
        return succeed(call(*arguments))
    except Exception:
        from twisted.internet.defer import fail

        return fail()
