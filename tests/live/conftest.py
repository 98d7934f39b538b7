"""What the live tests stand on: routers and instances, started and ended by the test that wants them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

from .instance import Instance
from .router import Router

StartRouter = Callable[..., Router]
StartInstance = Callable[..., Instance]


@pytest.fixture(scope="module")
def start_instance() -> Iterator[StartInstance]:
    """Start instances: ``start_instance(version, name)``. Those that live at the end of the file are ended."""
    started: list[Instance] = []

    def start(version: str = "1.0", name: str = "a") -> Instance:
        started.append(Instance(version, name))
        return started[-1]

    yield start
    for one in started:
        one.stop()
    assert [failure for one in started for failure in one.failures] == []


@pytest.fixture(scope="module")
def start_router(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StartRouter]:
    """
    Start routers: ``start_router(keys, *options)``. Each has a directory of its own; those that live at the end of
    the file are ended, and must end well and not have logged a traceback.
    """
    started: list[Router] = []

    def start(
        keys: Mapping[str, str] | None,
        *options: str,
        environ: Mapping[str, str] | None = None,
        listen: str | None = None,
        directory: Path | None = None,
    ) -> Router:
        router = Router(directory or tmp_path_factory.mktemp("router"), options, environ or {}, listen)
        started.append(router)
        if keys is not None:
            router.write(keys)
        router.start()
        return router

    yield start
    try:
        statuses = [router.stop() for router in started]
    finally:
        for router in started:
            router.kill()
    assert statuses == [0] * len(started)
    assert [router.output() for router in started if "Traceback" in router.output()] == []
