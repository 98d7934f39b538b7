"""The image, built once, and containers of it. `tests/image/run` has prepared the machine; see there."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.outside import ROOT

from .container import Container, run, succeed

BASE = "localhost/rolling-router-base"
REGISTRY = "127.0.0.1:5000"
# As somebody builds who cannot reach the package index: from wheels alone, on a base of one's own.
OPTIONS = f"--pull-never --build-arg BASE={BASE} --build-arg PIP_NO_INDEX=1"


@pytest.fixture(scope="session")
def base() -> str:
    """Debian with its Python, as an image."""
    if run("buildah", "inspect", "--type", "image", BASE).returncode != 0:
        name = succeed("buildah", "from", "scratch").strip()
        succeed("buildah", "add", "--quiet", name, str(ROOT / "build" / "image" / "base.tar"), "/")
        succeed("buildah", "commit", "--quiet", "--rm", name, BASE)
    return BASE


@pytest.fixture(scope="session")
def image(base: str) -> Iterator[str]:
    """The image, by ``make image``: its name."""
    printed = succeed("make", "image", f"REGISTRY_NAME={REGISTRY}/me", f"IMAGE_OPTIONS={OPTIONS}", ENGINE="buildah")
    name = printed.rstrip().splitlines()[-1].removeprefix("built ")
    yield name
    run("buildah", "rmi", "--force", name)
    run("buildah", "rmi", "--prune")


@pytest.fixture(scope="session")
def only_container(image: str) -> Iterator[Container]:
    made = Container(image)
    yield made
    made.remove()


@pytest.fixture
def container(only_container: Container) -> Iterator[Container]:
    """The container, not running, and with nothing in it that an earlier test has left."""
    yield only_container
    only_container.clear()
