"""
occs.calls: HTTP calls to one address. Each has an end: a time limit, a bound on its answer, a few tries.

Used by `keys`, `deployments` and `signing`, which know what the answers mean.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

import attrs
from hyperlink import DecodedURL
from treq.client import HTTPClient
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import deferLater
from twisted.web.http_headers import Headers

from rolling_router.errors import RouterError, StoreLost
from rolling_router.occs.body import Sent, TooLong, whole_body
from rolling_router.occs.reasons import explained
from rolling_router.occs.token import Token

BODY_BYTES = 16 << 20
"""The longest answer that is read: some fifty thousand keys."""

_PASSING = frozenset({429, 500, 502, 503, 504})


@attrs.frozen
class Patience:
    """
    How long to try.

    :ivar limit_seconds: for all tries together.    :ivar tries: 1 or more; of a call that must not be repeated, one.
    :ivar wait_seconds: before the second try; doubled before each further one. Jitter takes up to half of it.
    """

    limit_seconds: float = 9.0
    tries: int = 4
    wait_seconds: float = 0.1


PATIENCE = Patience()
ONCE = Patience(tries=1)


class Refused(RouterError):
    """
    The manager understood a call and will not do it; the text has its own words.

    :ivar is_passing: its status, 500 or more, says that it is the manager's own fault, and may be over soon.
    """

    def __init__(self, text: str, is_passing: bool = False) -> None:
        super().__init__(text)
        self.is_passing = is_passing


class TokenRefused(StoreLost):
    """The manager is there, and does not take the token."""


@attrs.frozen
class Answer:
    """
    One answer.    :ivar call: what was called, for messages.
    """

    call: str
    status: int
    body: bytes = attrs.field(repr=False)

    @property
    def is_ok(self) -> bool:
        return 200 <= self.status < 300

    def json(self) -> Any:
        """:raises StoreLost: it is none."""
        try:
            return json.loads(self.body)
        except (ValueError, RecursionError):
            raise self.odd(f"{len(self.body)} bytes that are not JSON") from None

    def odd(self, what: str) -> StoreLost:
        """For an answer that cannot be used. What it says is not repeated: the original repeated tokens so."""
        return StoreLost(f"{self.call} was answered with status {self.status} and {what}")


class Calls:
    """Calls to one base address, all with the same rules."""

    def __init__(
        self, clock: Any, http: HTTPClient, base: DecodedURL, token: Token | None, random: Callable[[], float]
    ) -> None:
        """
        :param base: e.g. ``https://10.0.0.1``.    :param token: sent with each call that has no word of its own.
        :param random: gives 0..1, for the jitter.
        """
        self.where = base.to_text()
        self._clock = clock
        self._http = http
        self._base = base
        self._token = token
        self._random = random

    async def ask(
        self,
        method: str,
        path: Sequence[str],
        *,
        query: str | None = None,
        body: bytes | None = None,
        authorization: str | None = None,
        may_repeat: bool = True,
        patience: Patience = PATIENCE,
    ) -> Answer:
        """
        :param path: segments.    :param query: a name that stands alone, such as ``recurse``.
        :param authorization: instead of the token's; empty for none.
        :param may_repeat: asking twice does no more than asking once.
        :returns: the answer, whatever its status; but 401 and 403 only where `authorization` was given.
        :raises StoreLost: there is none, in time; or the token is refused.
        """
        url = self._base.child(*path)
        if query is not None:
            url = url.add(query)
        ask = _Ask(method, url, body, authorization, f"{method} {url.to_text()}")
        work = sealed(Deferred.fromCoroutine(self._persist(ask, patience, may_repeat)))
        return await work.addTimeout(patience.limit_seconds, self._clock, self._too_late)

    def _too_late(self, result: object, seconds: float) -> NoReturn:
        raise StoreLost(f"{self.where} gave no answer within {seconds:g} seconds; look whether it runs")

    async def _persist(self, ask: _Ask, patience: Patience, may_repeat: bool) -> Answer:
        left = patience.tries if may_repeat else 1
        wait = patience.wait_seconds
        while True:
            left -= 1
            try:
                answer = await sealed(Deferred.fromCoroutine(self._once(ask)))
            except StoreLost:
                if not left:
                    raise
            else:
                if answer.status not in _PASSING or not left:
                    return answer if ask.authorization is not None else self._accepted(answer)
            await deferLater(self._clock, wait * (1 + self._random()) / 2)
            wait *= 2

    async def _once(self, ask: _Ask) -> Answer:
        answer = await self._send(ask)
        is_refused = answer.status in (401, 403) and ask.authorization is None
        if is_refused and self._token is not None and self._token.renew():
            return await self._send(ask)  # it was refused, so this is no repetition
        return answer

    async def _send(self, ask: _Ask) -> Answer:
        headers = Headers({"Accept": ["application/json, */*"], "User-Agent": ["rolling-router"]})
        authorization = ask.authorization
        if authorization is None and self._token is not None:
            authorization = f"Bearer {self._token.reveal()}"
        if authorization:
            headers.addRawHeader("Authorization", authorization)
        if ask.body:
            headers.addRawHeader("Content-Type", "application/json")
        try:
            response = await self._http.request(
                ask.method,
                ask.url,
                headers=headers,
                data=Sent(ask.body) if ask.body else None,
                allow_redirects=False,  # wherever it pointed, the token would go there
                unbuffered=True,
                reactor=self._clock,
            )
            return Answer(ask.call, response.code, await whole_body(response, BODY_BYTES))
        except CancelledError:
            raise
        except TooLong:
            raise StoreLost(f"{ask.call} was answered with more than {BODY_BYTES >> 20} MiB") from None
        except Exception as wrong:  # whatever Twisted, OpenSSL and the sockets have to say
            raise StoreLost(explained(wrong, self.where)) from None

    def _accepted(self, answer: Answer) -> Answer:
        if answer.status not in (401, 403):
            return answer
        if self._token is None:
            raise StoreLost(
                f"{self.where} wants a token ({answer.status}); set OCCS_API_TOKEN to the one of the console"
            )
        source = self._token.source if self._token.path is None else f"{self._token.source} ({self._token.path})"
        what = f"{self.where} refuses the token of {source} with status {answer.status}"
        raise TokenRefused(f"{what}; put a new one there")

    def hide(self, text: str) -> str:
        """`text` without the token."""
        return text if self._token is None else self._token.hide(text)


@attrs.frozen
class _Ask:
    """What is sent, each time."""

    method: str
    url: DecodedURL
    body: bytes | None = attrs.field(repr=False)
    authorization: str | None = attrs.field(repr=False)
    call: str


def sealed(work: Deferred[Any]) -> Deferred[Any]:
    """
    `work`, but when cancelled it fails with `CancelledError`, whatever `work` makes of that.

    Twisted's agent has three other errors for it, each of which looks like one that is worth another try.
    """

    is_cancelled = False

    def cancel(_: Deferred[Any]) -> None:
        nonlocal is_cancelled
        is_cancelled = True
        work.cancel()

    def ended(result: Any) -> None:
        if not is_cancelled:
            outcome.callback(result)

    outcome: Deferred[Any] = Deferred(cancel)
    work.addBoth(ended)
    return outcome
