"""Debian's nginx as an instance: somebody else's idea of HTTP/1.1."""

from __future__ import annotations

import shutil
import socket
import subprocess
from pathlib import Path

import attrs

from .router import free_port, until

# Where Debian puts it, which is not on everybody's path.
_NGINX = shutil.which("nginx") or "/usr/sbin/nginx"

_CONFIGURATION = """
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
}}
"""


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
        configuration = self.directory / "nginx.conf"
        names = {"directory": self.directory, "port": self.port, "version": self.version}
        configuration.write_text(_CONFIGURATION.format(kept_requests=self.kept_requests, **names))
        self.process = subprocess.Popen(
            [_NGINX, "-p", str(self.directory), "-c", str(configuration), "-e", str(self.directory / "error.log")],
            stdin=subprocess.DEVNULL,
        )
        until(self._listens, what="nginx listens")

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

    def _listens(self) -> bool:
        assert self.process.poll() is None, (self.directory / "error.log").read_text()
        with socket.socket() as knocking:
            return knocking.connect_ex(("127.0.0.1", self.port)) == 0
