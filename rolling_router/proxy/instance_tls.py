"""
proxy.instance_tls: TLS to instances of ``https://host:port``: whom we believe, and connections that exist once we do.

Made by `traffic.engine`; used by `pool`, and by the probes. Nothing turns the check of certificates off.
"""

from __future__ import annotations

from typing import Any

from OpenSSL import SSL
from OpenSSL.crypto import Error as CertificateError
from service_identity import VerificationError
from twisted.internet.defer import Deferred, fail
from twisted.internet.error import ConnectError, ConnectingCancelledError, ConnectionClosed
from twisted.internet.interfaces import IHandshakeListener, IStreamClientEndpoint
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.internet.ssl import Certificate, optionsForClientTLS, platformTrust, trustRootFromCertificates
from twisted.logger import Logger
from twisted.protocols.tls import TLSMemoryBIOFactory
from twisted.python.failure import Failure
from twisted.web.iweb import IPolicyForHTTPS
from zope.interface import implementer

from rolling_router.errors import SettingError

_log = Logger()

_END = b"-----END CERTIFICATE-----"


@implementer(IPolicyForHTTPS)
class InstanceTls:
    """
    :param ca: file of certificates (PEM) of the authorities to believe; ``None``: the system's.
    :param name: whom every instance is to prove to be; ``None``: the host of its address.
    """

    def __init__(self, ca: str | None = None, name: str | None = None) -> None:
        """:raises SettingError: the file, or the name, cannot be used."""
        self._ca = ca
        self._name = name
        self._root = self._read()
        self._creators: dict[str, Any] = {}
        if name is not None:
            try:
                self.creator(name)
            except ValueError as wrong:
                raise SettingError(f"--upstream-name {name!r} is no host's name ({wrong}); write one") from None

    def creator(self, host: str) -> Any:
        """Makes the client's side of connections to this host.    :raises ValueError: it is no host's name."""
        name = self._name or host
        found = self._creators.get(name)
        if found is None:
            found = optionsForClientTLS(name, trustRoot=self._root, acceptableProtocols=[b"http/1.1"])
            self._creators[name] = found
        return found

    def creatorForNetloc(self, hostname: bytes, port: int) -> Any:
        """Twisted's door, for `twisted.web.client.Agent`."""
        return self.creator(hostname.decode("ascii").strip("[]"))

    def reload(self) -> None:
        """Read the file again. Connections that exist go on."""
        try:
            self._root = self._read()
        except SettingError as wrong:
            _log.error("{wrong}. The authorities that were read before stay in force", wrong=wrong)
            return
        self._creators.clear()

    def _read(self) -> Any:
        if self._ca is None:
            return platformTrust()
        try:
            with open(self._ca, "rb") as file:
                *texts, _ = file.read().split(_END)
            certificates = [Certificate.loadPEM(text + _END) for text in texts]
        except (OSError, CertificateError, ValueError) as wrong:
            why = getattr(wrong, "strerror", None) or "it is no list of certificates in PEM form"
            raise SettingError(f"--upstream-ca {self._ca} cannot be used: {why}") from None
        if not certificates:
            raise SettingError(f"--upstream-ca {self._ca} cannot be used: there is no certificate in PEM form in it")
        return trustRootFromCertificates(certificates)


@implementer(IStreamClientEndpoint)
class SecuredEndpoint:
    """Connects, and is connected when the instance has proved who it is."""

    def __init__(self, endpoint: Any, tls: InstanceTls, host: str) -> None:
        self._endpoint = endpoint
        self._tls = tls
        self._host = host

    def connect(self, factory: Any) -> Deferred[Any]:
        try:
            creator = self._tls.creator(self._host)
        except ValueError as wrong:  # such as one with an underscore
            text = f"TLS: no certificate can be for {self._host} ({wrong}); see --upstream-name"
            return fail(ConnectError(string=text))
        greeting = _Greeting(factory)
        alone = Factory.forProtocol(lambda: greeting)
        alone.noisy = False
        greeting.begin(self._endpoint.connect(TLSMemoryBIOFactory(creator, True, alone)))
        return greeting.made


@implementer(IHandshakeListener)
class _Greeting(Protocol):
    """Stands between TLS and what is spoken over it. :ivar made: see `SecuredEndpoint`."""

    def __init__(self, factory: Any) -> None:
        self.made: Deferred[Any] = Deferred(self._cancel)
        self._wanted = factory
        self._connecting: Deferred[Any] | None = None
        self._inner: Any = None

    def begin(self, connecting: Deferred[Any]) -> None:
        self._connecting = connecting
        connecting.addCallbacks(lambda _: None, self._fail)

    def handshakeCompleted(self) -> None:
        transport: Any = self.transport
        self._inner = self._wanted.buildProtocol(transport.getPeer())
        self._inner.makeConnection(transport)
        if not self.made.called:
            self.made.callback(self._inner)

    def dataReceived(self, data: bytes) -> None:
        self._inner.dataReceived(data)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        if self._inner is not None:
            self._inner.connectionLost(reason)
        else:
            self._fail(Failure(ConnectError(string=_why(reason))))

    def _fail(self, failure: Failure) -> None:
        if not self.made.called:
            self.made.errback(failure)

    def _cancel(self, made: Deferred[Any]) -> None:
        made.errback(ConnectingCancelledError(None))
        if self.transport is not None:
            self.transport.abortConnection()  # type: ignore[attr-defined]
        elif self._connecting is not None:
            self._connecting.cancel()


def _why(reason: Failure) -> str:
    """What went wrong with a handshake, in words that name the mend where there is one."""
    wrong = reason.value
    if isinstance(wrong, VerificationError):
        return "TLS: its certificate is for another name; see --upstream-name"
    if isinstance(wrong, SSL.Error) and wrong.args and wrong.args[0]:
        what = str(wrong.args[0][-1][-1])
        hint = "; it is expired, or by an authority that is not known, see --upstream-ca" if "verify" in what else ""
        return f"TLS: {what}{hint}"
    if isinstance(wrong, ConnectionClosed):
        return "TLS: it closed the connection in the handshake"
    return f"TLS: {reason.getErrorMessage()}"
