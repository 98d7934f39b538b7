"""occs.emulator.checks: whether a container answers. Asked by `container`, never fails but by cancellation."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from treq.client import HTTPClient
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.endpoints import HostnameEndpoint
from twisted.internet.protocol import Factory, Protocol
from twisted.web.client import Agent, HTTPConnectionPool

from rolling_router.endpoints import Endpoints, Url
from rolling_router.occs.emulator.service_yaml import HealthCheck

_CONNECT_SECONDS = 2.0


class Checks:
    """Asks over the network."""

    def __init__(self, reactor: Any, host: str) -> None:
        self._reactor = reactor
        self._host = host
        pool = HTTPConnectionPool(reactor, persistent=False)
        self._http = HTTPClient(Agent.usingEndpointFactory(reactor, Endpoints(reactor, None), pool))

    async def passes(self, check: HealthCheck, ports: Mapping[int, int]) -> bool:
        """Whether the check's address gives an answer below 400 in its time."""
        host = f"[{self._host}]" if ":" in self._host else self._host
        url = f"http://{host}:{ports[check.port]}{check.path}"
        asked = Deferred.fromCoroutine(self._status(url)).addTimeout(check.timeout_seconds, self._reactor)
        try:
            return 200 <= await asked < 400
        except CancelledError:
            raise
        except Exception:  # a container may answer anything at all; what is no answer is no health
            return False

    async def _status(self, url: str) -> int:
        answer = await self._http.get(Url.from_text(url), allow_redirects=False, reactor=self._reactor)
        await answer.content()
        return int(answer.code)

    async def listens(self, ports: Iterable[int]) -> bool:
        """Whether all of these can be connected to."""
        for port in ports:
            endpoint = HostnameEndpoint(self._reactor, self._host, port, timeout=_CONNECT_SECONDS)
            try:
                protocol: Any = await endpoint.connect(_QuietFactory())
            except CancelledError:
                raise
            except Exception:  # refused, too late, no route: all of them are a no
                return False
            protocol.transport.loseConnection()
        return True


class _QuietFactory(Factory):
    protocol = Protocol
    noisy = False
