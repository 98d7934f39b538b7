"""Writes docs/options.md and docs/occs-emulator-options.md from the options themselves: ``make docs``."""

from __future__ import annotations

from pathlib import Path

from rolling_router.occs.emulator import options as emulator
from rolling_router.options import OPTIONS, Option

FOLDER = Path(__file__).parent
HEAD = """\
# Options

What `twistd rolling-router` can be told. Written by `make docs` from `rolling_router/options.py`; change it there.

- The command line wins over the environment, the environment over the default. A variable that is set but empty counts
  as not set.
- A variable that begins with `ROLLING_ROUTER_` and is no option's, mistyped perhaps, is ignored, and named in the log.
- An option that may be repeated takes several values, separated by blanks, from its variable.
- `--log-whole-addresses` and its like are on by being there; their variables take `1` or `0`.
- Sizes are in bytes, and `seconds` may have a fraction.
- No secret is ever an option: it would be in every list of processes.
- What cannot be used ends the start with one line that says what to mend, and exit status 1.

`--version` and `--help` stand alone. twistd's own options, such as `--nodaemon`, `--pidfile` and `--logfile`, come
before `rolling-router`.

| option | environment | default | what it is |
|---|---|---|---|
"""
EMULATOR_HEAD = """\
# Options of the OCCS emulator

What `twistd occs-emulator` can be told; [occs-emulator.md](occs-emulator.md) says what follows. Written by `make docs`
from `rolling_router/occs/emulator/options.py`; change it there.

- The command line wins over the environment, the environment over the default. A variable that is set but empty counts
  as not set.
- An option that may be repeated takes several values, one a line, from its variable.
- What cannot be used ends the start with one line that says what to mend, and exit status 1.

| option | environment | default | what it is |
|---|---|---|---|
"""


def row(option: Option) -> str:
    variables = ", ".join(f"`{name}`" for name in (option.variable, *option.aliases))
    default = "off" if option.is_flag else "" if option.default is None else f"`{option.default}`"
    repeats = "; may be repeated" if option.repeats else ""
    what = (option.help + repeats).replace("|", "\\|")
    return f"| `--{option.name}` | {variables} | {default} | {what} |\n"


def page() -> str:
    return HEAD + "".join(map(row, OPTIONS))


def emulator_row(option: emulator.Option) -> str:
    default = "" if option.default is None else f"`{option.default}`"
    what = (option.help + ("; may be repeated" if option.repeats else "")).replace("|", "\\|")
    return f"| `--{option.name}` | `{option.variable}` | {default} | {what} |\n"


def pages() -> dict[str, str]:
    """All pages, by file name."""
    return {
        "options.md": page(),
        "occs-emulator-options.md": EMULATOR_HEAD + "".join(map(emulator_row, emulator.OPTIONS)),
    }


if __name__ == "__main__":
    for name, text in pages().items():
        (FOLDER / name).write_text(text, "utf-8")
