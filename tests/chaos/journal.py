"""What reached which instance, as they wrote it down; read bit by bit, and forgotten when it was judged."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import attrs

from .record import Name


@attrs.define(eq=False)
class Journal:
    """
    :param files: of each instance.
    :ivar came: number of a request -> the instances that had it, in no order; as far as nobody took it.
    """

    files: Mapping[Name, Path]
    came: dict[str, list[Name]] = attrs.field(factory=dict)
    _read: dict[Name, int] = attrs.field(factory=dict)

    def read_on(self) -> None:
        """What was written since."""
        for name, path in self.files.items():
            if not path.exists():
                continue
            with path.open("rb") as file:
                file.seek(self._read.get(name, 0))
                text = file.read()
            text = text[: text.rfind(b"\n") + 1]
            self._read[name] = self._read.get(name, 0) + len(text)
            for line in text.decode("ascii").splitlines():
                self.came.setdefault(line, []).append(name)

    def take(self, number: str) -> list[Name]:
        """Who had this request."""
        return self.came.pop(number, [])
