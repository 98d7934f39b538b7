"""
admin.api: the settings port's routes. Shapes only: `bodies` reads what comes, `rollout.control` decides, `view` shows.

Composed by `make_site`; docs/api.md is its contract.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from klein import Klein
from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.http import Request
from twisted.web.resource import IResource
from werkzeug.exceptions import HTTPException

from rolling_router.admin.bodies import read_revision, read_wish
from rolling_router.admin.doorman import Doorman, Visit
from rolling_router.admin.feed import Feed
from rolling_router.admin.files import Files
from rolling_router.admin.problems import Problem, as_json, sized
from rolling_router.admin.sessions import Sessions
from rolling_router.admin.sign_in import SignIn
from rolling_router.admin.view import About, entry_json
from rolling_router.admin.writes import Writes
from rolling_router.errors import SettingError, StoreLost
from rolling_router.observe.figures import Figures
from rolling_router.observe.metrics import CONTENT_TYPE
from rolling_router.observe.report import Report
from rolling_router.rollout.control import Control
from rolling_router.rollout.shown import choice_value
from rolling_router.rollout.state import State

_log = Logger()

MOST_HISTORY = 200


class Api:
    """What the settings port answers."""

    app = Klein()

    def __init__(
        self,
        about: About,
        report: Report,
        state: Callable[[], State],
        figures: Callable[[], Deferred[Figures]],
        control: Control,
        writes: Writes,
        feed: Feed,
        doorman: Doorman,
        sessions: Sessions,
        sign_in: SignIn,
        files: Files,
        *,
        is_metrics_open: bool = True,
    ) -> None:
        """:param figures: gives what is known of the traffic now; never fails."""
        self._about = about
        self._report = report
        self._state = state
        self._figures = figures
        self._control = control
        self._writes = writes
        self._feed = feed
        self._doorman = doorman
        self._sessions = sessions
        self._sign_in = sign_in
        self._files = files
        self._is_metrics_open = is_metrics_open

    def resource(self) -> IResource:
        return self.app.resource()

    # Open to all

    @app.route("/healthz", methods=["GET"])
    def healthz(self, request: Request) -> bytes:
        """Whether the process lives."""
        return _text(request, 200, "ok")

    @app.route("/readyz", methods=["GET"])
    async def readyz(self, request: Request) -> bytes:
        """Whether traffic may be sent here."""
        why = self._report.unready(await self._figures())
        return _text(request, 200, "ready") if why is None else _text(request, 503, why)

    @app.route("/metrics", methods=["GET"])
    async def metrics(self, request: Request) -> bytes:
        if not self._is_metrics_open:
            self._doorman.viewer(request)
        request.setHeader(b"Content-Type", CONTENT_TYPE.encode("ascii"))
        return sized(request, self._report.metrics(await self._figures()))

    # Sessions

    @app.route("/api/v1/session", methods=["GET"])
    def session(self, request: Request) -> bytes:
        return self._session(request, self._doorman.see(request))

    @app.route("/api/v1/session", methods=["POST"])
    async def begin_session(self, request: Request) -> bytes:
        self._doorman.check_site(request)
        visit = self._doorman.see(request)
        if visit is not None and visit.session is not None and request.getHeader(b"X-CSRF-Token") is None:
            visit = None  # a sign-in needs none; what builds on an older one does
        elif visit is not None:
            self._doorman.check_page(request, visit.session)
        entered = await self._sign_in.enter(request, visit)
        old = self._doorman.cookie(request)
        if old is not None:
            # Other tabs share the cookie. They ask who they are when they hear of the end: by then the answer with the
            # new one must be on its way.
            tell_end = self._sessions.take_out(old)
            request.notifyFinish().addBoth(lambda _: tell_end())
        id, session = self._sessions.open(entered.identity)
        if entered.left is not None:
            session.ended.append(entered.left)
        self._doorman.welcome(request, id, entered.identity)
        more = {} if entered.secret is None else {"token": entered.secret}
        return self._session(request, Visit(entered.identity, session), more)

    @app.route("/api/v1/session", methods=["DELETE"])
    def end_session(self, request: Request) -> bytes:
        visit = self._doorman.see(request)
        if visit is not None:
            self._doorman.check_page(request, visit.session)
        id = self._doorman.cookie(request)
        if id is not None:
            self._sessions.close(id)
            self._doorman.drop_cookie(request)
        request.setResponseCode(204)
        return b""

    def _session(self, request: Request, visit: Visit | None, more: dict[str, Any] | None = None) -> bytes:
        identity = None if visit is None else visit.identity
        session = None if visit is None else visit.session
        return _json(
            request,
            {
                "signed_in": identity is not None,
                "name": None if identity is None else identity.name,
                "role": None if identity is None else identity.rights.value,
                "csrf": None if session is None else session.csrf,
                "expires_at": None if session is None else session.expires_at,
                "idle_seconds": self._sessions.idle_seconds,
                "app": self._about.app,
                "port": None if identity is None else identity.port,
                "sign_in": self._sign_in.ways(),
                **(more or {}),
            },
        )

    # Reading

    @app.route("/api/v1/status", methods=["GET"])
    async def status(self, request: Request) -> bytes:
        self._doorman.viewer(request)
        figures = await self._figures()
        await self._feed.look_at_history()
        state = self._feed.state(figures)
        request.setHeader(b"ETag", f'"{state["revision"]}"'.encode("ascii"))
        return _json(request, {**state, "counts": figures.counts.totals()})

    @app.route("/api/v1/versions", methods=["GET"])
    async def versions(self, request: Request) -> bytes:
        visit = self._doorman.viewer(request)
        control = visit.identity.control or self._control
        try:
            choices = await control.versions()
        except StoreLost as lost:
            raise Problem(503, "store-lost", str(lost)) from None
        return _json(request, {"versions": [choice_value(one, self._state().snapshot) for one in choices]})

    @app.route("/api/v1/history", methods=["GET"])
    async def history(self, request: Request) -> bytes:
        self._doorman.viewer(request)
        try:
            entries = await self._control.last(_limit(request))
        except SettingError as wrong:
            raise Problem(500, "history-unreadable", str(wrong)) from None
        return _json(request, {"history": [entry_json(one) for one in entries]})

    @app.route("/api/v1/events", methods=["GET"])
    async def events(self, request: Request) -> None:
        visit = self._doorman.viewer(request)
        if request.method == b"HEAD":
            request.setHeader(b"Content-Type", b"text/event-stream; charset=utf-8")
            return
        last = request.getHeader(b"Last-Event-ID")
        await self._feed.listen(request, visit, None if last is None else last.decode("latin-1"))

    # Writing

    @app.route("/api/v1/settings", methods=["PUT"])
    async def set_up(self, request: Request) -> bytes:
        return await self._write(request, "setup")

    @app.route("/api/v1/settings/stable", methods=["PUT"])
    async def set_stable(self, request: Request) -> bytes:
        return await self._write(request, "stable")

    @app.route("/api/v1/settings/candidate", methods=["PUT"])
    async def set_candidate(self, request: Request) -> bytes:
        return await self._write(request, "candidate")

    @app.route("/api/v1/settings/blend", methods=["PUT"])
    async def set_blend(self, request: Request) -> bytes:
        return await self._write(request, "blend")

    @app.route("/api/v1/settings/stickiness", methods=["PUT"])
    async def set_stickiness(self, request: Request) -> bytes:
        return await self._write(request, "stickiness")

    @app.route("/api/v1/promote", methods=["POST"])
    async def promote(self, request: Request) -> bytes:
        return await self._write(request, "promote")

    @app.route("/api/v1/rollback", methods=["POST"])
    async def roll_back(self, request: Request) -> bytes:
        return await self._write(request, "rollback")

    @app.route("/api/v1/undo", methods=["POST"])
    async def undo(self, request: Request) -> bytes:
        return await self._write(request, "undo")

    async def _write(self, request: Request, kind: str) -> bytes:
        visit = self._doorman.operator(request)
        wish = read_wish(request, kind, visit.identity.port)
        control = visit.identity.control or self._control
        told = await self._writes.carry_out(control, wish, visit.identity.name, read_revision(request))
        request.setHeader(b"ETag", f'"{told["revision"]}"'.encode("ascii"))
        return _json(request, told)

    # The page

    @app.route("/api/v1/openapi.json", methods=["GET"])
    def openapi(self, request: Request) -> bytes:
        return self._file(request, "openapi.json", is_own=True)

    @app.route("/", methods=["GET"])
    def index(self, request: Request) -> bytes:
        return self._file(request, "index.html")

    @app.route("/<path:name>", methods=["GET"])
    def file(self, request: Request, name: str) -> bytes:
        return self._file(request, name)

    def _file(self, request: Request, name: str, is_own: bool = False) -> bytes:
        """:param is_own: the path is this file's own route."""
        if not is_own and self._allowed(
            request
        ):  # this route takes any path; where the path has routes of its own, it is the method
            raise self._other_method(request)
        body = None if name.startswith("api/") else self._files.answer(request, name)
        if body is None:
            raise Problem(404, "not-found", f"there is nothing at {request.path.decode('latin-1')[:200]}")
        return body

    def _allowed(self, request: Request) -> set[str]:
        """The methods of a path's own routes below ``/api/``."""
        path = request.path.decode("latin-1")
        if not path.startswith("/api/"):
            return set()
        return {method for rule in self.app.url_map.iter_rules() if rule.rule == path for method in rule.methods or ()}

    def _other_method(self, request: Request) -> Problem:
        allowed = ", ".join(sorted(self._allowed(request) or {"GET", "HEAD"}))
        method, path = request.method.decode("latin-1")[:20], request.path.decode("latin-1")[:200]
        return Problem(405, "method-not-allowed", f"{path} takes {allowed}, not {method}", headers={"Allow": allowed})

    # What goes wrong

    @app.handle_errors(Problem)  # type: ignore[arg-type]  # klein's stubs know no answer of bytes
    def refuse(self, request: Request, failure: Failure) -> bytes:
        problem = failure.value
        assert isinstance(problem, Problem)
        return problem.answer(request)

    @app.handle_errors(HTTPException)  # type: ignore[arg-type]  # likewise
    def not_routed(self, request: Request, failure: Failure) -> bytes:
        """What the router of routes says: 404 and 405."""
        code = getattr(failure.value, "code", None)
        where = request.path.decode("latin-1")[:200]
        if code == 405:
            return self._other_method(request).answer(request)
        return Problem(404, "not-found", f"there is nothing at {where}").answer(request)

    @app.handle_errors(Exception)  # type: ignore[arg-type]  # likewise
    def mistake(self, request: Request, failure: Failure) -> bytes:
        if failure.check(CancelledError):  # the client has left
            return b""
        _log.failure("{method} {path} failed", failure, method=request.method, path=request.path)
        return Problem(500, "mistake", "the router made a mistake; its log has more").answer(request)


def _limit(request: Request) -> int:
    text = (request.args or {}).get(b"limit", [b"50"])[-1]
    if not text.isdigit() or len(text) > 4 or not 1 <= int(text) <= MOST_HISTORY:
        detail = f"limit is {text[:20].decode('latin-1')!r}; it must be a whole number from 1 to {MOST_HISTORY}"
        raise Problem(422, "bad-field", detail, {"field": "limit"})
    return int(text)


def _json(request: Request, value: Any) -> bytes:
    request.setHeader(b"Content-Type", b"application/json")
    return sized(request, as_json(value))


def _text(request: Request, status: int, text: str) -> bytes:
    request.setResponseCode(status)
    request.setHeader(b"Content-Type", b"text/plain; charset=utf-8")
    return sized(request, text.encode("utf-8") + b"\n")
