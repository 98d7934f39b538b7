"""
What setup.cfg cannot say: with ROLLING_ROUTER_COMPILE=1 the engine is built as machine code, by mypyc, from the same
sources. Without it, nothing here matters. `make fast` sets it; see docs/architecture.md.
"""

import os

from setuptools import setup

# What runs for each request. Enums with an `__init__` of their own and attrs classes stay as they are: mypyc knows
# neither well, and they cost little.
COMPILED = [
    "rolling_router/observe/score.py",
    *(
        f"rolling_router/proxy/{name}.py"
        for name in (
            "dispatch",
            "downstream",
            "exchange",
            "headers",
            "heads",
            "knowing",
            "known",
            "pool",
            "reader",
            "request",
            "response",
            "sending",
            "side",
            "upstream",
        )
    ),
    *(f"rolling_router/routing/{name}.py" for name in ("blend", "fleet", "router")),
]


def extensions() -> list:
    if os.environ.get("ROLLING_ROUTER_COMPILE") != "1":
        return []
    from mypyc.build import mypycify

    return mypycify(COMPILED, opt_level="3", debug_level="0")


setup(ext_modules=extensions())
