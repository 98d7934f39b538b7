"""cli.deploy_options: the options of `deploy`, and the variables of the tutorial's CI, made into a `Build`. No I/O."""

from __future__ import annotations

import re
from argparse import Action, ArgumentParser, Namespace
from collections.abc import Mapping, Sequence
from typing import Any

import attrs

import rolling_router
from rolling_router.delivery.build import Build, started_at
from rolling_router.delivery.deploy import Ways
from rolling_router.errors import SettingError
from rolling_router.options import OPTIONS
from rolling_router.rollout.keys import check_app, parse_health
from rolling_router.rollout.model import Instance
from rolling_router.rollout.naming import is_name

STARTED_VARIABLE = "WERCKER_MAIN_PIPELINE_STARTED"
_APP = next(option for option in OPTIONS if option.name == "app")
_WORD = re.compile(r"[!-~]+\Z")
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}\Z")
_APP_WORD = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*\Z")
_WHOLE = re.compile(r"[0-9]{1,18}\Z")
_VARIABLE_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")


@attrs.frozen
class Source:
    """Where one value comes from.    :ivar variable: of the environment; the tutorial's names."""

    option: str
    variable: str | None
    metavar: str
    help: str

    @property
    def dest(self) -> str:
        return "deploy_" + self.option.replace("-", "_")

    def text(self, arguments: Namespace, environ: Mapping[str, str]) -> str:
        """Empty where it is not told."""
        typed: str | None = getattr(arguments, self.dest)
        return (environ.get(self.variable, "") if self.variable else "") if typed is None else typed

    def named(self) -> str:
        return f"{self.variable} (--{self.option})" if self.variable else f"--{self.option}"


MANAGER = Source("manager", "SERVICE_MANAGER", "URL", "the manager of the platform, https://HOST")
NAME = Source("name", "APP_FRIENDLY_NAME", "TEXT", "name of the app for people; that of the app by default")
REGISTRY = Source("registry", "DOCKER_REGISTRY", "NAME", "registry, or account at Docker Hub, that has the image")
IMAGE = Source("image", "IMAGE_NAME", "NAME", "name of the image in the registry, without a tag")
TAG = Source("tag", STARTED_VARIABLE, "TAG", "tag of the image")
STARTED = Source("started", STARTED_VARIABLE, "SECONDS", "when the build was started, in seconds since 1970")
PORT = Source("port", "EXPOSED_PORT", "PORT", "port inside the containers")
SCALE = Source("scale", "SCALE_AMOUNT", "N", "how many instances; 1 by default")
RUN = Source("run", "DOCKER_CMD", "COMMAND", "what a container runs; by default what the image says")
HEALTH = Source(
    "health-path",
    None,
    "PATH",
    "what is asked of an instance before it counts as healthy: a path; with --instance also tcp, the default, or off",
)
POOL = Source("pool", None, "NAME", "resource pool; default by default")
SOURCES = (MANAGER, NAME, REGISTRY, IMAGE, TAG, STARTED, PORT, SCALE, RUN, HEALTH, POOL)


class _Version(Action):
    """A version's name; without one, this program's own, as with any command."""

    def __call__(self, parser: ArgumentParser, namespace: Namespace, values: Any, option: str | None = None) -> None:
        if values is None:
            print(f"rolling-router {rolling_router.__version__}")
            parser.exit()
        namespace.version = values


def add_deploy_options(parser: ArgumentParser) -> None:
    for one in SOURCES:
        told = f" [{one.variable}]" if one.variable else ""
        parser.add_argument(f"--{one.option}", dest=one.dest, metavar=one.metavar, help=one.help + told)
    parser.add_argument(
        "--instance",
        metavar="HOST:PORT",
        action="append",
        default=[],
        help="register this instance, which runs already, instead of having some started; may be repeated",
    )
    parser.add_argument(
        "--version", metavar="NAME", nargs="?", action=_Version, help="with --instance: the new version's name"
    )
    parser.add_argument(
        "--remove-old",
        action="store_true",
        help="with --instance: take away the registrations of the candidate that is replaced",
    )
    parser.add_argument(
        "--env",
        metavar="NAME",
        action="append",
        default=[],
        help="a variable of this environment that the containers get, too; or NAME=VALUE; may be repeated",
    )
    parser.add_argument(
        "--timeout", metavar="N", type=float, default=300.0, help="seconds for it to get ready [default: 300]"
    )
    parser.add_argument(
        "--grace-seconds",
        metavar="N",
        type=float,
        default=5.0,
        help="between the change and the stop of the candidate that was replaced [default: 5]",
    )
    parser.add_argument("--keep-failed", action="store_true", help="leave a version that failed, to be looked at")


def read_build(arguments: Namespace, environ: Mapping[str, str], is_manager_known: bool) -> Build:
    """
    :param is_manager_known: by ``--store``.
    :raises SettingError: something is missing, all of which is named, or cannot be used.
    """
    texts = {one: one.text(arguments, environ).strip() for one in SOURCES}
    app = arguments.app or _APP.text(environ) or ""
    needed = {REGISTRY: texts[REGISTRY], IMAGE: texts[IMAGE], TAG: texts[TAG], PORT: texts[PORT]}
    is_manager_known = is_manager_known or bool(texts[MANAGER])
    missing = [] if is_manager_known else [MANAGER.named()]
    missing += [] if environ.get("API_TOKEN", "").strip() or _has_token(environ) else ["API_TOKEN"]
    missing += [] if app else ["APP_NAME (--app)"]
    missing += [one.named() for one, text in needed.items() if not text]
    if missing:
        verb = "is" if len(missing) == 1 else "are"
        other = "" if is_manager_known else "; instances that run already are named by --instance"
        raise SettingError(f"{', '.join(missing)} {verb} missing; set the variable, or give the option{other}")
    for one in (REGISTRY, IMAGE):
        if not _WORD.match(texts[one]) or (":" in texts[one].rpartition("/")[2] and one is IMAGE):
            raise SettingError(f"{one.named()} is {texts[one]!r}; it must be one word, without a tag, such as me")
    if not _TAG.match(texts[TAG]):
        raise SettingError(f"{TAG.named()} is {texts[TAG]!r}; it must be an image's tag, such as 1497966712 or 1.0.1")
    if not _APP_WORD.match(check_app(app)):
        raise SettingError(
            f"the app's name is {app!r}; to be deployed, it must be of letters, digits, '.', '_' and '-'"
        )
    return Build(
        app=app,
        name=_line(NAME, texts[NAME]) or app,
        image=f"{texts[REGISTRY].rstrip('/')}/{texts[IMAGE]}",
        tag=texts[TAG],
        started=_started(arguments, environ, texts[TAG]),
        port=_number(PORT, texts[PORT], 1, 65535),
        scale=_number(SCALE, texts[SCALE] or "1", 1, 1000),
        command=_line(RUN, texts[RUN]),
        environment=_environment(arguments.env, environ),
        health_path=read_health_path(texts[HEALTH]),
        pool=_line(POOL, texts[POOL]) or "default",
    )


def _has_token(environ: Mapping[str, str]) -> bool:
    return bool(environ.get("OCCS_API_TOKEN") or environ.get("OCCS_API_TOKEN_FILE"))


def _started(arguments: Namespace, environ: Mapping[str, str], tag: str) -> int | None:
    typed = getattr(arguments, STARTED.dest)
    if typed is None:
        # A tag that is a time is the build's own; otherwise the time of the pipeline, if there is one.
        found = started_at(tag)
        return found if found is not None else started_at(environ.get(STARTED_VARIABLE, ""))
    found = started_at(typed.strip())
    if found is None:
        raise SettingError(f"--started is {typed!r}; it must be seconds since 1970, such as 1497966712")
    return found


def _number(source: Source, text: str, least: int, most: int) -> int:
    if not (_WHOLE.match(text) and least <= int(text) <= most):
        raise SettingError(f"{source.named()} is {text!r}; it must be a whole number from {least} to {most}")
    return int(text)


def _line(source: Source, text: str) -> str:
    if not text.isprintable():
        raise SettingError(f"{source.named()} is {text!r}; it must be one line")
    return text


@attrs.frozen
class Started:
    """
    Instances that run already.

    :ivar port: a part of the version's path; ``None`` where nobody says.
    :ivar health_path: a path, ``tcp`` or ``off``.
    """

    version: str
    port: int | None
    instances: tuple[Instance, ...]
    health_path: str


def read_started(arguments: Namespace, environ: Mapping[str, str]) -> Started:
    """:raises SettingError: something is missing or cannot be used."""
    version, port = arguments.version, PORT.text(arguments, environ).strip()
    if not version:
        raise SettingError("--version is missing; name the version that the instances are of, such as 1.0.1")
    if not is_name(version):
        raise SettingError(f"--version is {version!r}; it must be a version's name without '/', such as 1.0.1")
    path = getattr(arguments, HEALTH.dest) or "tcp"
    try:
        parse_health("path", path)
    except ValueError as wrong:
        raise SettingError(f"--health-path is {path!r}; {wrong}") from None
    instances = read_instances(arguments.instance)
    return Started(version, _number(PORT, port, 1, 65535) if port else None, instances, path)


def read_instances(texts: Sequence[str]) -> tuple[Instance, ...]:
    """:raises SettingError:"""
    found = []
    for text in texts:
        try:
            found.append(Instance.parse(text))
        except ValueError as wrong:
            raise SettingError(f"--instance is {text!r}: {wrong}") from None
    return tuple(dict.fromkeys(found))


def read_health_path(text: str) -> str:
    """:raises SettingError:"""
    if text and (not text.startswith("/") or not _WORD.match(text)):
        raise SettingError(f"--health-path is {text!r}; it must begin with a slash, such as /healthz")
    return text


def _environment(named: Sequence[str], environ: Mapping[str, str]) -> tuple[str, ...]:
    found = []
    for one in named:
        name, equals, value = one.partition("=")
        if not _VARIABLE_NAME.match(name):
            raise SettingError(f"--env names a variable {name[:50]!r}; it must be of letters, digits and '_'")
        if not equals and name not in environ:
            raise SettingError(f"--env names {name}, which is not set here; set it, or give {name}=VALUE")
        found.append(f"{name}={value if equals else environ[name]}")
    return tuple(found)


def checked_ways(arguments: Namespace, who: str, why: str) -> Ways:
    """:raises SettingError: a time cannot be meant."""
    for option, least in (("timeout", 0.001), ("grace_seconds", 0.0)):
        seconds = getattr(arguments, option)
        if not least <= seconds <= 86400:
            raise SettingError(f"--{option.replace('_', '-')} is {seconds:g}; it must be a number up to 86400")
    return Ways(arguments.timeout, arguments.grace_seconds, arguments.keep_failed, who, why)
