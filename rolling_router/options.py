"""options: command line and environment -> frozen `Settings`, or one line that says what to mend. Opens nothing."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import attrs
from twisted.python import usage

import rolling_router
from rolling_router.errors import SettingError
from rolling_router.observe.access_log import FORMS
from rolling_router.proxy.limits import Limits
from rolling_router.proxy.trust import Trust
from rolling_router.rollout.keys import check_app

ENVIRONMENT_PREFIX = "ROLLING_ROUTER_"


@attrs.frozen
class Option:
    """
    One option.

    :ivar default: as it would be typed; ``None`` if there is none.    :ivar repeats: may be given several times, or in
        the environment as several words.    :ivar aliases: further environment variables, asked last: those of the
        original image.
    """

    name: str
    default: str | None
    help: str
    repeats: bool = False
    is_flag: bool = False
    aliases: tuple[str, ...] = ()

    @property
    def variable(self) -> str:
        return ENVIRONMENT_PREFIX + self.name.upper().replace("-", "_")

    def text(self, environ: Mapping[str, str]) -> str | None:
        """Its text where the command line has none. A variable that is set but empty counts as not set."""
        for variable in (self.variable, *self.aliases):
            if environ.get(variable):
                return environ[variable]
        return self.default


_LIMIT_HELP = {
    "head_seconds": "for a request's head to come",
    "idle_seconds": "silence of a kept client connection",
    "connect_seconds": "connecting to an instance",
    "answer_seconds": "for an instance's answer to begin",
    "body_seconds": "silence inside a body, either way",
    "line_bytes": "longest request target",
    "head_bytes": "longest head, either way",
    "head_fields": "most header fields in a request",
    "body_bytes": "longest request body; 0 is no limit",
    "pool_idle": "idle connections kept for each instance",
    "pool_seconds": "how long an idle connection to an instance is kept",
    "linger_seconds": "how long a closing connection's unread input is awaited",
}

OPTIONS: tuple[Option, ...] = (
    Option("app", None, "name of the application; required", aliases=("APP_NAME",)),
    Option("store", None, "where the rolling keys live, SCHEME:LOCATION such as file:rollout.json; required"),
    Option("listen", "tcp:8000", "where clients come in: a Twisted endpoint", repeats=True),
    Option("admin", "tcp:8080:interface=127.0.0.1", "where the settings port is: a Twisted endpoint", repeats=True),
    Option("strategy", "cookie", "what stickyness=1 means (the first one), NAME or NAME:key=value,...", repeats=True),
    Option("trusted-proxy", None, "network (CIDR) whose X-Forwarded-* are believed; nobody's by default", repeats=True),
    Option("state-dir", None, "directory for the last good snapshot"),
    Option("drain-seconds", "30", "how long requests in flight may take when the router stops"),
    Option("workers", "1", "processes that carry the traffic; each splits exactly by itself"),
    Option("access-log", None, "file of the access log, or - for standard output; none by default"),
    Option("access-log-form", "json", f"form of its lines: {', '.join(FORMS)}"),
    Option("log-whole-addresses", None, "write clients' whole addresses into the access log", is_flag=True),
    *(
        Option(name.replace("_", "-"), f"{getattr(Limits(), name):g}", f"limit: {text}")
        for name, text in _LIMIT_HELP.items()
    ),
)


@attrs.frozen
class Settings:
    """What one process was told. `limits` has the rest."""

    app: str
    store: str
    listen: tuple[str, ...]
    admin: tuple[str, ...]
    strategies: tuple[str, ...]
    trust: Trust
    state_dir: str | None
    drain_seconds: float
    workers: int
    access_log: str | None
    access_log_form: str
    log_whole_addresses: bool
    limits: Limits


class RouterOptions(usage.Options):
    """The options of ``twistd rolling-router``."""

    synopsis = "[options]"
    longdesc = (
        "Splits the traffic of one web application between its stable and its candidate version. "
        "Each option can also be set by an environment variable: ROLLING_ROUTER_ and its name in upper case, "
        "hyphens as underscores, several values as words. The command line wins."
    )
    optFlags = [[one.name, None, one.help] for one in OPTIONS if one.is_flag]
    optParameters = [
        [one.name, None, None, one.help + (f" [default: {one.default}]" if one.default else "")]
        for one in OPTIONS
        if not one.is_flag and not one.repeats
    ]

    def __init__(self) -> None:
        self.repeated: dict[str, list[str]] = {}
        self.arguments: list[str] = []
        super().__init__()

    def parseOptions(self, options: Sequence[str] | None = None) -> None:
        self.arguments = list(options or ())
        try:
            super().parseOptions(options)
        except usage.UsageError as wrong:  # twistd would print the whole help, which hides what is wrong
            raise SystemExit(f"rolling-router: {wrong}; see twistd rolling-router --help") from None

    def opt_version(self) -> None:
        """Print the version and exit."""
        print(f"rolling-router {rolling_router.__version__}")
        raise SystemExit(0)

    def parseArgs(self, *rest: str) -> None:
        if rest:
            raise usage.UsageError(f"{rest[0]!r} is not an option; options begin with --")


def _add_repeated(option: Option) -> None:
    def take(self: RouterOptions, text: str) -> None:
        self.repeated.setdefault(option.name, []).append(text)

    take.__doc__ = option.help + ("; may be repeated" + (f" [default: {option.default}]" if option.default else ""))
    setattr(RouterOptions, "opt_" + option.name.replace("-", "_"), take)


for _option in OPTIONS:
    if _option.repeats:
        _add_repeated(_option)


def read_settings(options: RouterOptions, environ: Mapping[str, str]) -> Settings:
    """:raises SettingError: something is missing or cannot be used; the text names it and the mend."""
    texts = _Texts(options, environ)
    limits: dict[str, Any] = {name: texts.number(name.replace("_", "-")) for name in _LIMIT_HELP}
    return Settings(
        app=check_app(texts.required("app")),
        store=texts.required("store"),
        listen=texts.several("listen"),
        admin=texts.several("admin"),
        strategies=texts.several("strategy"),
        trust=Trust.parse(texts.several("trusted-proxy")),
        state_dir=texts.one("state-dir"),
        drain_seconds=texts.number("drain-seconds"),
        workers=int(texts.number("workers", most=64)),
        access_log=texts.one("access-log"),
        access_log_form=texts.word("access-log-form", FORMS),
        log_whole_addresses=texts.flag("log-whole-addresses"),
        limits=Limits(**limits),
    )


class _Texts:
    """Options as they were typed or set, by name."""

    def __init__(self, options: RouterOptions, environ: Mapping[str, str]) -> None:
        self._options = options
        self._environ = environ
        self._known = {one.name: one for one in OPTIONS}

    def one(self, name: str) -> str | None:
        text = self._options[name]
        return self._known[name].text(self._environ) if text is None else text

    def required(self, name: str) -> str:
        text = self.one(name)
        if not text:
            variables = " or ".join((self._known[name].variable, *self._known[name].aliases))
            raise SettingError(f"--{name} is missing; give it, or set {variables}")
        return text

    def several(self, name: str) -> tuple[str, ...]:
        typed: Sequence[str] | None = self._options.repeated.get(name)
        if typed is None:
            typed = (self._known[name].text(self._environ) or "").split()
        return tuple(typed)

    def number(self, name: str, most: float = 1e9) -> float:
        text = self.one(name)
        assert text is not None
        whole = not name.endswith("seconds")
        convert: Callable[[str], Any] = int if whole else float
        try:
            value = convert(text)
        except ValueError:
            value = -1
        least = 0 if name in ("body-bytes", "pool-idle", "drain-seconds") else 1 if whole else 0.5
        if not least <= value <= most:
            kind = "whole number" if whole else "number"
            raise SettingError(f"--{name} is {text!r}; it must be a {kind} from {least:g} to {most:.0f}")
        return value

    def word(self, name: str, known: Sequence[str]) -> str:
        text = self.one(name)
        if text is None or text not in known:
            raise SettingError(f"--{name} is {text!r}; it must be one of: {', '.join(known)}")
        return text

    def flag(self, name: str) -> bool:
        if self._options[name]:
            return True
        text = self._known[name].text(self._environ)
        if text is None or text.lower() in ("0", "no", "false"):
            return False
        if text.lower() in ("1", "yes", "true"):
            return True
        raise SettingError(f"{self._known[name].variable} is {text!r}; it must be 1 or 0")
