"""traffic.ports: what ``--listen`` and ``--admin`` name: an endpoint's text -> a port. Made by `engine`, `steering`."""

from __future__ import annotations

import errno
import re
import socket
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import attrs
from twisted.application.internet import StreamServerEndpointService
from twisted.internet.defer import Deferred, execute, maybeDeferred
from twisted.internet.endpoints import TCP4ServerEndpoint, TCP6ServerEndpoint, _parse, serverFromString
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IStreamServerEndpoint
from twisted.internet.protocol import Factory
from twisted.internet.task import LoopingCall
from twisted.protocols.haproxy import proxyEndpoint
from twisted.protocols.tls import TLSMemoryBIOFactory
from zope.interface import implementer

from rolling_router.errors import SettingError
from rolling_router.traffic.certificates import LOOK_SECONDS, Certificates, Pair
from rolling_router.traffic.sockets import BACKLOG, Adopter, Binder, Sockets

_HAPROXY = "haproxy:"
_TLS = "tls:"
_TLS_PARTS = ("cert", "key", "certificates", "interface", "port", "systemd", "backlog")
_Made = TypeVar("_Made")
_PLAIN_WORDS = (
    (r"missing \d+ required positional arguments?: '(\w+)'", "it needs a {}"),
    (r"unexpected keyword argument '(\w+)'", "{}= means nothing here"),
    (r"takes .* positional arguments? but", "it has too many parts"),
    (r"multiple values for argument '(\w+)'", "it says {} twice"),
    (r"invalid literal for int\(\) with base \d+: (.*)", "{} is no whole number"),
)
_MENDS = {
    errno.EADDRINUSE: "end what listens there, or have --{option} name another port",
    errno.EACCES: "have --{option} name a port from 1024 on, or a path that the router's user may write to",
    errno.EADDRNOTAVAIL: "have interface= be an address of this machine",
    errno.ENOENT: "make the directory of the socket, or have --{option} name another path",
}
_TAKE_BACKLOG = ("tcp:", "tcp6:", "ssl:", "unix:")


@attrs.frozen
class Secured:
    """What TLS clients are served by: `factory`, after one of `protocols` was agreed on by ALPN."""

    factory: Any
    protocols: Sequence[bytes]


class Port:
    """
    One listening endpoint, with refusals that name it. Its sockets are had first (`bind`), accepted on later (`open`):
    two processes may have the same sockets, and who is not ready to serve must not take a client.
    """

    def __init__(
        self,
        text: str,
        option: str,
        factory: Any,
        reactor: Any,
        sockets: Sockets,
        secured: Secured | None = None,
    ) -> None:
        """
        :param factory: serves the clients.    :param secured: serves those by TLS; by default, `factory` does.
        :raises SettingError: the text is no endpoint.
        """
        self._text = text
        self._option = option
        self._factory = factory
        self._reactor = reactor
        self._sockets = sockets
        self._binder = Binder(reactor, sockets)
        nobody = Factory()
        nobody.noisy = False
        self._binding = self._service(self._binder, nobody)
        self._certificates = None
        if text.removeprefix(_HAPROXY).startswith(_TLS):
            secured = secured or Secured(factory, (b"http/1.1",))
            self._certificates = self._refusing(lambda: Tls.parse(text).certificates(secured.protocols))
            self._factory = TLSMemoryBIOFactory(self._certificates, False, secured.factory)
            self._looks = LoopingCall(self._certificates.look)
            self._looks.clock = reactor
        self._opened: StreamServerEndpointService | None = None

    def bind(self) -> None:
        """:raises SettingError: the port cannot be had."""
        try:
            self._binding.privilegedStartService()
        except (CannotListenError, OSError, OverflowError) as wrong:  # the last: a port above 65535
            cause = getattr(wrong, "socketError", wrong)
            why = getattr(cause, "strerror", None) or str(cause).rstrip(".")
            mend = _MENDS.get(getattr(cause, "errno", None) or 0, "have --{option} name another endpoint")
            raise SettingError(f"cannot listen on {self._text}: {why}; {mend.format(option=self._option)}") from None

    def open(self) -> None:
        """Accept clients."""
        self._opened = self._service(Adopter(self._reactor, list(self._binder.taken)), self._factory)
        self._opened.privilegedStartService()
        if self._certificates is not None:
            self._certificates.say()
            self._looks.start(LOOK_SECONDS, now=False)

    def expiries(self) -> dict[str, float]:
        """See `Certificates`; empty where there are none."""
        return {} if self._certificates is None else self._certificates.expiries()

    def reload(self) -> None:
        """Read certificates again, if there are any."""
        if self._certificates is not None:
            self._certificates.reload()

    async def stop(self) -> None:
        """Accept no more. Who is in a socket's queue is reset, unless another process has it, too."""
        if self._certificates is not None and self._looks.running:
            self._looks.stop()
        if self._opened is not None:
            await maybeDeferred(self._opened.stopService)
            self._opened = None
        taken: list[socket.socket] = self._binder.taken
        while taken:
            self._sockets.close(taken.pop())

    def _service(self, reactor: Any, factory: Any) -> StreamServerEndpointService:
        service = self._refusing(lambda: StreamServerEndpointService(_endpoint(self._text, reactor), factory))
        service._raiseSynchronously = True
        return service

    def _refusing(self, make: Callable[[], _Made]) -> _Made:
        try:
            return make()
        except SettingError as wrong:  # ours, which says what would mend it
            raise SettingError(f"--{self._option} is {self._text!r}: {wrong}") from None
        except Exception as wrong:  # endpoint parsers raise whatever their parts raise
            raise SettingError(
                f"--{self._option} is {self._text!r}: {_plainly(wrong)}; write an endpoint, such as tcp:8000"
            ) from None


def _plainly(wrong: Exception) -> str:
    """Twisted reads an endpoint by calling a function with its parts, and what is wrong is what Python says of that."""
    for pattern, words in _PLAIN_WORDS:
        if found := re.search(pattern, str(wrong)):
            return words.format(*found.groups())
    return str(wrong) or type(wrong).__name__


def _endpoint(text: str, reactor: Any) -> IStreamServerEndpoint:
    if text.startswith(_HAPROXY):
        return proxyEndpoint(_endpoint(text.removeprefix(_HAPROXY), reactor))
    if text.startswith("systemd:"):
        return Systemd.parse(text, reactor)
    if text.startswith(_TLS):
        return Tls.parse(text).endpoint(reactor)
    backlog = f":backlog={BACKLOG}" if text.startswith(_TAKE_BACKLOG) and "backlog=" not in text else ""
    endpoint: IStreamServerEndpoint = serverFromString(reactor, text + backlog)
    return endpoint


@attrs.frozen
class Tls:
    """
    ``tls:PORT:cert=FILE:key=FILE``, or ``tls:PORT:certificates=DIRECTORY``; ``tls:DIRECTORY:port=PORT`` is Twisted's
    way to say the latter. ``systemd=NAME`` is in the place of a port.
    """

    named: dict[str, str]

    @classmethod
    def parse(cls, text: str) -> Tls:
        """:raises SettingError: with what is wrong, and would mend it."""
        positional, named = _parse(text.removeprefix(_HAPROXY))
        for one in positional[1:]:
            if one.isdigit():
                named["port"] = one
            else:
                named["certificates"] = one
                named.setdefault("port", "443")
                named.setdefault("interface", "::")
        if unknown := set(named) - set(_TLS_PARTS):
            raise SettingError(f"{min(unknown)}= means nothing here; there are {', '.join(_TLS_PARTS)}, with = each")
        if ("port" in named) == ("systemd" in named) or not named.get("port", "0").isdigit():
            raise SettingError("it needs a port, as in tls:8443, or systemd=")
        if ("cert" in named) == ("certificates" in named):
            raise SettingError("it needs cert= and key=, or certificates=")
        return cls(named)

    def certificates(self, protocols: Sequence[bytes]) -> Certificates:
        """:raises SettingError: they cannot be used."""
        one = self.named.get("cert")
        pair = None if one is None else Pair(one, self.named.get("key", one))
        return Certificates(pair, self.named.get("certificates"), protocols)

    def endpoint(self, reactor: Any) -> IStreamServerEndpoint:
        if "systemd" in self.named:
            return Systemd(reactor, self.named["systemd"])
        interface = self.named.get("interface", "")
        kind = TCP6ServerEndpoint if ":" in interface else TCP4ServerEndpoint
        endpoint: IStreamServerEndpoint = kind(
            reactor, int(self.named["port"]), int(self.named.get("backlog", BACKLOG)), interface
        )
        return endpoint


@implementer(IStreamServerEndpoint)
class Systemd:
    """A socket that systemd opened. Twisted's own endpoint of that name knows descriptors, and closes them after it."""

    def __init__(self, reactor: Any, which: str) -> None:
        self._reactor = reactor
        self._which = which

    @classmethod
    def parse(cls, text: str, reactor: Any) -> Systemd:
        """
        Read ``systemd:index=0`` or ``systemd:name=web``; ``domain=`` may be said, too, and the socket knows better.

        :raises SettingError: with what is wrong, and would mend it.
        """
        positional, named = _parse(text)
        if (
            len(positional) > 2
            or not set(named) <= {"domain", "index", "name"}
            or ("index" in named) == ("name" in named)
        ):
            raise SettingError("it must name one socket, by index= or by name=")
        return cls(reactor, named.get("index") or named["name"])

    def listen(self, factory: Any) -> Deferred[Any]:
        return execute(self._reactor.listenSystemd, self._which, factory)
