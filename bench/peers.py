"""
bench.peers: the proxies that are compared, each as its configuration and its command line.

All have access logs off, one thread or process that works, and limits that 10,000 clients fit into; what is not said
here is the program's own default.
"""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from importlib.metadata import version as installed_version
from importlib.util import find_spec
from pathlib import Path

import attrs

from bench.origin import nginx_argv, nginx_user
from bench.running import Trouble, free_port

OURS = "ours"


@attrs.frozen
class Place:
    """Where one start of a peer happens: a directory of its own, the port to listen on, the port of the origin."""

    directory: Path
    port: int
    origin: int


@attrs.frozen
class Peer:
    """
    A proxy to measure.

    :ivar prepare: writes the configuration and returns the command line.
    :ivar version: the command line that tells its version, or a function that does.
    """

    name: str
    what: str
    prepare: Callable[[Place], list[str]]
    version: tuple[str, ...] | Callable[[], str]


def ours(place: Place) -> list[str]:
    """The router as an operator starts it, both versions at the origin."""
    twistd = ["twistd", "-n", "--pidfile=", "--logger=bench.quiet.errors_only"]
    listen = ["--listen", f"tcp:{place.port}:interface=127.0.0.1"]
    admin = ["--admin", f"tcp:{free_port()}:interface=127.0.0.1"]
    # By itself it takes half as many clients as there may be descriptors, so that each can have an instance.
    state = ["--state-dir", str(place.directory / "state"), "--connections-most", "12000"]
    return [*twistd, "rolling-router", "--app", "bench", "--store", f"file:{_store(place)}", *listen, *admin, *state]


def ours_by(command: str) -> Callable[[Place], list[str]]:
    """
    The router by a command of the caller's.

    :param command: with ``{port}``, ``{admin}``, ``{origin}``, ``{store}`` and ``{state}`` where those belong.
    """

    def prepare(place: Place) -> list[str]:
        text = command.format(
            port=place.port,
            admin=free_port(),
            origin=place.origin,
            store=_store(place),
            state=place.directory / "state",
        )
        return shlex.split(text)

    return prepare


def _store(place: Place) -> Path:
    keys = {"rolling/null": "-", "rolling/bench/blendpercent": "50", "rolling/bench/stickyness": "1"}
    for role, version in (("stable", "bench-1.0.0"), ("candidate", "bench-1.0.1")):
        containers = f"apps/app-{version}-80/containers"
        keys[f"rolling/bench/{role}/id"] = containers
        keys[f"{containers}/one"] = f"127.0.0.1:{place.origin}"
    file = place.directory / "rollout.json"
    file.write_text(json.dumps(keys, indent=2), encoding="utf-8")
    return file


_NGINX = """\
{user}
worker_processes 1;
pid proxy.pid;
error_log error.log;
events {{ worker_connections 20000; }}
http {{
    access_log off;
    client_body_temp_path body; proxy_temp_path proxy; fastcgi_temp_path fastcgi;
    uwsgi_temp_path uwsgi; scgi_temp_path scgi;
    keepalive_requests 1000000000;
    upstream rollingservices {{ least_conn; server 127.0.0.1:{origin}; {keepalive} }}
    server {{
        listen 127.0.0.1:{port} backlog=4096;
        location / {{ proxy_pass http://rollingservices; {settings} }}
    }}
}}
"""


def nginx_original(place: Place) -> list[str]:
    """As in the image that this router replaces: HTTP/1.0 to the instance, a connection for every request."""
    return _nginx(place, keepalive="", settings="")


def nginx(place: Place) -> list[str]:
    """As one would set it up: HTTP/1.1 to the instance, connections kept."""
    # A body that nginx spools to a file is sent in two pieces, and on a kept connection the second waits 40 ms for the
    # first one's acknowledgement; so more than the default 16 KiB is kept in memory.
    settings = (
        'client_body_buffer_size 128k; proxy_http_version 1.1; proxy_set_header Connection ""; '
        "proxy_set_header Host $http_host; proxy_set_header X-Forwarded-Proto $scheme; "
        "proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;"
    )
    return _nginx(place, keepalive="keepalive 256; keepalive_requests 1000000000;", settings=settings)


def _nginx(place: Place, keepalive: str, settings: str) -> list[str]:
    config = _NGINX.format(
        user=nginx_user(), origin=place.origin, port=place.port, keepalive=keepalive, settings=settings
    )
    (place.directory / "nginx.conf").write_text(config, encoding="utf-8")
    return nginx_argv(place.directory)


# "no strict-limits": HAProxy wants two descriptors for each client, and here most clients only sit there.
_HAPROXY = """\
global
    nbthread 1
    maxconn 12000
    no strict-limits
defaults
    mode http
    option forwardfor
    http-reuse always
    timeout connect 5s
    timeout client 75s
    timeout server 60s
frontend proxy
    bind 127.0.0.1:{port} backlog 4096
    default_backend instances
backend instances
    server one 127.0.0.1:{origin}
"""


def haproxy(place: Place) -> list[str]:
    file = place.directory / "haproxy.cfg"
    file.write_text(_HAPROXY.format(port=place.port, origin=place.origin), encoding="utf-8")
    return ["haproxy", "-db", "-q", "-f", str(file)]


_CADDY = """\
{{
    admin off
    auto_https off
    persist_config off
    log {{
        level ERROR
    }}
}}
http://:{port} {{
    bind 127.0.0.1
    reverse_proxy 127.0.0.1:{origin} {{
        transport http {{
            keepalive_idle_conns_per_host 256
        }}
    }}
}}
"""


def caddy(place: Place) -> list[str]:
    file = place.directory / "Caddyfile"
    file.write_text(_CADDY.format(port=place.port, origin=place.origin), encoding="utf-8")
    return ["caddy", "run", "--config", str(file), "--adapter", "caddyfile"]


def envoy(place: Place) -> list[str]:
    file = place.directory / "envoy.json"
    file.write_text(json.dumps(_envoy_config(place), indent=2), encoding="utf-8")
    return ["envoy", "-c", str(file), "--concurrency", "1", "--disable-hot-restart", "--log-level", "error"]


def _envoy_config(place: Place) -> dict:
    def address(port: int) -> dict:
        return {"socket_address": {"address": "127.0.0.1", "port_value": port}}

    types = "type.googleapis.com/envoy.extensions.filters"
    endpoint = {"endpoint": {"address": address(place.origin)}}
    manager = {
        "@type": f"{types}.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "proxy",
        "use_remote_address": True,  # appends the client to X-Forwarded-For, as the others do
        "http_filters": [
            {"name": "router", "typed_config": {"@type": f"{types}.http.router.v3.Router"}},
        ],
        "route_config": {
            "virtual_hosts": [
                {
                    "name": "all",
                    "domains": ["*"],
                    "routes": [{"match": {"prefix": "/"}, "route": {"cluster": "instances"}}],
                }
            ]
        },
    }
    listener = {
        "address": address(place.port),
        "filter_chains": [{"filters": [{"name": "http", "typed_config": manager}]}],
    }
    cluster = {
        "name": "instances",
        "type": "STATIC",
        "connect_timeout": "5s",
        "load_assignment": {"cluster_name": "instances", "endpoints": [{"lb_endpoints": [endpoint]}]},
    }
    return {"static_resources": {"listeners": [listener], "clusters": [cluster]}}


def twisted_web(place: Place) -> list[str]:
    return [sys.executable, "-m", "bench.reverse_proxy", str(place.port), str(place.origin)]


def our_version() -> str:
    """The router's version, and whether its engine is machine code."""
    engine = find_spec("rolling_router.proxy.reader")
    is_compiled = engine is not None and not str(engine.origin).endswith(".py")
    return f"{installed_version('rolling-router')}, {'compiled' if is_compiled else 'plain Python'}"


PEERS = (
    Peer(OURS, "this router, blend 50, sticky by cookie", ours, our_version),
    Peer("nginx-original", "nginx as the original image had it: no kept upstream", nginx_original, ("nginx", "-v")),
    Peer("nginx", "nginx with kept upstream connections", nginx, ("nginx", "-v")),
    Peer("haproxy", "HAProxy, one thread", haproxy, ("haproxy", "-v")),
    Peer("caddy", "Caddy", caddy, ("caddy", "version")),
    Peer("envoy", "Envoy, one worker", envoy, ("envoy", "--version")),
    Peer("twisted-web", "twisted.web.proxy.ReverseProxyResource", twisted_web, lambda: installed_version("Twisted")),
)


def environ(directory: Path) -> Mapping[str, str]:
    """What every peer sees: programs of this venv and of Debian's sbin, and a home to write to that is thrown away."""
    return {
        "PATH": search_path(),
        "HOME": str(directory),
        "XDG_DATA_HOME": str(directory),
        "XDG_CONFIG_HOME": str(directory),
    }


def search_path() -> str:
    return os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath), "/usr/sbin"])


def find_program(name: str) -> str:
    """
    Where a program is.

    :raises Trouble: it is not installed.
    """
    found = shutil.which(name, path=search_path())
    if found is None:
        raise Trouble(f"{name} is not installed")
    return found


def version_of(peer: Peer) -> str:
    """
    Its version, on one line.

    :raises Trouble: it is not installed.
    """
    if callable(peer.version):
        return peer.version()
    name, *options = peer.version
    program = find_program(name)
    done = subprocess.run([program, *options], capture_output=True, text=True, timeout=30, check=False)
    said = (done.stdout + done.stderr).strip() or "unknown"
    return said.splitlines()[0].replace(program, name)
