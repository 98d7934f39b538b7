"""occs.emulator.images: image name -> the command that stands in for it. Pure."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase
from pathlib import Path

import attrs

from rolling_router.errors import SettingError

_HELLO_WORLD = str(Path(__file__).with_name("hello_world.py"))
_TWISTD = "import sys; from twisted.scripts.twistd import run; sys.exit(run())"


@attrs.frozen
class Image:
    """
    A program for images whose name matches a pattern.

    :ivar command: its words. In each, ``{tag}``, ``{image}``, ``{port}`` (of the machine, for the first container port)
        are replaced; a word that is ``{command}`` becomes the words of the service's own `command`.
    :ivar environment: further variables; ``{host}`` and ``{port_80}`` (for container port 80) are replaced.
    """

    pattern: str
    command: tuple[str, ...]
    environment: Mapping[str, str] = attrs.field(factory=dict)

    def argv(self, name: str, command: str, port: int | None) -> list[str]:
        words: list[str] = []
        for word in self.command:
            if word == "{command}":
                words += shlex.split(command)
            else:
                told = {"tag": tag(name), "image": name, "command": command, "port": "" if port is None else str(port)}
                words.append(_filled(word, told))
        return words

    def variables(self, host: str, ports: Mapping[int, int]) -> dict[str, str]:
        told = {"host": host, **{f"port_{container}": str(port) for container, port in ports.items()}}
        filled = {name: _filled(text, told) for name, text in self.environment.items()}
        return {name: text for name, text in filled.items() if "{" not in text}  # a port that was not published


BUILT_IN = (
    Image("hello-world:*", (sys.executable, "-I", _HELLO_WORLD, "{tag}")),
    Image(
        "rolling-router-sticky-sessions:*",
        (sys.executable, "-P", "-c", _TWISTD, "-n", "--pidfile=", "rolling-router"),
        {
            "ROLLING_ROUTER_LISTEN": "tcp:{port_80}:interface={host}",
            "ROLLING_ROUTER_ADMIN": "tcp:{port_8080}:interface={host}",
        },
    ),
)
"""What any ``.../NAME:TAG`` runs unless an option says otherwise: the demo, and this router itself."""


def read(texts: Iterable[str]) -> tuple[Image, ...]:
    """
    The table: what the options say, then what is built in.

    :param texts: ``PATTERN=COMMAND`` each.    :raises SettingError: one of them is not.
    """
    made = []
    for text in texts:
        pattern, equals, command = text.partition("=")
        try:
            words = tuple(shlex.split(command))
        except ValueError as wrong:
            raise SettingError(f"--image is {text!r}: {wrong}") from None
        if not pattern or not equals or not words:
            raise SettingError(
                f"--image is {text!r}; it must be NAME=COMMAND, such as 'me/shop:*=/srv/shop/run {{tag}}'"
            )
        made.append(Image(pattern, words))
    return (*made, *BUILT_IN)


def find(images: Iterable[Image], name: str) -> Image | None:
    """The first whose pattern matches; a pattern need not name registry, account or tag."""
    path, tagged = _split(name)
    full = f"{path}:{tagged}"
    names = [full, path]
    while "/" in full:
        full = full.partition("/")[2]
        names += [full, full.rpartition(":")[0]]
    return next((image for image in images if any(fnmatchcase(one, image.pattern) for one in names)), None)


def tag(name: str) -> str:
    return _split(name)[1]


def _split(name: str) -> tuple[str, str]:
    head, colon, last = name.rpartition(":")
    return (head, last) if colon and "/" not in last else (name, "latest")


def _filled(word: str, told: Mapping[str, str]) -> str:
    for name, text in told.items():
        word = word.replace(f"{{{name}}}", text)
    return word
