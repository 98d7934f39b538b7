"""occs.token: the bearer token, kept so that it shows nowhere but in the header that it is for."""

from __future__ import annotations

from collections.abc import Mapping

import attrs

from rolling_router.errors import SettingError

VARIABLE = "OCCS_API_TOKEN"
FILE_VARIABLE = "OCCS_API_TOKEN_FILE"


@attrs.define(eq=False)
class Token:
    """
    One token, or the file that holds the one of the day.

    :ivar source: the variable that it came from, for messages.    :ivar path: of the file, if there is one.
    """

    _text: str = attrs.field(repr=False)
    source: str = VARIABLE
    path: str | None = None

    @classmethod
    def from_environ(cls, environ: Mapping[str, str], variable: str = VARIABLE) -> Token | None:
        """
        From ``OCCS_API_TOKEN_FILE`` or ``OCCS_API_TOKEN``; ``None`` when neither is set.

        :param variable: another name for the latter.
        :raises SettingError: it cannot be read, or cannot be a token.
        """
        if path := environ.get(FILE_VARIABLE):
            return cls(_read(path), FILE_VARIABLE, path)
        if text := environ.get(variable, "").strip():
            return cls(_checked(text, variable), variable)
        return None

    def reveal(self) -> str:
        """For the ``Authorization`` header, and nothing else."""
        return self._text

    def renew(self) -> bool:
        """Look into the file again, after a refusal; says whether there is another token now."""
        if self.path is None:
            return False
        try:
            text = _read(self.path)
        except SettingError:
            return False  # being replaced, perhaps; the refusal is what gets told
        is_other, self._text = text != self._text, text
        return is_other

    def hide(self, text: str) -> str:
        """`text` without this token, should somebody have repeated it to us."""
        return text.replace(self._text, "(token)")


def _read(path: str) -> str:
    try:
        with open(path, encoding="ascii") as file:
            return _checked(file.read(10_000).strip(), FILE_VARIABLE)
    except (OSError, UnicodeDecodeError) as wrong:
        why = getattr(wrong, "strerror", None) or "it is not plain ASCII"
        raise SettingError(f"{FILE_VARIABLE} is {path!r}, which cannot be used: {why}") from None


def _checked(text: str, source: str) -> str:
    if not text or not text.isascii() or not text.isprintable() or " " in text:
        raise SettingError(f"{source} holds no token; it must be one word, as the console shows it under My Profile")
    return text
