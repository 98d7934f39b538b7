"""
undertaker: ends the containers of an emulator that was killed. Run as a program by `children`; imports nothing of the
project.

Reads ``+PID`` and ``-PID`` lines, process groups that live and that are gone. When its input ends, so did the emulator,
however that came about: whatever group is left then is killed, with all its descendants.
"""

import os
import signal
import sys


def main() -> None:
    os.setsid()  # whoever ends the emulator's group, or Ctrl-C, must not take this along
    for sign in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(sign, signal.SIG_IGN)
    alive: set[int] = set()
    for line in sys.stdin:
        (alive.add if line[0] == "+" else alive.discard)(int(line[1:]))
    for group in alive:
        try:
            os.killpg(group, signal.SIGKILL)
        except ProcessLookupError:
            pass


if __name__ == "__main__":
    main()
