"""occs.emulator.host_ports: which port of this machine a container's port is published at."""

from __future__ import annotations

import random
import socket
from collections.abc import Iterable, Iterator, Mapping

import attrs

from rolling_router.errors import SettingError
from rolling_router.occs.emulator.service_yaml import Published

FIRST, LAST = 20_000, 31_999
"""Free ports come from here: below those that the system gives to outgoing connections."""

_BLOCK = 100
"""
Free ports are taken by so many. The last port of a block is bound, and never listened on, by the emulator that has it:
to another one on this machine, a port would look free until its container has started.
"""


class PortTaken(Exception):
    """A fixed port cannot be had; the text names it and the mend."""


@attrs.frozen
class Publishing:
    """
    What the options say of fixed host ports.

    :ivar elsewhere: host port as written in a service -> the one to take instead; 0 is a free one.
    :ivar others: what is added to all others; ``None``: they get free ones.
    """

    elsewhere: Mapping[int, int] = attrs.field(factory=dict)
    others: int | None = 0

    @classmethod
    def read(cls, texts: Iterable[str]) -> Publishing:
        """
        :param texts: ``80=8000``, ``80=free``, ``*=free`` or ``*=+8000`` each.
        :raises SettingError: one of them is none of these.
        """
        elsewhere: dict[int, int] = {}
        others: int | None = 0
        for text in texts:
            written, _, wanted = text.partition("=")
            if written == "*" and (wanted == "free" or (wanted.startswith("+") and _is_port(wanted[1:]))):
                others = None if wanted == "free" else int(wanted)
            elif _is_port(written) and (wanted == "free" or _is_port(wanted)):
                elsewhere[int(written)] = 0 if wanted == "free" else int(wanted)
            else:
                raise SettingError(f"--publish is {text!r}; it must be like 80=8000, 80=free, *=free or *=+8000")
        return cls(elsewhere, others)

    def port(self, written: int) -> int | None:
        """Where a fixed port is published; ``None``: at a free one."""
        if written in self.elsewhere:
            return self.elsewhere[written] or None
        return None if self.others is None else written + self.others


class HostPorts:
    """Gives ports out, each to one container at a time."""

    def __init__(self, host: str, publishing: Publishing) -> None:
        self._host = host
        self._publishing = publishing
        self._given: set[int] = set()
        self._guards: list[socket.socket] = []
        self._ours: list[int] = []  # the ports of our blocks, the one that was given out last at the end

    def check(self) -> None:
        """:raises SettingError: the address is none of this machine's."""
        if not self._can_bind(0):
            raise SettingError(f"--address is {self._host!r}; it must be an address of this machine, for containers")

    def fixed(self, written: int) -> int:
        """Where a fixed port will be, for `proxy`; as written if that is only known when it is given."""
        return self._publishing.port(written) or written

    def take(self, wanted: Iterable[Published]) -> dict[int, int]:
        """
        A port for each, by container port. Give them back with `release`.

        :raises PortTaken: one of them is somebody else's.
        """
        taken: dict[int, int] = {}
        try:
            for one in wanted:
                fixed = None if one.host is None else self._publishing.port(one.host)
                taken[one.container] = self._free() if fixed is None else self._exactly(fixed)
        except BaseException:
            self.release(taken)
            raise
        return taken

    def release(self, taken: Mapping[int, int]) -> None:
        self._given.difference_update(taken.values())

    def _exactly(self, port: int) -> int:
        if port in self._given:
            raise PortTaken(f"another container has port {port}")
        if not self._can_bind(port):
            raise PortTaken(f"port {port} of {self._host} cannot be had; choose another with --publish")
        self._given.add(port)
        return port

    def _free(self) -> int:
        port = next(filter(self._is_free, self._ours), None) or next(filter(self._is_free, self._further()))
        self._ours.remove(port)
        self._ours.append(port)
        self._given.add(port)
        return port

    def _is_free(self, port: int) -> bool:
        return port not in self._given and self._can_bind(port)

    def _further(self) -> Iterator[int]:
        """
        The ports of further blocks, which are ours from then on.

        :raises PortTaken: there are none.
        """
        for first in random.sample(range(FIRST, LAST, _BLOCK), (LAST + 1 - FIRST) // _BLOCK):
            guard = socket.socket(_family(self._host))
            try:
                guard.bind((self._host, first + _BLOCK - 1))
            except OSError:
                guard.close()
                continue
            self._guards.append(guard)
            ports = random.sample(range(first, first + _BLOCK - 1), _BLOCK - 1)
            self._ours += ports
            yield from ports
        raise PortTaken(f"there is no free port from {FIRST} to {LAST}")

    def _can_bind(self, port: int) -> bool:
        try:
            with socket.create_server((self._host, port), family=_family(self._host)):
                return True
        except (OSError, OverflowError):
            return False


def _family(host: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in host else socket.AF_INET


def _is_port(text: str) -> bool:
    return text.isascii() and text.isdigit() and 0 < int(text) < 65536
