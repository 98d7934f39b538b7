"""
admin.site: the settings port's HTTP: how large a request may be, and what every answer says. Made by `port`.

Never knows a route.
"""

from __future__ import annotations

import io
from typing import Any

from twisted.web.resource import IResource, Resource
from twisted.web.server import Request, Site

from rolling_router.admin.origins import Origins
from rolling_router.admin.problems import Problem

MOST_BYTES = 64 * 1024
DISCARD_BYTES = 64 * 1024 * 1024
"""A body that is too large is read to its end, and forgotten as it comes, so that its sender sees the refusal; one that
is larger than this is cut."""

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; font-src 'self'; connect-src 'self'; "
    "manifest-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)

_FIELDS = {
    b"Content-Security-Policy": POLICY.encode("ascii"),
    b"X-Frame-Options": b"DENY",
    b"X-Content-Type-Options": b"nosniff",
    b"Referrer-Policy": b"no-referrer",
    b"Cross-Origin-Opener-Policy": b"same-origin",
    b"Cross-Origin-Resource-Policy": b"same-origin",
    b"Cache-Control": b"no-store",
    b"Server": b"rolling-router",
}

OPEN_PATHS = (b"/healthz", b"/readyz")
"""Probes come by any name, and learn nothing."""


class AdminRequest(Request):
    """A request whose body never takes more memory than `MOST_BYTES`."""

    is_too_large = False
    _seen = 0

    def gotLength(self, length: int | None) -> None:
        super().gotLength(length if length is None else min(length, MOST_BYTES))

    def handleContentChunk(self, data: bytes) -> None:
        self._seen += len(data)
        if self._seen > MOST_BYTES:
            self.is_too_large = True
            self.content = io.BytesIO()
            if self._seen > DISCARD_BYTES:
                self.channel.forceAbortClient()
        else:
            super().handleContentChunk(data)


class AdminSite(Site):
    """Does not log each request: they are probes and scrapes, and their lines would bury the rest."""

    noisy = False
    displayTracebacks = False
    requestFactory = AdminRequest

    def __init__(self, inner: IResource, origins: Origins) -> None:
        super().__init__(Guard(inner, origins), requestFactory=AdminRequest)

    def log(self, request: Any) -> None:
        """Nothing."""


class Guard(Resource):
    """Stands before all routes: the fields that each answer has, and the requests that no route is to see."""

    isLeaf = True

    def __init__(self, inner: IResource, origins: Origins) -> None:
        super().__init__()
        self._inner = inner
        self._origins = origins

    def render(self, request: Any) -> Any:
        for name, value in _FIELDS.items():
            request.setHeader(name, value)
        try:
            self._check(request)
        except Problem as problem:
            return problem.answer(request)
        return self._inner.render(request)

    def _check(self, request: Any) -> None:
        if getattr(request, "is_too_large", False):
            request.setHeader(b"Connection", b"close")
            raise Problem(413, "too-large", f"the body is longer than {MOST_BYTES} bytes, which no request here needs")
        try:
            request.path.decode("ascii")
            b"".join(request.postpath).decode("utf-8")
            request.method.decode("ascii")
        except UnicodeDecodeError:
            raise Problem(400, "bad-request", "the method or the address is no readable text") from None
        hosts = request.requestHeaders.getRawHeaders(b"host") or [b""]
        if len(hosts) > 1:  # RFC 9112, section 3.2; what stands before us may have looked at the other one
            raise Problem(400, "bad-request", "there is more than one Host")
        host = hosts[0].decode("latin-1")
        local = getattr(request.getHost(), "host", "")
        if request.path not in OPEN_PATHS and not self._origins.knows(host, local):
            raise Problem(
                421,
                "wrong-host",
                f"asked as {host[:200]!r}, which is no name of this machine; if it is, say so by --admin-origin",
            )
