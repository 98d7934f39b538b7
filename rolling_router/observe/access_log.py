"""
observe.access_log: one line for every finished request, for people and for tools. Called by the proxy, once each.

No line holds a cookie, an `Authorization` field or a password in a URL; addresses are shortened unless the operator
wants them whole. Nothing that a client sends can begin a line, or end a field, of its own.
"""

from __future__ import annotations

import ipaddress
import json
import math
import re
import select
import time
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import attrs
from twisted.application.service import Service
from twisted.internet.defer import Deferred
from twisted.internet.task import LoopingCall

from rolling_router.errors import SettingError
from rolling_router.observe.log_file import STDOUT, LogFile

FORMS = ("off", "common", "json")

# Seconds between two flushes, and so the age that a line may reach before it is in the file.
TICK = 1.0

# Bytes of one field that are kept. Longer ones come from attackers, or from applications with a fault.
_MOST_OF_A_FIELD = 8192

# Bytes of the fields that clients fill, tried one after the other until a line is short enough.
_SHORTER = (2048, 512, 128, 48)

# What nginx writes, and log tools know, where a client left before it had an answer.
_CLIENT_LEFT = 499

_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")

_IN_URL_PASSWORD = re.compile(rb"^([A-Za-z][A-Za-z0-9+.-]*://)[^/?#]*@")
# Blanks are among them, so that a request line always has three words.
_NOT_IN_A_WORD = re.compile(rb"[^!#-\[\]-~]")


@attrs.define
class Entry:
    """
    What the log may say of one request.

    :ivar client: its address in text; empty where there is none.    :ivar method: empty if no request could be read.
    :ivar status: of the final answer; 0 if there was none.    :ivar bytes_in: of the request's body.
    :ivar bytes_out: of the response's body.
    :ivar version: its id; empty where the router answered by itself, and `role` is ``none`` then.
    :ivar instance: ``host:port``, if one was chosen.    :ivar reason: as in `observe.counts`, like `role` and `asked`.
    :ivar retries: how often it was sent to an instance after the first time.
    :ivar seconds: from the request's first byte to the answer's last.
    :ivar upstream_seconds: from sending it to the answer's head, on the last try; ``None`` if none came.
    :ivar cut: whether the client left or the answer was broken off.
    """

    request_id: bytes = b""
    client: str = ""
    method: bytes = b""
    target: bytes = b""
    protocol: bytes = b""
    host: bytes = b""
    status: int = 0
    bytes_in: int = 0
    bytes_out: int = 0
    version: str = ""
    role: str = "none"
    instance: str | None = None
    reason: str = ""
    asked: str | None = None
    retries: int = 0
    seconds: float = 0.0
    upstream_seconds: float | None = None
    user_agent: bytes = b""
    referer: bytes = b""
    cut: bool = False


class AccessLog:
    """Writes entries to a file. `file` is to be flushed about once a second; `AccessLogService` does that."""

    def __init__(
        self,
        file: LogFile,
        form: str,
        now: Callable[[], float],
        mask_addresses: bool = True,
        keep_query: bool = True,
    ) -> None:
        """
        :param form: ``common`` or ``json``.    :param now: the time of day, as seconds since 1970.
        :param mask_addresses: keep only the network of a client: 24 bits of IPv4, 48 of IPv6.
        :param keep_query: whether to write what follows ``?`` in the target and the referer; tokens may be in it.
        """
        self.file = file
        self._line = {"common": common_line, "json": json_line}[form]
        self._now = now
        self._address = masked if mask_addresses else whole
        self._keep_query = keep_query
        # Others write there, too, and a pipe takes no more in one piece.
        self._most = select.PIPE_BUF if file.path == STDOUT else math.inf

    def write(self, entry: Entry) -> None:
        """Log a request that is over just now. Never fails; the line reaches the file within `TICK` seconds."""
        began = self._now() - entry.seconds
        address = self._address(entry.client)
        target, referer = self._url(entry.target), self._url(entry.referer)
        line = self._line(entry, began, address, target, referer)
        if len(line) > self._most:
            line = self._shortened(entry, began, address, target, referer)
        self.file.append(line)

    def _shortened(self, entry: Entry, began: float, address: str, target: bytes, referer: bytes) -> bytes:
        line = b""
        for most in _SHORTER:
            names = ("request_id", "method", "protocol", "host", "user_agent")
            short = attrs.evolve(entry, **{name: getattr(entry, name)[:most] for name in names})
            line = self._line(short, began, address, target[:most], referer[:most])
            if len(line) <= self._most:
                break
        return line

    def _url(self, url: bytes) -> bytes:
        if not self._keep_query:
            url = url.partition(b"?")[0]
        return _IN_URL_PASSWORD.sub(rb"\1", url)


def make_access_log(
    form: str,
    path: str,
    now: Callable[[], float],
    mask_addresses: bool = True,
    keep_query: bool = True,
) -> AccessLog | None:
    """
    Make what the options name; ``None`` for ``off``. Nothing is opened yet.

    :param path: of the file; ``-`` is standard output.    For the other parameters see `AccessLog`.
    :raises SettingError: no such form.
    """
    if form not in FORMS:
        raise SettingError(f"the access log's form is {form!r}; it must be one of {', '.join(FORMS)}")
    if form == "off":
        return None
    return AccessLog(LogFile(path), form, now, mask_addresses, keep_query)


class AccessLogService(Service):
    """
    Opens the log, flushes it every second, closes it.

    To be stopped after everything that writes entries.
    """

    def __init__(self, clock: Any, log: AccessLog) -> None:
        self._file = log.file
        self._loop = LoopingCall(self._file.flush)
        self._loop.clock = clock
        self._over: Deferred[Any] | None = None

    def startService(self) -> None:
        """:raises SettingError: the file cannot be opened."""
        self._file.open()
        super().startService()
        self._over = self._loop.start(TICK, now=False)

    def stopService(self) -> Deferred[Any] | None:
        super().stopService()
        if self._loop.running:
            self._loop.stop()
            self._file.close()
        return self._over


# Forms


def common_line(entry: Entry, began: float, address: str, target: bytes, referer: bytes) -> bytes:
    """Common Log Format, and not a word more: tools that read it are strict. `referer` has no place in it."""
    return b'%b - - [%b] "%b" %d %b\n' % (
        _word(address.encode("utf-8", "backslashreplace")),
        _clf_second(int(began)),
        b" ".join(map(_word, (entry.method, target, entry.protocol))) if entry.method else b"-",
        entry.status or _CLIENT_LEFT,
        b"%d" % entry.bytes_out if entry.bytes_out else b"-",
    )


def json_line(entry: Entry, began: float, address: str, target: bytes, referer: bytes) -> bytes:
    """One JSON object in ASCII. What is not known, or is empty, is null."""
    fields = {
        "time": _rfc3339(began),
        "request_id": _text(entry.request_id),
        "client": address or None,
        "method": _text(entry.method),
        "target": _text(target),
        "protocol": _text(entry.protocol),
        "host": _text(entry.host),
        "status": entry.status or None,
        "bytes_in": entry.bytes_in,
        "bytes_out": entry.bytes_out,
        "version": entry.version or None,
        "role": entry.role,
        "instance": entry.instance,
        "reason": entry.reason,
        "asked": entry.asked,
        "retries": entry.retries,
        "seconds": round(entry.seconds, 6),
        "upstream_seconds": None if entry.upstream_seconds is None else round(entry.upstream_seconds, 6),
        "user_agent": _text(entry.user_agent),
        "referer": _text(referer),
        "cut": entry.cut,
    }
    return _encode(fields).encode("ascii") + b"\n"


_encode = json.JSONEncoder(ensure_ascii=True, check_circular=False, separators=(",", ":")).encode


def _word(text: bytes) -> bytes:
    return _NOT_IN_A_WORD.sub(_escape, text[:_MOST_OF_A_FIELD]) or b"-"


def _escape(match: re.Match[bytes]) -> bytes:
    return b"\\x%02x" % match[0][0]


def _text(field: bytes) -> str | None:
    # Not surrogateescape: a lone surrogate in JSON stops some readers. A byte that is no UTF-8 reads \xff.
    return field[:_MOST_OF_A_FIELD].decode("utf-8", "backslashreplace") or None


def _rfc3339(moment: float) -> str:
    second = int(moment)
    return f"{_iso_second(second)}.{int((moment - second) * 1000):03d}Z"


@lru_cache(maxsize=64)
def _iso_second(second: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second))


@lru_cache(maxsize=64)
def _clf_second(second: int) -> bytes:
    at = time.gmtime(second)
    # Not strftime's %b, which speaks the language of the process.
    return f"{at.tm_mday:02d}/{_MONTHS[at.tm_mon - 1]}/{time.strftime('%Y:%H:%M:%S', at)} +0000".encode()


# Addresses


@lru_cache(maxsize=4096)
def masked(address: str) -> str:
    """The network of a client, its last bits zero: 24 bits of IPv4 stay, or 48 of IPv6. Empty if it is no address."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return ""
    # A socket that takes both kinds shows IPv4 clients as ::ffff:1.2.3.4, whose first 48 bits are all alike.
    v4 = parsed if parsed.version == 4 else parsed.ipv4_mapped
    if v4 is not None:
        return str(ipaddress.IPv4Address(int(v4) >> 8 << 8))
    return str(ipaddress.IPv6Address(int(parsed) >> 80 << 80))


def whole(address: str) -> str:
    return address
