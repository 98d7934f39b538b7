"""admin.files: the settings page's files, as they lie in `rolling_router_web`. Served by `api`."""

from __future__ import annotations

import hashlib
from importlib.resources import files
from pathlib import Path
from typing import Any

import attrs

from rolling_router.admin.problems import sized

TYPES = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".mjs": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".json": "application/json",
    ".svg": "image/svg+xml",
    ".png": "image/png",
    ".ico": "image/x-icon",
    ".webmanifest": "application/manifest+json",
    ".woff2": "font/woff2",
    ".txt": "text/plain; charset=utf-8",
}


@attrs.frozen
class File:
    content: bytes
    content_type: str
    etag: str


class Files:
    """Knows its files by a walk at the start; a path is looked up among them, and never opened as it came."""

    def __init__(self, root: Path | None = None) -> None:
        root = Path(str(files("rolling_router_web"))) if root is None else root
        found = sorted(path for path in root.rglob("*") if path.suffix in TYPES and path.is_file())
        self._paths = {path.relative_to(root).as_posix(): path for path in found}
        self._read: dict[str, tuple[int, File]] = {}

    def names(self) -> list[str]:
        return list(self._paths)

    def find(self, name: str) -> File | None:
        """:returns: the file as it lies now; ``None`` when there is none of that name."""
        path = self._paths.get(name)
        if path is None:
            return None
        try:
            changed = path.stat().st_mtime_ns
            known = self._read.get(name)
            if known is None or known[0] != changed:
                content = path.read_bytes()
                etag = f'"{hashlib.sha256(content).hexdigest()[:16]}"'
                known = self._read[name] = changed, File(content, TYPES[path.suffix], etag)
        except OSError:
            return None
        return known[1]

    def answer(self, request: Any, name: str) -> bytes | None:
        """The body for a GET of a file; ``None`` when there is none of that name."""
        file = self.find(name)
        if file is None:
            return None
        request.setHeader(b"Content-Type", file.content_type)
        request.setHeader(b"Cache-Control", b"no-cache")
        if request.setETag(file.etag.encode("ascii")) is not None:  # twisted's word for: the browser has it
            return b""
        return sized(request, file.content)
