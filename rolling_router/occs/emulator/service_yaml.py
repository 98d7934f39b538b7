"""occs.emulator.service_yaml: a deployment's YAML -> the services in it, or what is wrong with it. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qs, urlsplit

import attrs

_PORT = re.compile(r"(?:(?P<host>\d{1,5}):)?(?P<container>\d{1,5})(?:/(?P<protocol>tcp|udp))?")
_HEALTH = "OCCS_HEALTHCHECK_HTTP"
_SECONDS = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m)?")
_UNITS = {"ms": 0.001, "s": 1.0, None: 1.0, "m": 60.0}


class BadYaml(ValueError):
    """The text cannot be meant; the message says where and why."""


@attrs.frozen
class Published:
    """
    One entry of `ports`.

    :ivar host: the port of the machine that was written; ``None``: any free one.
    """

    container: int
    host: int | None = None
    protocol: str = "tcp"


@attrs.frozen
class HealthCheck:
    """``http://:PORT/PATH?timeout=10s&interval=30s``, PORT being the container's."""

    port: int
    path: str
    timeout_seconds: float = 10.0
    interval_seconds: float = 30.0


@attrs.frozen
class ServiceSpec:
    """
    One service.

    :ivar environment: name to value, templates not expanded; what is for the platform itself is left out.
    :ivar command: as written, or the empty text.
    """

    name: str
    image: str
    command: str
    ports: tuple[Published, ...]
    environment: Mapping[str, str]
    health: HealthCheck | None


def parse(content: str) -> dict[str, ServiceSpec]:
    """
    :returns: the services by name, in their order.
    :raises BadYaml: it is none of version 2, or a part of it cannot be meant.
    """
    import yaml  # here, so that whatever needs none of it runs without the extra

    try:
        # BaseLoader makes texts, lists and maps and nothing else: no objects, and no `8080:22` taken for base 60.
        read: Any = yaml.load(content, Loader=yaml.BaseLoader)
    except yaml.YAMLError as wrong:
        raise BadYaml(f"the content is no YAML: {' '.join(str(wrong).split())}") from None
    except RecursionError:
        raise BadYaml("the content is no YAML: it is too deep") from None
    if not isinstance(read, dict) or read.get("version") != "2":
        raise BadYaml("the content must be a map with 'version: 2'")
    services = read.get("services")
    if not isinstance(services, dict) or not services:
        raise BadYaml("'services' must be a map of at least one service")
    return {str(name): _service(str(name), spec) for name, spec in services.items()}


def _service(name: str, spec: Any) -> ServiceSpec:
    if not isinstance(spec, dict) or not isinstance(spec.get("image"), str) or not spec["image"]:
        raise BadYaml(f"the service {name!r} has no 'image'")
    command = spec.get("command") or ""
    if isinstance(command, list):
        command = " ".join(map(str, command))
    environment = _environment(name, spec.get("environment") or [])
    check = environment.get(_HEALTH)
    ports = tuple(_published(name, text) for text in _list(name, "ports", spec.get("ports") or []))
    return ServiceSpec(
        name,
        spec["image"],
        str(command),
        ports,
        {key: text for key, text in environment.items() if not key.lower().startswith(("occs:", "constraint:"))},
        None if check is None else _health(name, check, ports),
    )


def _list(name: str, field: str, value: Any) -> list[str]:
    if not isinstance(value, list) or not all(isinstance(one, str) for one in value):
        raise BadYaml(f"'{field}' of the service {name!r} must be a list of texts")
    return value


def _environment(name: str, value: Any) -> dict[str, str]:
    if isinstance(value, dict):
        return {str(key): str(text) for key, text in value.items()}
    pairs = (text.partition("=") for text in _list(name, "environment", value))
    return {key.strip(): text for key, _, text in pairs}


def _published(name: str, text: str) -> Published:
    found = _PORT.fullmatch(text.strip())
    host = int(found["host"]) if found and found["host"] else None
    if found is None or not 0 < int(found["container"]) < 65536 or (host is not None and not 0 < host < 65536):
        raise BadYaml(f"{text!r} is no port of the service {name!r}; write CONTAINER/tcp or HOST:CONTAINER/tcp")
    return Published(int(found["container"]), host, found["protocol"] or "tcp")


def _health(name: str, text: str, ports: tuple[Published, ...]) -> HealthCheck:
    try:
        url = urlsplit(text)
        port = url.port or 80
        options = {key: _seconds(values[-1]) for key, values in parse_qs(url.query).items()}
    except ValueError as wrong:
        raise BadYaml(f"{_HEALTH} of the service {name!r} is {text!r}: {wrong}") from None
    if url.scheme != "http" or port not in {one.container for one in ports}:
        raise BadYaml(
            f"{_HEALTH} of the service {name!r} is {text!r}; it must be http://:PORT/PATH, PORT one of 'ports'"
        )
    return HealthCheck(port, url.path or "/", options.get("timeout", 10.0), options.get("interval", 30.0))


def _seconds(text: str) -> float:
    found = _SECONDS.fullmatch(text)
    if found is None or not float(found[1]):
        raise ValueError(f"{text!r} is no time such as 10s")
    return float(found[1]) * _UNITS[found[2]]
