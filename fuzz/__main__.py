"""
``python -m fuzz``: each target for a while, led by which lines its input reaches. Exit status 1 if one fell.

``FUZZ_SECONDS`` says for how long each (60), ``FUZZ_TARGETS`` which (by name; all). What made one fall is in .fuzz.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

KEPT = Path(".fuzz")


def main() -> int:
    if len(sys.argv) > 1:
        fuzz(sys.argv[1], sys.argv[2:])
    from fuzz.targets import TARGETS, seeds

    seconds = int(os.environ.get("FUZZ_SECONDS") or 60)
    fallen = []
    for target in (os.environ.get("FUZZ_TARGETS") or " ".join(TARGETS)).split():
        corpus = KEPT / target
        corpus.mkdir(parents=True, exist_ok=True)
        for at, seed in enumerate(seeds(target)):
            (corpus / f"seed-{at:03}").write_bytes(seed)
        print(f"{target}: {seconds} s", flush=True)
        limits = [f"-max_total_time={seconds}", "-timeout=10", "-rss_limit_mb=2048", "-max_len=6000"]
        argv = [sys.executable, "-m", "fuzz", target, *limits, f"-artifact_prefix={KEPT}/{target}-", str(corpus)]
        if subprocess.run(argv, check=False).returncode:
            fallen.append(target)
    print(f"fell: {', '.join(fallen)}; see {KEPT}/" if fallen else "none fell")
    return 1 if fallen else 0


def fuzz(target: str, arguments: list[str]) -> None:
    """Never returns: libFuzzer ends the process."""
    import atheris

    with atheris.instrument_imports(include=["rolling_router.proxy", "fuzz.targets"]):
        from fuzz.targets import TARGETS
    atheris.Setup([f"fuzz {target}", *arguments], TARGETS[target])
    atheris.Fuzz()


if __name__ == "__main__":
    sys.exit(main())
