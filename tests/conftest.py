"""Fixtures that several files share."""

from __future__ import annotations

import pytest

from tests import outside


@pytest.fixture(scope="session")
def wheel(tmp_path_factory):
    """The wheel of this checkout."""
    source = outside.copy_checkout(tmp_path_factory.mktemp("checkout"))
    (built,) = outside.build_wheels([source], tmp_path_factory.mktemp("wheel"))
    return built


@pytest.fixture(scope="session")
def make_environment(tmp_path_factory, wheel):
    """Make an environment that holds the wheel, what it requires and nothing else."""

    def make():
        environment = outside.Environment(tmp_path_factory.mktemp("environment"))
        environment.pip("install", wheel)
        return environment

    return make
