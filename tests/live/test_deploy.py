"""`rolling-router deploy` against the emulator: what it does when all goes well, and what it says when not."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count

import pytest

from tests.delivery import FIRST, NULL, SECOND, THIRD, Ci
from tests.occs import Emulator, deployment, emulating

_numbers = count(1)


@pytest.fixture(scope="module")
def emulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Emulator]:
    with emulating(tmp_path_factory.mktemp("emulator"), "--ready-seconds=0.2", "--stop-seconds=0.2") as emulator:
        yield emulator


@pytest.fixture
def ci(emulator: Emulator) -> Iterator[Ci]:
    """An app of its own for each test."""
    yield Ci(emulator, f"shop{next(_numbers)}")
    emulator.control.mend()
    emulator.control.faults(ready_seconds=0.2, stop_seconds=0.2)


def test_the_first_deploy_of_an_app_that_has_no_keys(ci: Ci) -> None:
    done = ci.deploy(FIRST, SCALE_AMOUNT="2")
    assert (done.status, done.complaints) == (0, "")
    lines = [line.partition(" s  ")[2] for line in done.out.splitlines()]
    assert lines == [
        f"created {ci.id(FIRST)}: me/hello-world:{FIRST}, 2 instances",
        f"{ci.id(FIRST)} is ready: 2 instances",
        f"setting {ci.app} up, which had no keys yet: no stable version, blend 0, not sticky",
        f"made {ci.id(FIRST)} the candidate; blend 0",
    ]
    assert ci.settings() == (NULL, ci.path(FIRST), "0")
    made = ci.emulator.json("GET", f"/api/v2/deployments/{ci.id(FIRST)}")["deployment"]
    assert (made["current_state"], made["desired_state"]) == (1, 1)
    assert (made["deployment_name"], made["stack"]["subtype"]) == (f"Hello World {FIRST}", "service")
    assert len(ci.emulator.keys(ci.path(FIRST))) == 2
    assert ci.notes() == {}


def test_a_deploy_takes_the_place_of_the_candidate_and_leaves_stable_alone(ci: Ci) -> None:
    ci.emulator.control.faults(delete_refusals=2)
    ci.deploy(FIRST)
    ci.set_up(stable=ci.path(FIRST))
    assert ci.deploy(SECOND).status == 0
    ci.set_up(ci.path(FIRST), ci.path(SECOND), 50)
    done = ci.deploy(THIRD)
    assert (done.status, done.complaints) == (0, "")
    assert f"made {ci.id(THIRD)} the candidate, in place of {ci.id(SECOND)}; blend 0" in done.out
    assert done.out.splitlines()[-1].endswith(f" s  removed {ci.id(SECOND)}")
    assert ci.settings() == (ci.path(FIRST), ci.path(THIRD), "0")
    assert ci.deployments() == {ci.id(FIRST): 1, ci.id(THIRD): 1}
    assert ci.notes() == {}


def test_the_same_build_again_finds_all_done(ci: Ci) -> None:
    ci.deploy(FIRST)
    ci.set_up(candidate=ci.path(FIRST), blend=30)
    again = ci.deploy(FIRST)
    assert (again.status, "is the candidate already" in again.out) == (0, True)
    assert ci.settings() == (NULL, ci.path(FIRST), "30")
    ci.set_up(stable=ci.path(FIRST))
    again = ci.deploy(FIRST)
    assert (again.status, "is stable already" in again.out) == (0, True)
    assert ci.settings() == (ci.path(FIRST), NULL, "0")
    assert ci.deployments() == {ci.id(FIRST): 1}


def test_a_candidate_that_is_gone_already_is_told(ci: Ci) -> None:
    ci.set_up(candidate=ci.path(FIRST))
    done = ci.deploy(SECOND)
    assert (done.status, f"{ci.id(FIRST)} is gone already" in done.out) == (0, True)
    assert ci.settings() == (NULL, ci.path(SECOND), "0")


def test_what_the_original_page_wrote_for_nothing_is_nothing(ci: Ci) -> None:
    ci.set_up(candidate="apps/app-rolling/null-3000/containers")
    done = ci.deploy(FIRST)
    assert (done.status, "gone already" in done.out) == (0, False)


def test_what_is_missing_is_named_before_anything_is_sent(ci: Ci) -> None:
    refused = ci.deploy("", API_TOKEN="", EXPOSED_PORT="", SERVICE_MANAGER="", DOCKER_REGISTRY="", IMAGE_NAME="")
    assert (refused.status, refused.out) == (1, "")
    assert refused.err == (
        "rolling-router: SERVICE_MANAGER (--manager), API_TOKEN, DOCKER_REGISTRY (--registry), IMAGE_NAME (--image), "
        "WERCKER_MAIN_PIPELINE_STARTED (--tag), EXPOSED_PORT (--port) are missing; "
        "set the variable, or give the option; instances that run already are named by --instance\n"
    )
    refused = ci.deploy(FIRST, APP_NAME="")
    assert "--instance" not in refused.err, "it has a manager"
    assert (refused.status, "APP_NAME (--app) is missing" in refused.err) == (1, True)
    assert ci.deployments() == {}


@pytest.mark.parametrize(
    ("variable", "text"),
    [
        ("SERVICE_MANAGER", "http://10.0.0.1"),
        ("EXPOSED_PORT", "0"),
        ("EXPOSED_PORT", "9" * 5000),
        ("SCALE_AMOUNT", "two"),
        ("IMAGE_NAME", "hello-world:1"),
        ("APP_NAME", "a/b"),
        ("WERCKER_MAIN_PIPELINE_STARTED", "a b"),
    ],
)
def test_what_cannot_be_meant_is_named(ci: Ci, variable: str, text: str) -> None:
    refused = ci.deploy(FIRST, **{variable: text})
    assert (refused.status, refused.out) == (1, "")
    assert repr(text) in refused.err


@pytest.mark.parametrize(("text", "words"), [("two words", "API_TOKEN holds no token"), (" ", "API_TOKEN is missing")])
def test_a_token_that_cannot_be_one_is_named_as_it_was_given_and_not_shown(ci: Ci, text: str, words: str) -> None:
    refused = ci.deploy(FIRST, API_TOKEN=text)
    assert (refused.status, refused.out) == (1, "")
    assert refused.err.startswith(f"rolling-router: {words}; ")
    assert "two words" not in refused.err


def test_options_do_instead_of_variables_and_a_tag_need_not_be_a_time(ci: Ci) -> None:
    words = ("--manager", ci.emulator.manager, "--app", ci.app, "--registry", "me", "--image", "hello-world")
    words += ("--port", "3000", "--env", "COLOUR=green", "--env", "APP_TAG", "--json")
    empty = dict.fromkeys(("SERVICE_MANAGER", "APP_NAME", "DOCKER_REGISTRY", "IMAGE_NAME", "EXPOSED_PORT"), "")
    empty |= dict.fromkeys(("WERCKER_MAIN_PIPELINE_STARTED", "SCALE_AMOUNT", "DOCKER_CMD", "APP_FRIENDLY_NAME"), "")
    told = ci.deploy("", *words, "--tag", "v1.0-rc", **empty).json
    (id,) = ci.deployments()
    assert (told["version"], told["changed"], told["removed"]) == (id, True, [])
    made = ci.emulator.json("GET", f"/api/v2/deployments/{id}")["deployment"]
    assert made["deployment_name"] == f"{ci.app} v1.0-rc"
    assert '- "COLOUR=green"\n      - "APP_TAG=latest"\n' in made["stack"]["content"]
    assert ci.deploy("", *words, "--tag", "v1.0-rc", **empty).json["changed"] is False
    assert list(ci.deployments()) == [id]


def test_a_deployment_that_is_not_ready_in_time_is_removed_and_no_key_changed(ci: Ci) -> None:
    ci.set_up(candidate=ci.path(FIRST), blend=20)
    late = ci.deploy(SECOND, "--timeout=3", IMAGE_NAME="no-such-image")
    assert (late.status, f"{ci.id(SECOND)} is not ready after 3 s" in late.err) == (5, True)
    assert late.out.splitlines()[-1].endswith(f"removed {ci.id(SECOND)}")
    assert ci.settings() == (NULL, ci.path(FIRST), "20")
    assert (ci.deployments(), ci.notes()) == ({}, {})


def test_a_failed_deployment_is_kept_if_that_is_asked_for(ci: Ci) -> None:
    late = ci.deploy(SECOND, "--timeout=3", "--keep-failed", IMAGE_NAME="no-such-image")
    assert (late.status, f"left {ci.id(SECOND)} there, as asked" in late.out) == (5, True)
    assert list(ci.deployments()) == [ci.id(SECOND)]


def test_another_images_deployment_of_the_same_name_is_not_taken(ci: Ci) -> None:
    ci.emulator.json("POST", "/api/v2/deployments/", deployment(ci.id(FIRST), image="me/hello-world:other"))
    refused = ci.deploy(FIRST)
    assert (refused.status, "of another image than" in refused.err) == (1, True)
    assert (ci.settings(), list(ci.deployments())) == ((None, None, None), [ci.id(FIRST)])
