"""occs.emulator.options: command line and environment -> frozen `Settings`, or one line that says what to mend."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs
from twisted.python import usage

import rolling_router
from rolling_router.errors import SettingError
from rolling_router.occs.emulator import faults, images
from rolling_router.occs.emulator.faults import Faults
from rolling_router.occs.emulator.host_ports import Publishing
from rolling_router.occs.emulator.images import Image

ENVIRONMENT_PREFIX = "OCCS_EMULATOR_"


@attrs.frozen
class Option:
    """
    One option.

    :ivar default: as it would be typed; ``None`` if there is none.    :ivar repeats: may be given several times, or in
        the environment as several lines.
    """

    name: str
    default: str | None
    help: str
    repeats: bool = False

    @property
    def variable(self) -> str:
        return ENVIRONMENT_PREFIX + self.name.upper().replace("-", "_")


_FAULT_OPTIONS = tuple(
    Option(name.replace("_", "-"), str(told), f"fault: {faults.HELP[name]}")
    for name, told in Faults().as_json().items()
)

OPTIONS: tuple[Option, ...] = (
    Option("state-dir", None, "directory for keys, deployments, token and certificate; required"),
    Option("manager", "tcp:8443:interface=127.0.0.1", "where the manager is, with TLS: a Twisted endpoint"),
    Option("node", "tcp:9109:interface=127.0.0.1", "where the worker node's keys are, without TLS: a Twisted endpoint"),
    Option("control", None, "where faults can be set while it runs: a Twisted endpoint; nowhere by default"),
    Option("address", "127.0.0.1", "the worker's address: discovery keys and the certificate have it"),
    Option("image", None, "NAME=COMMAND: what runs as the images of this name, a pattern", repeats=True),
    Option("publish", None, "where fixed host ports are: 80=8000, 80=free, *=free, *=+8000", repeats=True),
    Option("user", "admin", "the name to sign in with, at the first start"),
    Option("ready-file", None, "JSON file that says where everything is, written when all is open"),
    *_FAULT_OPTIONS,
)


@attrs.frozen
class Settings:
    """What the emulator was told."""

    state_dir: Path
    manager: str
    node: str
    control: str | None
    address: str
    user: str
    ready_file: Path | None
    images: tuple[Image, ...]
    publishing: Publishing
    faults: Faults


class EmulatorOptions(usage.Options):
    """The options of ``twistd occs-emulator``."""

    synopsis = "[options]"
    longdesc = (
        "A local Oracle Container Cloud Service: its manager's REST API, a worker's key-value endpoint, and containers "
        "that are processes of this machine. Each option can also be set by an environment variable: OCCS_EMULATOR_ "
        "and its name in upper case, hyphens as underscores, several values as lines. The command line wins."
    )
    optParameters = [
        [one.name, None, None, one.help + (f" [default: {one.default}]" if one.default else "")]
        for one in OPTIONS
        if not one.repeats
    ]

    def __init__(self) -> None:
        self.repeated: dict[str, list[str]] = {}
        super().__init__()

    def parseOptions(self, options: Sequence[str] | None = None) -> None:
        try:
            super().parseOptions(options)
        except usage.UsageError as wrong:  # twistd would print the whole help, which hides what is wrong
            raise SystemExit(f"occs-emulator: {wrong}; see twistd occs-emulator --help") from None

    def opt_version(self) -> None:
        """Print the version and exit."""
        print(f"occs-emulator {rolling_router.__version__}")
        raise SystemExit(0)

    def parseArgs(self, *rest: str) -> None:
        if rest:
            raise usage.UsageError(f"{rest[0]!r} is not an option; options begin with --")


def _add_repeated(option: Option) -> None:
    def take(self: EmulatorOptions, text: str) -> None:
        self.repeated.setdefault(option.name, []).append(text)

    take.__doc__ = option.help + ("; may be repeated" + (f" [default: {option.default}]" if option.default else ""))
    setattr(EmulatorOptions, "opt_" + option.name.replace("-", "_"), take)


for _option in OPTIONS:
    if _option.repeats:
        _add_repeated(_option)


def read_settings(options: EmulatorOptions, environ: Mapping[str, str]) -> Settings:
    """:raises SettingError: something is missing or cannot be used; the text names it and the mend."""
    several = {one.name: _texts(one, options, environ) for one in OPTIONS if one.repeats}
    texts = {one.name: _text(one, options, environ) for one in OPTIONS if not one.repeats}

    def required(name: str) -> str:
        text = texts[name]
        if not text:
            raise SettingError(f"--{name} is missing; give it, or set {_variable(name)}")
        return text

    def path(text: str | None) -> Path | None:
        return Path(text).absolute() if text else None

    chosen: dict[str, Any] = {name: texts[name.replace("_", "-")] for name in faults.NAMES}
    try:
        fault_values = Faults().changed(chosen)
    except SettingError as wrong:
        raise SettingError(f"--{wrong}") from None
    return Settings(
        state_dir=Path(required("state-dir")).absolute(),
        manager=required("manager"),
        node=required("node"),
        control=texts["control"] or None,
        address=required("address"),
        user=required("user"),
        ready_file=path(texts["ready-file"]),
        images=images.read(several["image"]),
        publishing=Publishing.read(several["publish"]),
        faults=fault_values,
    )


def _text(option: Option, options: EmulatorOptions, environ: Mapping[str, str]) -> str | None:
    typed: str | None = options[option.name]
    return typed if typed is not None else environ.get(option.variable) or option.default


def _texts(option: Option, options: EmulatorOptions, environ: Mapping[str, str]) -> list[str]:
    typed = options.repeated.get(option.name)
    return typed if typed is not None else (environ.get(option.variable) or option.default or "").splitlines()


def _variable(name: str) -> str:
    return next(one.variable for one in OPTIONS if one.name == name)
