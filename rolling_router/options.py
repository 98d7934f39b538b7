"""options: command line and `environment` -> frozen `Settings`, or one line that says what to mend. Opens nothing."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import attrs
from twisted.python import usage

import rolling_router
from rolling_router.errors import SettingError, naming
from rolling_router.health import Check, Rules
from rolling_router.observe.access_log import FORMS
from rolling_router.proxy.budget import Retrying
from rolling_router.proxy.limits import Limits
from rolling_router.proxy.trust import Trust
from rolling_router.rollout.keys import check_app, parse_health

ENVIRONMENT_PREFIX = "ROLLING_ROUTER_"
_Checked = TypeVar("_Checked")


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
        """Its text where the command line has none."""
        variable = self.variable_in(environ)
        return self.default if variable is None else environ[variable]

    def variable_in(self, environ: Mapping[str, str]) -> str | None:
        """The variable that has it. One that is set but empty counts as not set."""
        return next((one for one in (self.variable, *self.aliases) if environ.get(one)), None)


_LIMIT_HELP = {
    "head_seconds": "for a request's head to come",
    "idle_seconds": "silence of a kept client connection",
    "connect_seconds": "connecting to an instance",
    "answer_seconds": "for an instance's answer to begin",
    "body_seconds": "silence inside a body, either way",
    "tunnel_seconds": "silence of a whole tunnel (WebSocket); 0 is no limit",
    "line_bytes": "longest request target",
    "head_bytes": "longest head, either way",
    "head_fields": "most header fields in a request",
    "body_bytes": "longest request body; 0 is no limit",
    "connections_most": "client connections open at once; 0 is as many as there are descriptors for",
    "connections_per_client": "of them, those of one address; 0 is no limit; trusted proxies have none",
    "requests_per_connection": "requests on one client connection; 0 is no limit",
    "requests_per_instance": "requests under way on one instance; 0 is no limit",
    "queue_length": "requests of one version that wait for such an instance",
    "queue_seconds": "how long one of them waits",
    "pool_idle": "idle connections kept for each instance",
    "pool_seconds": "how long an idle connection to an instance is kept",
    "linger_seconds": "silence that ends a closing connection whose client was still sending; 30 s in all",
}

_MAY_BE_NOUGHT = (
    "body-bytes",
    "requests-per-instance",
    "queue-length",
    "connections-most",
    "connections-per-client",
    "tunnel-seconds",
    "requests-per-connection",
    "pool-idle",
    "drain-seconds",
    "shutdown-delay-seconds",
    "slow-start-seconds",
    "retry-budget",
)

OPTIONS: tuple[Option, ...] = (
    Option("app", None, "name of the application; required", aliases=("APP_NAME",)),
    Option(
        "store",
        None,
        "where the rolling keys live, SCHEME:LOCATION such as file:rollout.json; required, "
        "unless KV_IP and KV_PORT name an Oracle Container Cloud node",
    ),
    Option("listen", "tcp:8000", "where clients come in: a Twisted endpoint", repeats=True),
    Option("admin", "tcp:8080:interface=127.0.0.1", "where the settings port is: a Twisted endpoint", repeats=True),
    Option("admin-origin", None, "where browsers reach the settings port, if through a proxy: an origin", repeats=True),
    Option("metrics-need-token", None, "want a token for /metrics, too", is_flag=True),
    Option("strategy", "cookie", "what stickyness=1 means (the first one), NAME or NAME:key=value,...", repeats=True),
    Option(
        "trusted-proxy",
        None,
        "network (CIDR), or unix, whose X-Forwarded-* are believed; nobody's by default",
        repeats=True,
    ),
    Option("occs-ca", None, "file of certificates (PEM) to trust an occs store's manager by", aliases=("OCCS_CA",)),
    Option(
        "occs-insecure",
        None,
        "do not check the certificate of an occs store's manager",
        is_flag=True,
        aliases=("OCCS_INSECURE",),
    ),
    Option(
        "occs-manager",
        None,
        "manager to write through where the occs store is a node, such as https://10.0.0.1",
        aliases=("OCCS_MANAGER",),
    ),
    Option("occs-poll-seconds", "1", "how often an occs store is looked at", aliases=("OCCS_POLL_SECONDS",)),
    Option("via", None, "name of this router in the Via field of requests to instances; none is added by default"),
    Option("upstream-ca", None, "file of certificates (PEM) to trust https instances by; the system's by default"),
    Option("upstream-name", None, "name that https instances must prove to have; each one's own host by default"),
    Option("options-file", None, "file with a line NAME=VALUE for each environment variable that is not set"),
    Option("state-dir", None, "directory for the last good snapshot, tokens and history"),
    Option("drain-seconds", "30", "how long requests in flight may take when the router stops"),
    Option(
        "shutdown-delay-seconds", "0", "how long clients are still accepted after SIGTERM, while /readyz says draining"
    ),
    Option("workers", "1", "processes that carry the traffic; each splits exactly by itself"),
    Option("health-path", "off", "health probes: a path for GET, tcp to connect only, or off"),
    Option("health-interval-seconds", "5", "between two probes of an instance"),
    Option("health-timeout-seconds", "2", "for a probe's answer"),
    Option("health-rise", "2", "probes passed in a row that bring an instance back"),
    Option("health-fall", "3", "probes failed in a row that take an instance out"),
    Option("eject-statuses", None, "statuses, such as 502,503,504, that count as failures of an instance"),
    Option("slow-start-seconds", "10", "until an instance that came back has its whole share; 0 is at once"),
    Option("retry-statuses", None, "statuses, such as 502,503,504, after which a request is tried elsewhere"),
    Option("retry-budget", "20", "percent of the requests that may be sent a second time; 0 is never"),
    Option("access-log", None, "file of the access log, or - for standard output; none by default"),
    Option("access-log-form", "json", f"form of its lines: {', '.join(FORMS)}"),
    Option("log-whole-addresses", None, "write clients' whole addresses into the access log", is_flag=True),
    Option("log-no-query", None, "leave queries, which may hold tokens, out of the access log", is_flag=True),
    *(
        Option(name.replace("_", "-"), f"{getattr(Limits(), name):g}", f"limit: {text}")
        for name, text in _LIMIT_HELP.items()
    ),
)


STORE_VARIABLES: Mapping[str, str] = {one.name: one.aliases[0] for one in OPTIONS if one.name.startswith("occs-")}
"""Options that are a store's: name -> the variable by which the store is told, since it sees the environment alone."""


@attrs.frozen
class Settings:
    """
    What one process was told. `limits` has the rest.

    :ivar store_environ: what stores are to find in the environment beside what is there.
    :ivar said: for refusals, how an option was given: ``--NAME``, or the variable that had it.
    """

    app: str
    store: str
    store_environ: Mapping[str, str]
    listen: tuple[str, ...]
    admin: tuple[str, ...]
    admin_origins: tuple[str, ...]
    metrics_need_token: bool
    strategies: tuple[str, ...]
    trust: Trust
    via: str
    upstream_ca: str | None
    upstream_name: str | None
    state_dir: str | None
    drain_seconds: float
    shutdown_delay_seconds: float
    workers: int
    access_log: str | None
    access_log_form: str
    log_whole_addresses: bool
    log_no_query: bool
    limits: Limits
    check: Check
    rules: Rules
    retrying: Retrying
    said: Mapping[str, str]


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
    app = texts.required("app")
    limits: dict[str, Any] = {name: texts.number(name.replace("_", "-")) for name in _LIMIT_HELP}
    return Settings(
        app=texts.checked("app", lambda: check_app(app)),
        store=texts.one("store") or node_store(environ) or texts.required("store"),
        store_environ=texts.for_the_store(),
        listen=texts.several("listen"),
        admin=texts.several("admin"),
        admin_origins=texts.several("admin-origin"),
        metrics_need_token=texts.flag("metrics-need-token"),
        strategies=texts.several("strategy"),
        trust=texts.checked("trusted-proxy", lambda: Trust.parse(texts.several("trusted-proxy"))),
        via=texts.via(),
        upstream_ca=texts.one("upstream-ca"),
        upstream_name=texts.one("upstream-name"),
        state_dir=texts.one("state-dir"),
        drain_seconds=texts.number("drain-seconds"),
        shutdown_delay_seconds=texts.number("shutdown-delay-seconds"),
        workers=int(texts.number("workers", most=64)),
        access_log=texts.one("access-log"),
        access_log_form=texts.word("access-log-form", FORMS),
        log_whole_addresses=texts.flag("log-whole-addresses"),
        log_no_query=texts.flag("log-no-query"),
        limits=Limits(**limits),
        check=Check(**{field.name: texts.health(field.name) for field in attrs.fields(Check)}),
        rules=Rules(texts.statuses("eject-statuses"), texts.number("slow-start-seconds")),
        retrying=Retrying(texts.number("retry-budget", most=100), texts.statuses("retry-statuses")),
        said={one.name: texts.said(one.name) for one in OPTIONS},
    )


def node_store(environ: Mapping[str, str]) -> str | None:
    """What ``KV_IP`` and ``KV_PORT`` mean, as the original image had them; ``None`` when the first is not set."""
    host = environ.get("KV_IP", "").strip()
    port = environ.get("KV_PORT", "").strip() or "9109"
    return (f"occs:http://[{host}]:{port}" if ":" in host else f"occs:http://{host}:{port}") if host else None


class _Texts:
    """Options as they were typed or set, by name."""

    def __init__(self, options: RouterOptions, environ: Mapping[str, str]) -> None:
        self._options = options
        self._environ = environ
        self._known = {one.name: one for one in OPTIONS}

    def one(self, name: str) -> str | None:
        text = self._options[name]
        return self._known[name].text(self._environ) if text is None else text

    def said(self, name: str) -> str:
        """How it was given."""
        option, typed = self._known[name], self._options.get(name)
        if name in self._options.repeated or (typed if option.is_flag else typed is not None):
            return f"--{name}"
        named = node_store(self._environ) is not None and name == "store"
        return option.variable_in(self._environ) or ("KV_IP" if named else f"--{name}")

    def checked(self, name: str, check: Callable[[], _Checked]) -> _Checked:
        """:raises SettingError: `check` did; the text says how the option was given."""
        with naming(self.said(name)):
            return check()

    def required(self, name: str) -> str:
        text = self.one(name)
        if not text:
            variables = " or ".join((self._known[name].variable, *self._known[name].aliases))
            variables += ", or KV_IP and KV_PORT" if name == "store" else ""
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
        least = 0 if name in _MAY_BE_NOUGHT else 1 if whole else 0.5
        if not least <= value <= most:
            kind = "whole number" if whole else "number"
            raise SettingError(f"{self.said(name)} is {text!r}; it must be a {kind} from {least:g} to {most:.0f}")
        return value

    def for_the_store(self) -> Mapping[str, str]:
        """Its options, as variables."""
        found = {}
        for name, variable in STORE_VARIABLES.items():
            text = str(int(self.flag(name))) if self._known[name].is_flag else self.one(name)
            if text is not None:
                found[variable] = text
        return found

    def health(self, field: str) -> Any:
        name = "health-" + field.replace("_", "-")
        text = self.one(name)
        assert text is not None
        try:
            return parse_health(field, text)
        except ValueError as wrong:
            raise SettingError(f"{self.said(name)} is {text!r}; {wrong}") from None

    def statuses(self, name: str) -> frozenset[int]:
        text = self.one(name) or ""
        words = text.replace(",", " ").split()
        if not all(word.isascii() and word.isdigit() and 500 <= int(word) <= 599 for word in words):
            raise SettingError(f"{self.said(name)} is {text!r}; it must be statuses from 500 to 599, as in 502,503")
        return frozenset(map(int, words))

    def word(self, name: str, known: Sequence[str]) -> str:
        text = self.one(name)
        if text is None or text not in known:
            raise SettingError(f"{self.said(name)} is {text!r}; it must be one of: {', '.join(known)}")
        return text

    def via(self) -> str:
        text = self.one("via") or ""
        if re.fullmatch(r"[A-Za-z0-9!#$%&'*+.^_`|~-]*", text) is None:
            raise SettingError(
                f"{self.said('via')} is {text!r}; it must be a word of letters, digits, dots and hyphens"
            )
        return text

    def flag(self, name: str) -> bool:
        if self._options[name]:
            return True
        text = self._known[name].text(self._environ)
        if text is None or text.lower() in ("0", "no", "false"):
            return False
        if text.lower() in ("1", "yes", "true"):
            return True
        raise SettingError(f"{self.said(name)} is {text!r}; it must be 1 or 0")
