"""
proxy.collected: a request of twisted.web whose body is collected before it is passed on, with bounds.

Made for each stream of HTTP/2 by the Site of `secured`; rendered by `resource`. It never decides where a request goes.
"""

from __future__ import annotations

import errno
import tempfile
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from io import BytesIO
from typing import Any

import attrs
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web import server as web_server

from rolling_router.proxy.deadlines import NEVER, Deadlines
from rolling_router.proxy.refusal import Refusal, collected_too_long

IN_MEMORY_BYTES = 65536
"""Of a body; a longer one goes to a file, and has a descriptor."""

_log = Logger()


@attrs.frozen
class Bounds:
    """
    :ivar most_bytes: of a body.    :ivar silence_seconds: while it comes.
    :ivar is_too_high: whether the file with this descriptor is one too many, for they run out.
    """

    most_bytes: int
    silence_seconds: float
    deadlines: Deadlines
    is_too_high: Callable[[int], bool] = lambda descriptor: False
    directory: str = attrs.field(factory=tempfile.gettempdir)  # found now, for that takes a descriptor


class CollectedRequest(web_server.Request):
    """
    A request of a stream, whose body is in memory at first, and then in a temporary file.

    :ivar refusal: why it is not to be passed on, whatever it asks; `RouterResource` sees to that. What comes of its
        body from then on is thrown away.    :ivar deadline: see `proxy.deadlines`.
    """

    content: Any
    channel: Any

    def __init__(self, bounds: Bounds, *arguments: Any, **more: Any) -> None:
        super().__init__(*arguments, **more)
        self._bounds = bounds
        self._seen = 0
        self._is_in_memory = True
        self._is_whole = False
        self.refusal: Refusal | None = None
        self.deadline = NEVER

    def gotLength(self, length: int | None) -> None:
        """Its head is here, and its body is to come: twisted.web opens a file at once where it knows no length."""
        self.content = BytesIO()
        self._wait()
        self._bounds.deadlines.add(self)

    def handleContentChunk(self, data: bytes) -> None:
        self._wait()
        if self.refusal is not None or self._is_whole:
            return
        self._seen += len(data)
        if self._seen > self._bounds.most_bytes:
            self._refuse(collected_too_long(self._bounds.most_bytes))
            return
        self._attempt(partial(self._keep, data))

    def requestReceived(self, command: bytes, path: bytes, version: bytes) -> None:
        """All of it is here. twisted.web's own would also take forms to pieces, and refuse those it cannot."""
        if self._is_whole:
            return  # the end of a body after it was refused for its silence
        self._is_whole = True
        self._bounds.deadlines.discard(self)
        self._attempt(partial(self.content.seek, 0))
        self.args = {}
        self.method, self.uri, self.clientproto = command, path, version
        self.path = path.partition(b"?")[0]
        self.process()

    def connectionLost(self, reason: Failure) -> None:
        self._bounds.deadlines.discard(self)
        super().connectionLost(reason)

    def expire(self) -> None:
        """No more of its body came."""
        text = f"The request's body fell silent for {self._bounds.silence_seconds:g} seconds."
        self._refuse(Refusal(408, text, "body-seconds"))
        self.channel.requestComplete()

    def _wait(self) -> None:
        self.deadline = self._bounds.deadlines.now + self._bounds.silence_seconds

    def _attempt(self, what: Callable[[], object]) -> None:
        try:
            what()
        except OSError as wrong:
            is_out = wrong.errno in (errno.EMFILE, errno.ENFILE)
            if not is_out:
                _log.error("a request's body cannot be collected: {why}", why=str(wrong))
            self._refuse(Refusal(503, "There is no room for the request's body now.", "descriptors" if is_out else ""))

    def _keep(self, data: bytes) -> None:
        """:raises OSError: there is no descriptor for it, or no room on the disk."""
        if self._is_in_memory and self._seen > IN_MEMORY_BYTES:
            self._move_to_a_file()
        self.content.write(data)

    def _move_to_a_file(self) -> None:
        file = tempfile.TemporaryFile(dir=self._bounds.directory)  # noqa: SIM115 (closed by twisted.web with the request)
        if self._bounds.is_too_high(file.fileno()):
            file.close()
            raise OSError(errno.EMFILE, "file descriptors are about to run out")
        kept, self.content = self.content, file
        self._is_in_memory = False
        file.write(kept.getvalue())

    def _refuse(self, refusal: Refusal) -> None:
        self.refusal = refusal
        with suppress(OSError):  # what it still had to write
            self.content.close()
        self.content = BytesIO()
