"""Writes docs/options.md from the options themselves: ``make docs``."""

from __future__ import annotations

from pathlib import Path

from rolling_router.options import OPTIONS, Option

PAGE = Path(__file__).with_suffix(".md")
HEAD = """\
# Options

What `twistd rolling-router` can be told. Written by `make docs` from `rolling_router/options.py`; change it there.

- The command line wins over the environment, the environment over the default. A variable that is set but empty counts
  as not set.
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


def row(option: Option) -> str:
    variables = ", ".join(f"`{name}`" for name in (option.variable, *option.aliases))
    default = "off" if option.is_flag else "" if option.default is None else f"`{option.default}`"
    repeats = "; may be repeated" if option.repeats else ""
    what = (option.help + repeats).replace("|", "\\|")
    return f"| `--{option.name}` | {variables} | {default} | {what} |\n"


def page() -> str:
    return HEAD + "".join(map(row, OPTIONS))


if __name__ == "__main__":
    PAGE.write_text(page(), "utf-8")
