"""
proxy.multiplexed: twisted.web's connection of HTTP/2, with an end to what is kept for a client that takes nothing.

Made by `secured` where the package ``h2`` is installed. Moves frames; what is asked and answered is `resource`'s.
"""

from __future__ import annotations

import re
from typing import Any

import attrs
from h2.errors import ErrorCodes
from priority import DeadlockError
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionLost
from twisted.internet.protocol import connectionDone
from twisted.python.failure import Failure
from twisted.web._http2 import _END_STREAM_SENTINEL as END
from twisted.web._http2 import H2Connection, H2Stream

from rolling_router.proxy.deadlines import Deadlines
from rolling_router.proxy.sending import unsent_bytes

QUEUED_BYTES = 65536
"""Of a stream's answer: with this much queued, its instance is not read from, whatever the client's window says."""


_HIGHEST = 2**31 - 1
_FIELD_NAME = re.compile(rb":?[!#$%&'*+\-.^_`|~0-9a-z]+")


def _goaway(last: int) -> bytes:
    """The frame; h2 would say no more on its streams after it."""
    return bytes.fromhex("000008 07 00 00000000") + last.to_bytes(4, "big") + bytes(4)


@attrs.define
class _Flow:
    """:ivar written: bytes of its answer.    :ivar taken: of these, as of `since`, when it last moved."""

    written: int = 0
    taken: int = 0
    since: float = 0.0


class Multiplexed(H2Connection):
    """
    twisted.web's queues what the client's windows allow, which may be 2 GiB, whether its socket takes it or not.

    Here a stream's producer is paused while `QUEUED_BYTES` of it are queued, and all are while the socket is full.
    twisted.web's timer is off: it ends connections that have said nothing, whatever they wait for.

    :ivar begun: streams so far.    :ivar idle_since: when the last one ended.
    """

    site: Any
    transport: Any

    def __init__(self, site: Any, reactor: Any, deadlines: Deadlines) -> None:
        """:param site: the `twisted.web.server.Site` that makes its requests, and renders them."""
        super().__init__(reactor)
        self.site = self.factory = site
        self.requestFactory = site.requestFactory
        self._deadlines = deadlines
        self._dry: set[int] = set()  # streams with something to send, and a window that takes nothing
        self._coming: set[int] = set()  # streams whose requests are not whole yet
        self._flows: dict[int, _Flow] = {}
        self.begun = self._last = 0
        self.idle_since = deadlines.now
        self._takes_no_more = False
        self._moved: tuple[int, float] = (0, 0.0)  # what the socket had not taken, and since when it is so

    # Its end

    @property
    def is_over(self) -> bool:
        """It has said its last word, or was lost; what is left is its socket."""
        return not self._stillProducing

    def announce_end(self) -> None:
        """Ask for no more streams; those that come are served until `take_no_more` (RFC 9113 section 6.8)."""
        self.transport.write(_goaway(_HIGHEST))

    def take_no_more(self) -> None:
        if not self._takes_no_more:
            self._takes_no_more = True
            self.transport.write(_goaway(self._last))

    def connectionLost(self, reason: Failure = connectionDone, _cancelTimeouts: bool = True) -> None:
        super().connectionLost(reason, _cancelTimeouts)
        if not _cancelTimeouts:
            # It has ended by itself, for what the client said. TLS waits for its producer before it says goodbye.
            self.transport.unregisterProducer()

    # What a stream may still write

    def remainingOutboundWindow(self, streamID: int) -> int:
        if self._consumerBlocked is not None:
            return 0
        window: int = self.conn.local_flow_control_window(streamID)
        return min(window, QUEUED_BYTES) - self._queued(streamID)

    def writeDataToStream(self, streamID: int, data: bytes) -> None:
        if streamID in self.streams:  # else its head was one too many for `_tryToWriteControlData`
            self._flows[streamID].written += len(data)
            super().writeDataToStream(streamID, data)

    def endRequest(self, streamID: int) -> None:
        if streamID in self.streams:
            super().endRequest(streamID)

    def pauseProducing(self) -> None:
        """The socket is full."""
        super().pauseProducing()
        self._moved = (unsent_bytes(self.transport), self._deadlines.now)
        for stream in list(self.streams.values()):
            stream.flowControlBlocked()

    def resumeProducing(self) -> None:
        super().resumeProducing()
        if self._consumerBlocked is None:
            for stream in list(self.streams.values()):
                stream.windowUpdated()

    def _queued(self, stream: int) -> int:
        return sum(len(piece) for piece in self._outboundStreamQueues[stream] if piece is not END)

    # Sending

    def _sendPrioritisedData(self, *_: Any) -> None:
        """
        Send one frame, and come back for the next.

        twisted.web's own comes back for a stream without a window, too, over and over, and has nobody write on where
        it was not the window that was full.
        """
        if not self._stillProducing:
            return
        if self._consumerBlocked is not None:
            self._consumerBlocked.addCallback(self._sendPrioritisedData)
            return
        try:
            stream = next(self.priority)
        except DeadlockError:
            self._sendingDeferred = Deferred()
            self._sendingDeferred.addCallback(self._sendPrioritisedData)
            return
        self._send_some(stream)
        self._reactor.callLater(0, self._sendPrioritisedData)

    def _send_some(self, stream: int) -> None:
        queue = self._outboundStreamQueues[stream]
        piece = queue.popleft()
        if piece is END:
            self.conn.end_stream(stream)
            self.transport.write(self.conn.data_to_send())
            self._requestDone(stream)
            return
        most = min(self.conn.max_outbound_frame_size, self.conn.local_flow_control_window(stream))
        if len(piece) > most:
            queue.appendleft(piece[max(0, most) :])
            piece = piece[: max(0, most)]
        if piece:
            self.conn.send_data(stream, piece)
            self.transport.write(self.conn.data_to_send())
        if stream not in self.streams:
            return  # the transport was lost as it was written to
        if not queue:
            self.priority.block(stream)
        elif self.conn.local_flow_control_window(stream) <= 0 and queue[0] is not END:
            self.priority.block(stream)
            self._dry.add(stream)
        if self._queued(stream) <= QUEUED_BYTES // 2:
            self.streams[stream].windowUpdated()
        if self.remainingOutboundWindow(stream) <= 0:
            self.streams[stream].flowControlBlocked()

    def dataReceived(self, data: bytes) -> None:
        super().dataReceived(data)
        # Windows open by SETTINGS as well, of which twisted.web takes no notice (RFC 9113 section 6.9.2).
        for stream in list(self._dry):
            if stream in self._dry and self.conn.local_flow_control_window(stream) > 0:
                self._dry.discard(stream)
                self.priority.unblock(stream)
                if self._sendingDeferred is not None:
                    waiting, self._sendingDeferred = self._sendingDeferred, None
                    waiting.callback(None)
                if stream in self.streams:
                    self.streams[stream].windowUpdated()

    # Streams, from their head to their end

    def _requestReceived(self, event: Any) -> None:
        if self._takes_no_more:
            # Nothing was done for it, and so it may be sent again elsewhere (RFC 9113 section 8.7).
            self.conn.reset_stream(event.stream_id, ErrorCodes.REFUSED_STREAM)
            return
        self.begun += 1
        self._last = event.stream_id
        if not all(_FIELD_NAME.fullmatch(name) for name, _ in event.headers):
            # h2 lets through what is no token (RFC 9113 section 8.2.1), and twisted.web fails at it.
            self.conn.reset_stream(event.stream_id, ErrorCodes.PROTOCOL_ERROR)
            return
        self._flows[event.stream_id] = _Flow(since=self._deadlines.now)
        self._coming.add(event.stream_id)
        super()._requestReceived(event)

    def _requestDataReceived(self, event: Any) -> None:
        if event.stream_id in self.streams:
            super()._requestDataReceived(event)
        elif event.flow_controlled_length:  # it came while the stream was being reset
            self.openStreamWindow(event.stream_id, event.flow_controlled_length)

    def _requestEnded(self, event: Any) -> None:
        self._coming.discard(event.stream_id)
        if event.stream_id in self.streams:
            super()._requestEnded(event)

    def _requestAborted(self, event: Any) -> None:
        self._coming.discard(event.stream_id)
        if event.stream_id in self.streams:
            super()._requestAborted(event)

    def _requestDone(self, streamID: int) -> None:
        self._dry.discard(streamID)
        self._flows.pop(streamID, None)
        super()._requestDone(streamID)
        self.idle_since = self._deadlines.now
        if streamID in self._coming:
            self._coming.discard(streamID)
            if self._stillProducing:
                # It was answered before all of it was here; RFC 9113 section 8.1 has this say so.
                self.conn.reset_stream(streamID, ErrorCodes.NO_ERROR)
                self._tryToWriteControlData()

    def abortRequest(self, streamID: int) -> None:
        """twisted.web's says NO_ERROR, by which half an answer can be taken for the whole."""
        if streamID in self.streams:
            self._coming.discard(streamID)
            self.conn.reset_stream(streamID, ErrorCodes.INTERNAL_ERROR)
            if self._tryToWriteControlData():
                self._requestDone(streamID)

    def end_stalled(self, now: float, seconds: float) -> int:
        """
        End the streams of which the client has taken nothing for so long; the connection, if its socket took nothing.

        :returns: how many ends there were.
        """
        if self._consumerBlocked is not None:
            unsent, since = self._moved
            if unsent_bytes(self.transport) != unsent:
                self._moved = (unsent_bytes(self.transport), now)
            elif now - since >= seconds:
                self.transport.abortConnection()
                return 1
        stalled = [number for number, flow in self._flows.items() if self._is_stalled(number, flow, now, seconds)]
        for number in stalled:
            self.streams[number].connectionLost(Failure(ConnectionLost("The client took nothing of its answer.")))
            self.abortRequest(number)
        return len(stalled)

    def _is_stalled(self, number: int, flow: _Flow, now: float, seconds: float) -> bool:
        stream: H2Stream = self.streams[number]
        queued = self._queued(number)
        is_held = bool(queued) or (stream.producer is not None and not stream._producerProducing)
        # Where its window is open, it is the socket's turn, or that of other streams.
        if not is_held or flow.written - queued != flow.taken or self.conn.local_flow_control_window(number) > 0:
            flow.taken, flow.since = flow.written - queued, now
        return now - flow.since >= seconds
