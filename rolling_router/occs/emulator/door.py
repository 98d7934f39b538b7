"""occs.emulator.door: one listening port, that can be shut for a while and opened again where it was."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred, maybeDeferred, succeed
from twisted.internet.endpoints import TCP4ServerEndpoint, TCP6ServerEndpoint, serverFromString
from twisted.internet.interfaces import IProtocolFactory
from twisted.logger import Logger
from twisted.protocols.policies import WrappingFactory
from twisted.python.failure import Failure

from rolling_router.errors import SettingError

_log = Logger()
_AGAIN_SECONDS = 0.2


class Door:
    """Listens for one factory."""

    def __init__(self, text: str, option: str, factory: IProtocolFactory, reactor: Any) -> None:
        """
        :param text: a Twisted endpoint; a port of 0 is a free one.    :param option: the one that it comes from.
        :raises SettingError: it is no endpoint.
        """
        self._text = text
        self._reactor = reactor
        self._factory = _Counting(factory)
        try:
            self._endpoint: Any = serverFromString(reactor, text)
        except Exception as wrong:  # endpoint parsers raise whatever their parts raise
            raise SettingError(f"--{option} is {text!r}: {wrong}; write an endpoint, such as tcp:9109") from None
        self._port: Any = None
        self._wants_open = False
        self._shutting: Deferred[None] = succeed(None)
        self.host, self.port = "", 0

    def bind(self) -> None:
        """:raises SettingError: the port cannot be had."""
        self._wants_open = True
        failures: list[Failure] = []
        self._endpoint.listen(self._factory).addCallbacks(self._listening, failures.append)
        if failures:
            cause = getattr(failures[0].value, "socketError", failures[0].value)
            raise SettingError(f"cannot listen on {self._text}: {getattr(cause, 'strerror', None) or cause}")
        address = self._port.getHost()
        if not hasattr(address, "port"):
            raise SettingError(f"cannot use {self._text}: only TCP has a port to tell clients")
        self.host, self.port = address.host, address.port
        kind = TCP6ServerEndpoint if ":" in self.host else TCP4ServerEndpoint
        self._endpoint = kind(self._reactor, self.port, interface=self.host)  # the same one, should it be opened again

    def _listening(self, port: Any) -> None:
        self._port = port

    def shut(self) -> None:
        """Refuse connections, and cut those that are open."""
        if self._wants_open:
            self._wants_open = False
            self._shutting = maybeDeferred(self._port.stopListening)
            self._cut()

    def open(self) -> None:
        """Take connections again, at the same port. If another process has it meanwhile: as soon as it lets go."""
        if not self._wants_open:
            self._wants_open = True
            self._shutting.addCallback(lambda _: self._listen_again())

    def _listen_again(self) -> None:
        if self._wants_open:
            self._endpoint.listen(self._factory).addCallbacks(self._listening, self._try_later)

    def _try_later(self, failure: Failure) -> None:
        _log.warn("cannot listen on port {port} again yet: {wrong}", port=self.port, wrong=failure.value)
        self._reactor.callLater(_AGAIN_SECONDS, self._listen_again)

    def close(self) -> Deferred[None]:
        """For good."""
        self.shut()
        return self._shutting

    def _cut(self) -> None:
        for wrapper in list(self._factory.protocols):
            wrapper.transport.abortConnection()


class _Counting(WrappingFactory):
    """Knows the connections that are open."""

    noisy = False
