"""Fixtures that several files share."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, settings

from tests import outside
from tests.fakes import House
from tests.secured import connector

# The same draws each time, and none too slow: as where CI is set. `make fuzz` is for what nobody has thought of.
settings.register_profile("tests", derandomize=True, deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("tests")

LONG = ("test_tutorial.py", "test_occs.py", "test_occs_store.py", "test_settings_port.py", "test_deploy_breaks.py")
"""Files that take longest: begun first, so that none is still at it when the others have ended."""


def pytest_collection_modifyitems(items):
    items.sort(key=lambda item: LONG.index(item.path.name) if item.path.name in LONG else len(LONG))


@pytest.fixture(scope="session")
def wheel(tmp_path_factory):
    """The wheel of this checkout."""
    source = outside.copy_checkout(tmp_path_factory.mktemp("checkout"))
    (built,) = outside.build_wheels([source], tmp_path_factory.mktemp("wheel"))
    return built


@pytest.fixture(scope="session")
def make_environment(tmp_path_factory, wheel):
    """Make an environment that holds the wheel, what it requires and nothing else."""
    first = outside.Environment(tmp_path_factory.mktemp("environment"))
    first.pip("install", wheel)
    return lambda: first.copy_to(tmp_path_factory.mktemp("environment"))


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


@pytest.fixture
def connect_by_tls(tmp_path):
    """Connect a client by TLS to the engine in memory: ``connect_by_tls(house, "h2")``; see `tests.secured`."""
    return connector(tmp_path)
