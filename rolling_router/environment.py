"""
environment: the variables that options are read from: the process's own, and those of ``--options-file``. Called by
`service` at the start and at SIGHUP.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from difflib import get_close_matches

from rolling_router.errors import SettingError
from rolling_router.options import ENVIRONMENT_PREFIX, OPTIONS, RouterOptions

_KNOWN = {one.variable for one in OPTIONS} | {f"{ENVIRONMENT_PREFIX}TOKEN"}
_OTHERS = {
    *(f"{ENVIRONMENT_PREFIX}{name}" for name in ("ROUTER", "WHO")),  # the command's
    *(f"{ENVIRONMENT_PREFIX}{name}" for name in ("WORKER", "SOCKETS", "PREDECESSOR")),  # what our processes tell others
    *(f"{ENVIRONMENT_PREFIX}{name}" for name in ("COMPILE", "PACKAGE")),  # when it is built, and in ci/
}
_SERVICE = re.compile(r"(\w+_)?(SERVICE_HOST|SERVICE_PORT(_\w+)?|PORT_\d+_(TCP|UDP|SCTP)(_\w+)?)")
"""What Kubernetes tells every container of a service that is called rolling-router, or so; and `_ADDRESS` of PORT."""
_ADDRESS = re.compile("(tcp|udp|sctp)://")


def with_options_file(options: RouterOptions, environ: Mapping[str, str]) -> dict[str, str]:
    """
    The environment, and what ``--options-file`` has beside it.

    :raises SettingError: the file cannot be read, or has a line that is none.
    """
    option = next(one for one in OPTIONS if one.name == "options-file")
    path = options[option.name] or option.text(environ)
    return dict(environ) if path is None else {**read_options_file(path), **environ}


def read_options_file(path: str) -> dict[str, str]:
    """
    Variables by name. Quotes around a value go; lines that begin with ``#`` are comments.

    :raises SettingError: it cannot be read, or has a line that is none.
    """
    try:
        with open(path, encoding="utf-8") as file:
            lines = file.read().splitlines()
    except OSError as wrong:
        raise SettingError(
            f"--options-file {path} cannot be read: {wrong.strerror}; "
            f"name a file that the user {os.geteuid()}, as whom the router runs, can read"
        ) from None
    except UnicodeDecodeError:
        raise SettingError(f"--options-file {path} cannot be read: it is no text in UTF-8; save it as such") from None
    found = {}
    for number, line in enumerate(lines, 1):
        name, equals, value = (part.strip() for part in line.partition("="))
        if not name or name.startswith("#"):
            continue
        if not equals or re.fullmatch("[A-Z][A-Z0-9_]*", name) is None:
            # Not the line itself: it may be half a secret.
            raise SettingError(
                f"--options-file {path}, line {number} is not NAME=VALUE, such as ROLLING_ROUTER_APP=shop"
            )
        if name.startswith(ENVIRONMENT_PREFIX) and name not in _KNOWN:
            raise SettingError(f"--options-file {path}, line {number}: {_no_option(name)}")
        found[name] = value[1:-1] if len(value) > 1 and value[0] == value[-1] and value[0] in "\"'" else value
    return found


def unknown_variables(environ: Mapping[str, str]) -> list[str]:
    """One line for each variable that looks like an option's and is none: a word mistyped, most likely. No values."""
    return [
        _no_option(name)
        for name, value in sorted(environ.items())
        if name.startswith(ENVIRONMENT_PREFIX) and name not in _KNOWN | _OTHERS and not _is_of_a_service(name, value)
    ]


def _is_of_a_service(name: str, value: str) -> bool:
    rest = name.removeprefix(ENVIRONMENT_PREFIX)
    return bool(_SERVICE.fullmatch(rest) or (rest.endswith("PORT") and _ADDRESS.match(value)))


def _no_option(name: str) -> str:
    near = get_close_matches(name, _KNOWN, 1, 0.8)
    return f"there is no option {name}; " + (
        f"{near[0]} may be meant" if near else "twistd rolling-router --help has all there are"
    )
