"""proxy.pool: the kept connections to one instance, and how to make another."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from twisted.internet.abstract import isIPAddress, isIPv6Address
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.endpoints import HostnameEndpoint, TCP4ClientEndpoint, TCP6ClientEndpoint
from twisted.internet.error import ConnectingCancelledError, TimeoutError
from twisted.internet.protocol import Factory
from twisted.python.failure import Failure

from rolling_router.endpoints import Named
from rolling_router.proxy.deadlines import Deadlines
from rolling_router.proxy.instance_tls import InstanceTls, SecuredEndpoint
from rolling_router.proxy.limits import Limits
from rolling_router.proxy.upstream import Upstream
from rolling_router.rollout.model import Instance
from rolling_router.routing.fleet import Load

if TYPE_CHECKING:
    from rolling_router.proxy.dispatch import Dispatch


class Pool:
    """
    Connections to one instance. The last one given back is the first one taken, so that surplus ones grow old and go.

    :ivar load: the instance's running record.    :ivar host: ``host:port`` as a header's value.
    """

    def __init__(
        self,
        reactor: Any,
        load: Load,
        dispatch: Dispatch,
        limits: Limits,
        deadlines: Deadlines,
        tls: InstanceTls | None = None,
    ) -> None:
        """:param tls: for an instance that wants it."""
        self.load = load
        self.host = load.instance.address.encode("ascii")
        self._reactor = reactor
        self._limits = limits
        self._idle: list[Upstream] = []
        self._connecting: set[Deferred[Upstream]] = set()
        self._is_closed = False
        self._dispatch = dispatch
        self._endpoint = _endpoint(reactor, load.instance, limits.connect_seconds, tls)
        self._factory = Factory.forProtocol(lambda: Upstream(self, dispatch, limits, deadlines))
        self._factory.noisy = False

    @property
    def idle(self) -> int:
        return len(self._idle)

    def take(self, must_be_open: bool) -> Upstream | None:
        """
        A kept connection, or ``None``.

        :param must_be_open: the request could not be sent again, so ask the kernel whether the instance hung up.
        """
        while self._idle:
            upstream = self._idle.pop()
            if not (must_be_open or upstream.is_doubtful) or upstream.is_quiet:
                return upstream
            upstream.close()
        return None

    def connect(self) -> Deferred[Upstream]:
        """A new connection. Fails with what the endpoint fails with; ends within the limit for connecting."""
        connecting: Deferred[Upstream] = self._endpoint.connect(self._factory)
        if isinstance(self._endpoint, (HostnameEndpoint, SecuredEndpoint)):
            # Its own limit begins when the name is known, and a name server may never answer; a handshake has none.
            connecting.addTimeout(self._limits.connect_seconds, self._reactor, _timed_out)
        self._connecting.add(connecting)

        def done(result: Any) -> Any:
            self._connecting.discard(connecting)
            return result

        return connecting.addBoth(done)

    def give_back(self, upstream: Upstream) -> None:
        if self._is_closed:
            upstream.close()
        elif len(self._idle) >= self._limits.pool_idle:
            self._dispatch.limited("pool-idle")
            upstream.close()
        else:
            self._idle.append(upstream)

    def lost(self, upstream: Upstream) -> None:
        """A connection is gone, by whichever side."""
        if upstream in self._idle:
            self._idle.remove(upstream)

    def close(self) -> None:
        """The instance is in play no more: idle connections go now, busy ones when their answer is over."""
        self._is_closed = True
        while self._idle:
            self._idle.pop().close()

    def abort(self) -> None:
        """Give up what is still connecting."""
        self.close()
        for connecting in list(self._connecting):
            connecting.cancel()


def _endpoint(reactor: Any, instance: Instance, seconds: float, tls: InstanceTls | None) -> Any:
    endpoint: Any
    if isIPAddress(instance.host):
        endpoint = TCP4ClientEndpoint(reactor, instance.host, instance.port, seconds)
    elif isIPv6Address(instance.host):
        endpoint = TCP6ClientEndpoint(reactor, instance.host, instance.port, seconds)
    else:
        endpoint = Named(reactor, instance.host, instance.port, seconds)
    return SecuredEndpoint(endpoint, tls or InstanceTls(), instance.host) if instance.is_secure else endpoint


def _timed_out(result: Any, seconds: float) -> Any:
    """What was cancelled for want of time, said as that."""
    if isinstance(result, Failure) and result.check(CancelledError, ConnectingCancelledError):
        return Failure(TimeoutError())
    return result
