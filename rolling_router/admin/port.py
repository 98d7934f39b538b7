"""admin.port: the settings port, put together: its site, its feed, and what they share. Made by `steering`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import attrs
from twisted.application.service import Service
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.logger import Logger

from rolling_router.admin.api import Api
from rolling_router.admin.doorman import Doorman, Visit
from rolling_router.admin.feed import Feed
from rolling_router.admin.files import Files
from rolling_router.admin.kept_sessions import KeptSessions
from rolling_router.admin.origins import Origins
from rolling_router.admin.sessions import Sessions
from rolling_router.admin.sign_in import SignIn
from rolling_router.admin.site import AdminSite
from rolling_router.admin.throttle import Throttle
from rolling_router.admin.token_file import TokenFile
from rolling_router.admin.tokens import CODE_SECONDS, Tokens
from rolling_router.admin.view import About
from rolling_router.admin.writes import Writes
from rolling_router.observe.figures import Figures
from rolling_router.observe.report import Report
from rolling_router.rollout.control import Control
from rolling_router.rollout.watcher import Watcher

_log = Logger()


@attrs.frozen
class Access:
    """
    Who may come in, and how.

    :ivar directory: where tokens are kept; ``None``: in memory alone.    :ivar address: where people reach the port.
    :ivar manager: a `sign_in.IManager`, where the store is OCCS's.
    """

    origins: Origins
    directory: str | None
    environ: Mapping[str, str]
    aside: Callable[..., Deferred[Any]]
    address: str
    is_metrics_open: bool = True
    manager: Any = None


class SettingsPort(Service):
    """:ivar site: what is to be listened with."""

    def __init__(
        self,
        clock: Any,
        about: About,
        report: Report,
        watcher: Watcher,
        control: Control,
        figures: Callable[[], Deferred[Figures]],
        access: Access,
    ) -> None:
        """:raises SettingError: something in `access` cannot be used."""
        file = None if access.directory is None else TokenFile(access.directory)
        self._tokens = Tokens(clock.seconds, file, access.environ, access.aside)
        kept = None if access.directory is None else KeptSessions(access.directory, about.app, access.aside)
        self._sessions = Sessions(clock.seconds, self._tokens.is_valid, kept)
        self._access = access
        doorman = Doorman(self._tokens, self._sessions, Throttle(clock.seconds), access.origins)
        self._feed = Feed(
            clock,
            about,
            report,
            lambda: watcher.state,
            figures,
            lambda count: Deferred.fromCoroutine(control.last(count)),
            self._is_welcome,
        )
        watcher.subscribe(self._feed.changed)
        api = Api(
            about,
            report,
            lambda: watcher.state,
            figures,
            control,
            Writes(watcher.refresh, self._fresh_state),
            self._feed,
            doorman,
            self._sessions,
            SignIn(about.app, about.store_kind, self._tokens, doorman, clock, access.manager),
            Files(),
            is_metrics_open=access.is_metrics_open,
        )
        self.site = AdminSite(api.resource(), access.origins)

    def startService(self) -> None:
        super().startService()
        self._feed.startService()
        manager = self._access.manager
        if not self._tokens.has_any() and (manager is None or manager.host is None):
            _log.info(
                "nobody has a token yet; sign in once, within {minutes:g} minutes, by {address}/#code={code}",
                minutes=CODE_SECONDS / 60,
                address=self._access.address,
                code=self._tokens.make_code(),
            )

    def stopService(self) -> Deferred[None]:
        super().stopService()
        return Deferred.fromCoroutine(self._stop())

    async def _stop(self) -> None:
        await maybeDeferred(self._feed.stopService)
        await self._sessions.stop()

    def _is_welcome(self, visit: Visit) -> bool:
        if visit.session is not None:
            return self._sessions.touch(visit.session)
        return self._tokens.is_valid(visit.identity)

    def _fresh_state(self) -> Deferred[dict[str, Any]]:
        async def fresh() -> dict[str, Any]:
            figures = await self._feed.figures()
            await self._feed.look_at_history()
            return self._feed.state(figures)

        return Deferred.fromCoroutine(fresh())


def address_of(texts: Sequence[str], origins: Origins) -> str:
    """Where people reach the port, as far as its endpoints' texts tell: for the link in the log."""
    if origins.configured:
        return min(origins.configured)
    kind, _, rest = (texts[0] if texts else "").partition(":")
    port = rest.partition(":")[0].removeprefix("port=")
    interface = next((part[10:] for part in rest.split(":") if part.startswith("interface=")), "")
    host = interface if interface not in ("", "0.0.0.0") and "\\" not in interface else "127.0.0.1"
    return f"{'https' if kind in ('ssl', 'tls') else 'http'}://{host}:{port if port.isdigit() else '8080'}"
