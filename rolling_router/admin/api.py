"""admin.api: the settings port's routes. Shapes only; what they show is made in `observe.report`."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from klein import Klein
from twisted.internet.defer import Deferred
from twisted.web.http import Request
from twisted.web.resource import IResource

from rolling_router.observe.figures import Figures
from rolling_router.observe.metrics import CONTENT_TYPE
from rolling_router.observe.report import Report

_INDEX = b"""<!doctype html><meta charset="utf-8"><title>The rolling router</title>
<h1>The rolling router</h1>
<ul><li><a href="api/v1/status">Status</a>: the snapshot in force, its age, its problems, counts by version
<li><a href="metrics">Metrics</a> for Prometheus
<li><a href="healthz">healthz</a>, <a href="readyz">readyz</a>: for whoever starts and stops processes</ul>
"""


class Api:
    """What the settings port answers."""

    app = Klein()

    def __init__(self, report: Report, figures: Callable[[], Deferred[Figures]]) -> None:
        """:param figures: gives what is known of the traffic now; never fails."""
        self._report = report
        self._figures = figures

    def resource(self) -> IResource:
        return self.app.resource()

    @app.route("/", methods=["GET"])
    def index(self, request: Request) -> bytes:
        """For the person who opens the port in a browser."""
        _set_type(request, "text/html; charset=utf-8")
        return _INDEX

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
        _set_type(request, CONTENT_TYPE)
        return self._report.metrics(await self._figures())

    @app.route("/api/v1/status", methods=["GET"])
    async def status(self, request: Request) -> bytes:
        _set_type(request, "application/json")
        return _json(self._report.status(await self._figures()))


def _json(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False, indent=2).encode("utf-8") + b"\n"


def _text(request: Request, status: int, text: str) -> bytes:
    request.setResponseCode(status)
    _set_type(request, "text/plain; charset=utf-8")
    return text.encode("utf-8") + b"\n"


def _set_type(request: Request, content_type: str) -> None:
    for name, value in (
        (b"Content-Type", content_type.encode("ascii")),
        (b"Cache-Control", b"no-store"),
        (b"X-Content-Type-Options", b"nosniff"),
    ):
        request.setHeader(name, value)
