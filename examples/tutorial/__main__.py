"""
tutorial: `make tutorial` plays the walk, says how each item ended, and ends with 1 if one failed; 130 after Ctrl-C.
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
import time
from typing import Any

from examples.tutorial import (
    section_a,
    section_b,
    section_c,
    section_d,
    section_e,
    section_f,
    section_g,
    section_h,
    section_i,
    section_j,
    section_k,
    section_l,
    section_m,
)  # fmt: skip
from examples.tutorial.player import Result, State, play, summary
from examples.tutorial.walk import Walk

SECTIONS = [
    module.section
    for module in (
        section_a, section_b, section_c, section_d, section_e, section_f, section_g, section_h, section_i, section_j,
        section_k, section_l, section_m,
    )
]  # fmt: skip


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m examples.tutorial", description="Play the tutorial's 68 items on this machine."
    )
    parser.add_argument("--json", metavar="FILE", help="write the results there, too, for programs")
    parser.add_argument("--to", metavar="LETTER", default="M", help="play sections up to this one [default: M]")
    arguments = parser.parse_args()
    for sign in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(sign, _end)
    began = time.monotonic()
    walk = Walk()
    try:
        results = play([one for one in SECTIONS if one.letter <= arguments.to.upper()], walk, _say)
        failed = [result for result in results if result.state is State.FAILED]
        if failed:
            _say("\n" + walk.log()[-6000:])
    except KeyboardInterrupt:
        _say("\nTold to end; ending everything that was started.")
        return 130
    finally:
        # Whoever asks twice must not tear the cleaning up.
        for sign in (signal.SIGINT, signal.SIGTERM):
            signal.signal(sign, signal.SIG_IGN)
        walk.close()
    _say("\n" + summary(results, time.monotonic() - began))
    if arguments.json:
        with open(arguments.json, "w", encoding="utf-8") as out:
            json.dump({"items": [_value(one) for one in results], "commands": walk.machine.ran}, out, indent=1)
    return 1 if failed else 0


def _value(result: Result) -> dict[str, Any]:
    return {
        "number": result.item.number,
        "sentence": result.item.sentence,
        "state": result.state.value,
        "note": result.note,
        "seconds": round(result.seconds, 2),
    }


def _say(text: str) -> None:
    print(text, flush=True)


def _end(*_: object) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
