"""Fixtures that several files share."""

from __future__ import annotations

import pytest

from tests import outside
from tests.fakes import House


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


@pytest.fixture
def make_house():
    """Make the engine in memory; see `tests.fakes.House`. In the end nothing may be left over in it."""
    houses = []

    def make(*arguments, **settings):
        houses.append(House(*arguments, **settings))
        return houses[-1]

    yield make
    for house in houses:
        house.leave()


@pytest.fixture
def house(make_house):
    """The engine in memory, before one instance."""
    return make_house()
