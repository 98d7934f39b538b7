"""
admin.token_file: the tokens of one state directory, as hashes. Used by `tokens` in the router, and by the command.

Blocking, and quick. Two writers never lose each other's change: each holds a lock from reading to replacing.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import re
import secrets
from collections.abc import Iterator
from contextlib import contextmanager

import attrs

from rolling_router import disk
from rolling_router.admin.identity import Rights
from rolling_router.errors import SettingError

NAME = "tokens.json"
PREFIX = "rrt_"
_NAME = re.compile(r"[^\W_](?:[\w.@+-]| (?=\S)){0,99}\Z")


@attrs.frozen
class Token:
    """
    :ivar fingerprint: SHA-256 of the secret, in hex. A slow hash would protect words that people choose; these are 256
        random bits, which nobody tries out, and a quick one leaves clients no way to make us work.
    :ivar made_at: seconds since 1970.
    """

    name: str
    rights: Rights
    fingerprint: str
    made_at: float


def make_token(name: str, rights: Rights, now: float) -> tuple[str, Token]:
    """
    :returns: the secret, which is kept nowhere, and the token.
    :raises SettingError: the name cannot be used.
    """
    if not _NAME.match(name):
        raise SettingError(
            f"the token's name is {name[:100]!r}; it must begin with a letter or digit and have up to 100 letters, "
            "digits, single blanks and any of . _ @ + -"
        )
    secret = PREFIX + secrets.token_urlsafe(32)
    return secret, Token(name, rights, fingerprint(secret), now)


def fingerprint(secret: str) -> str:
    return hashlib.sha256(secret.encode("utf-8", "surrogateescape")).hexdigest()


class TokenFile:
    """``tokens.json`` in a state directory, mode 0600."""

    def __init__(self, directory: str) -> None:
        self.path = os.path.join(directory, NAME)

    def signature(self) -> tuple[int, int, int] | None:
        """Changes whenever the file is replaced; ``None`` when it is not there."""
        try:
            found = os.stat(self.path)
        except OSError:
            return None
        return found.st_mtime_ns, found.st_ino, found.st_size

    def read(self) -> tuple[Token, ...]:
        """:raises SettingError: it cannot be read; the text says what would mend it."""
        try:
            with open(self.path, encoding="utf-8") as file:
                found = json.load(file)
            return tuple(
                Token(str(one["name"]), Rights(one["role"]), str(one["sha256"]), float(one["made_at"]))
                for one in found["tokens"]
            )
        except FileNotFoundError:
            return ()
        except OSError as wrong:
            raise SettingError(f"the tokens in {self.path} cannot be read: {wrong.strerror}") from None
        except (ValueError, TypeError, KeyError, RecursionError):
            raise SettingError(
                f"{self.path} does not hold tokens; put a good copy back, or remove it and make new tokens"
            ) from None

    def add(self, token: Token) -> None:
        """:raises SettingError: there is one of that name, or the file cannot be read or written."""
        with self._changing() as tokens:
            if any(one.name == token.name for one in tokens):
                raise SettingError(
                    f"there is a token named {token.name!r} already; revoke it first, or choose another name"
                )
            tokens.append(token)

    def remove(self, name: str) -> None:
        """:raises SettingError: there is none of that name, or the file cannot be read or written."""
        with self._changing() as tokens:
            kept = [one for one in tokens if one.name != name]
            if len(kept) == len(tokens):
                known = ", ".join(one.name for one in tokens) or "none"
                raise SettingError(f"there is no token named {name[:100]!r}; there are: {known}")
            tokens[:] = kept

    @contextmanager
    def _changing(self) -> Iterator[list[Token]]:
        directory = os.path.dirname(self.path)
        try:
            os.makedirs(directory, mode=0o700, exist_ok=True)
            lock = os.open(os.path.join(directory, ".tokens.lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as wrong:
            raise SettingError(f"the tokens in {self.path} cannot be changed: {wrong.strerror}") from None
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            tokens = list(self.read())
            yield tokens
            self._replace(tokens)
        except OSError as wrong:
            raise SettingError(f"the tokens in {self.path} cannot be written: {wrong.strerror}") from None
        finally:
            os.close(lock)

    def _replace(self, tokens: list[Token]) -> None:
        rows = [
            {"name": one.name, "role": one.rights.value, "sha256": one.fingerprint, "made_at": one.made_at}
            for one in tokens
        ]
        disk.replace(self.path, json.dumps({"tokens": rows}, indent=2).encode("ascii") + b"\n")
