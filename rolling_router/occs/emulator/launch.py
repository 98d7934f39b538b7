"""
launch: becomes a container's command, in a session of its own. Run as a program by `children`; imports nothing of the
project.

Waits for a byte on its input first: by then `undertaker` knows of it, so that nothing is left over by a crash.
"""

import os
import sys


def main() -> None:
    os.setsid()
    if os.read(0, 1) != b"g":
        return
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    try:
        os.execvp(sys.argv[1], sys.argv[1:])
    except OSError as wrong:
        sys.exit(f"cannot run {sys.argv[1]}: {wrong.strerror}")


if __name__ == "__main__":
    main()
