"""occs.emulator.templates: `{{function argument ...}}` in a service's texts. Pure."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Mapping

from rolling_router.occs.emulator.service_yaml import BadYaml, ServiceSpec

_EXPRESSION = re.compile(r"\{\{(.*?)\}\}", re.DOTALL)

Function = Callable[..., str]


def expand(text: str, functions: Mapping[str, Function]) -> str:
    """
    The text with each expression replaced by what its function gives.

    :raises BadYaml: there is no such function, or it does not take these arguments.
    """

    def replaced(found: re.Match[str]) -> str:
        try:
            name, *arguments = shlex.split(found[1])
        except ValueError:
            raise BadYaml(f"{found[0]!r} is no template expression") from None
        if name not in functions:
            raise BadYaml(f"there is no template function {name!r}; there are: {', '.join(functions)}")
        try:
            return functions[name](*arguments)
        except (TypeError, ValueError) as wrong:
            raise BadYaml(f"{found[0]!r} cannot be expanded: {wrong}") from None

    return _EXPRESSION.sub(replaced, text)


def functions_for(
    deployment_id: str, services: Mapping[str, ServiceSpec], token: str, address: str, published: Callable[[int], int]
) -> dict[str, Function]:
    """
    What can be called in the texts of one deployment.

    :param token: the deploying user's bearer.    :param published: a fixed host port -> the one that it has here.
    """

    def api_token() -> str:
        return token

    def sd_deployment_containers_path(service: str, port: str) -> str:
        return containers_path(service, deployment_id, int(port))

    def proxy(target: str) -> str:
        service, _, port = target.partition(":")
        ports = services[service].ports if service in services else ()
        for one in ports:
            if str(one.container) == port and one.host is not None:
                return f"{address}:{published(one.host)}"
        raise ValueError(f"{target!r} must be a service of this deployment and a port that has a fixed host port")

    found: list[Function] = [api_token, sd_deployment_containers_path, proxy]
    return {one.__name__: one for one in found}


def containers_path(service: str, deployment_id: str, port: int) -> str:
    """Where the discovery keys of a service's containers are."""
    return f"apps/{service}-{deployment_id}-{port}/containers"
