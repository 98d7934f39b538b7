"""Variables that look like options and are none: a word in the log for each, and none for those that others set."""

import pytest

from rolling_router.admin import tokens
from rolling_router.cli import change, routers
from rolling_router.environment import unknown_variables
from rolling_router.options import OPTIONS
from rolling_router.traffic import crew, sockets, succession


def test_a_mistyped_variable_is_named_with_what_may_be_meant_and_without_its_value():
    told = unknown_variables({"ROLLING_ROUTER_WRKERS": "4", "ROLLING_ROUTER_XYZZY": "secret", "PATH": "/bin"})
    assert told == [
        "there is no option ROLLING_ROUTER_WRKERS; ROLLING_ROUTER_WORKERS may be meant",
        "there is no option ROLLING_ROUTER_XYZZY; twistd rolling-router --help has all there are",
    ]


def test_what_options_the_command_and_our_own_processes_use_is_known():
    ours = [one.variable for one in OPTIONS]
    ours += [tokens.VARIABLE, routers.ROUTER_VARIABLE, routers.TOKEN_VARIABLE, change.WHO_VARIABLE]
    ours += [crew.WORKER_VARIABLE, sockets.SOCKETS_VARIABLE, succession.PREDECESSOR_VARIABLE]
    assert unknown_variables(dict.fromkeys(ours, "x")) == []


@pytest.mark.parametrize("service", ["ROLLING_ROUTER", "ROLLING_ROUTER_SETTINGS"])
def test_what_kubernetes_tells_of_a_service_is_nobody_s_mistake(service):
    told = {
        f"{service}_SERVICE_HOST": "10.0.0.11",
        f"{service}_SERVICE_PORT": "80",
        f"{service}_SERVICE_PORT_HTTP": "80",
        f"{service}_PORT": "tcp://10.0.0.11:80",
        f"{service}_PORT_80_TCP": "tcp://10.0.0.11:80",
        f"{service}_PORT_80_TCP_ADDR": "10.0.0.11",
    }
    assert unknown_variables(told) == []


def test_a_port_that_a_person_set_is_a_mistake():
    assert len(unknown_variables({"ROLLING_ROUTER_PORT": "8000"})) == 1
