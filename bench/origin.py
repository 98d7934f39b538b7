"""bench.origin: the one instance behind every proxy, an nginx, and the proof that a proxy passes it on unharmed."""

from __future__ import annotations

import http.client
import os
from pathlib import Path

from bench.running import Trouble

PAGE = b"Hello, world. " * 14
_FILES = {"64k": 64 * 1024, "10m": 10 * 1024 * 1024}
_ACCEPTED = b"accepted"

_CONFIG = """\
{user}
worker_processes 1;
pid origin.pid;
error_log error.log;
events {{ worker_connections 20000; }}
http {{
    access_log off;
    client_body_temp_path body; proxy_temp_path proxy; fastcgi_temp_path fastcgi;
    uwsgi_temp_path uwsgi; scgi_temp_path scgi;
    sendfile on;
    tcp_nopush on;
    keepalive_timeout 300;
    keepalive_requests 1000000000;
    client_body_buffer_size 128k;
    server {{
        listen 127.0.0.1:{port} backlog=4096;
        root {directory};
        location = / {{ return 200 "{page}"; }}
        # "return" would answer before the body is read, a special case for a proxy; "mirror" reads it first.
        location = /post {{ mirror /read; error_page 405 =200 @accepted; }}
        location = /read {{ internal; return 204; }}
        location @accepted {{ return 200 "{accepted}"; }}
    }}
}}
"""


def prepare(directory: Path, port: int) -> list[str]:
    """Write what the origin serves, and its configuration. :returns: the command line."""
    for name, length in _FILES.items():
        (directory / name).write_bytes(_content(length))
    (directory / "post").touch()
    config = _CONFIG.format(
        user=nginx_user(), port=port, directory=directory, page=PAGE.decode(), accepted=_ACCEPTED.decode()
    )
    (directory / "nginx.conf").write_text(config, encoding="utf-8")
    return nginx_argv(directory)


def nginx_argv(directory: Path) -> list[str]:
    """How any nginx here is started, everything of it in one directory."""
    return ["nginx", "-e", "stderr", "-p", str(directory), "-c", "nginx.conf", "-g", "daemon off;"]


def nginx_user() -> str:
    """Started by root, nginx would serve as a user who cannot read a temporary directory of root's."""
    return "user root;" if os.geteuid() == 0 else ""


def verify(port: int) -> dict[str, str]:
    """
    Ask for everything once, and compare.

    :returns: the headers of the answer to a GET, names in lower case.
    :raises Trouble: an answer differs from what the origin sends.
    """
    asking = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    try:
        headers = _expect(asking, "GET", "/", PAGE)
        for name, length in _FILES.items():
            _expect(asking, "GET", f"/{name}", _content(length))
        _expect(asking, "POST", "/post", _ACCEPTED, body=b"x" * 16384)
    except (OSError, http.client.HTTPException) as wrong:
        raise Trouble(f"it does not answer properly: {wrong!r}") from wrong
    finally:
        asking.close()
    return headers


def _expect(
    asking: http.client.HTTPConnection, method: str, path: str, content: bytes, body: bytes | None = None
) -> dict[str, str]:
    asking.request(method, path, body=body)
    answer = asking.getresponse()
    if (answer.status, answer.read()) != (200, content):
        raise Trouble(f"{method} {path} gives another answer than the origin's, with status {answer.status}")
    return {name.lower(): value for name, value in answer.getheaders()}


def _content(length: int) -> bytes:
    return b"".join(b"%015d\n" % line for line in range(length // 16))
