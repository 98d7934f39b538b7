"""Debian's nginx as an instance: somebody else's idea of HTTP/1.1."""

from __future__ import annotations

import shutil
import socket
import subprocess
from pathlib import Path

import attrs

from tests.ports import free_port

from .router import until

# Where Debian puts it, which is not on everybody's path.
NGINX = shutil.which("nginx") or "/usr/sbin/nginx"

_AROUND = """
daemon off;
master_process off;
pid {directory}/nginx.pid;
error_log {directory}/error.log;
events {{ worker_connections 256; }}
http {{
    access_log off;
    client_body_temp_path {directory}/body;
    proxy_temp_path {directory}/proxy;
    fastcgi_temp_path {directory}/fastcgi;
    uwsgi_temp_path {directory}/uwsgi;
    scgi_temp_path {directory}/scgi;
    {http}
}}
"""
_INSTANCE = """
    default_type text/plain;
    keepalive_requests {kept_requests};
    client_max_body_size 100m;
    server {{
        listen 127.0.0.1:{port};
        root {directory}/www;
        add_header X-Version {version} always;
        location /hello {{ return 200 "hello from {version}\\n"; }}
        location /upload/ {{ dav_methods PUT DELETE; create_full_put_path on; }}
        location /packed {{ gzip on; gzip_min_length 1; gzip_types text/plain; }}
        location /moved {{ return 301 /hello; }}
        location /slow {{ limit_rate 2m; }}
    }}
"""


def start_nginx(directory: Path, port: int, http: str) -> subprocess.Popen[bytes]:
    """
    Start an nginx, and wait until it listens.

    :param directory: for its configuration and its log.    :param http: what is configured within ``http``.
    """
    configuration, log = directory / "nginx.conf", directory / "error.log"
    configuration.write_text(_AROUND.format(directory=directory, http=http))
    process = subprocess.Popen(
        [NGINX, "-p", str(directory), "-c", str(configuration), "-e", str(log)], stdin=subprocess.DEVNULL
    )

    def listens() -> bool:
        assert process.poll() is None, log.read_text()
        with socket.socket() as knocking:
            return knocking.connect_ex(("127.0.0.1", port)) == 0

    try:
        until(listens, what="nginx listens")
    except AssertionError:
        process.kill()
        process.wait()
        raise
    return process


@attrs.define(eq=False)
class Nginx:
    """One nginx, with a directory of files that it serves."""

    directory: Path
    version: str = "1.0"
    name: str = "nginx"
    kept_requests: int = 1000
    port: int = attrs.field(init=False, factory=free_port)
    process: subprocess.Popen[bytes] = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self.files.mkdir()
        names = {"directory": self.directory, "port": self.port, "version": self.version}
        http = _INSTANCE.format(kept_requests=self.kept_requests, **names)
        self.process = start_nginx(self.directory, self.port, http)

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def files(self) -> Path:
        return self.directory / "www"

    def stop(self) -> None:
        self.process.terminate()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
