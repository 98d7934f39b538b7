"""The tutorial's page, items D to L of the walk: a browser, the router as a service, the OCCS emulator as manager."""

from __future__ import annotations

import re
import socket
import subprocess
from collections import Counter
from contextlib import suppress
from itertools import pairwise

import pytest
from live.router import APP, TOKEN, until
from live.test_occs_scripts import KEYVALUES
from playwright.sync_api import expect

from rolling_router.rollout.keys import revision
from tests.occs import deployment, emulating
from tests.ports import free_port

from .conftest import notice, picture, set_blend, sign_in

OLD, NEW, LATER = f"{APP}-20261123-101500", f"{APP}-20261123-111500", f"{APP}-20261123-121500"
NONE = "rolling/null"
FOUR = ("stable/id", "candidate/id", "blendpercent", "stickyness")
SECONDS = 60.0
GET = b"GET / HTTP/1.1\r\nHost: shop.test\r\n\r\n"


@pytest.fixture(scope="module")
def emulator(tmp_path_factory):
    options = ("--publish", "*=free", "--ready-seconds=0", "--stop-seconds=0")
    with emulating(tmp_path_factory.mktemp("emulator"), *options) as emulator:
        for id_, tag in ((OLD, "1.0.0"), (NEW, "1.0.1")):
            deploy(emulator, id_, tag)
        yield emulator


def deploy(emulator, id_, tag):
    emulator.json("POST", "/api/v2/deployments/", deployment(id_, image=f"me/hello-world:{tag}"))

    def runs():
        one = emulator.json("GET", f"/api/v2/deployments/{id_}")["deployment"]
        return one["desired_state"] == one["current_state"] == 1 and emulator.keys(f"apps/app-{id_}-3000/")

    until(runs, SECONDS, f"{id_} runs")


def path(id_):
    return NONE if id_ is None else f"apps/app-{id_}-3000/containers"


def store(emulator, stable=None, candidate=None, blend=0, sticky=0):
    """The app's keys, as a script writes them."""
    emulator.put(NONE, "-")
    for name, text in zip(FOUR, (path(stable), path(candidate), str(blend), str(sticky)), strict=True):
        emulator.put(f"rolling/{APP}/{name}", text)


def stored(emulator):
    """What the four keys hold; ``None``: not there."""
    return tuple(emulator.get(f"rolling/{APP}/{name}") for name in FOUR)


def holds(emulator, *four):
    """Wait until the keys are these: they are written one by one, and the page may show the first at once."""
    until(lambda: stored(emulator) == four, SECONDS, f"the keys are {four}")


@pytest.fixture(scope="module")
def service(start_router, emulator):
    """The router, as it was started with the manager."""
    environ = {"OCCS_API_TOKEN_FILE": str(emulator.token_file), "OCCS_CA": str(emulator.ca_file)}
    return start_router(None, "--store", f"occs:{emulator.manager}", environ=environ)


@pytest.fixture(scope="module")
def on_a_node(start_router, emulator):
    """The router, as it was started with a node's endpoint alone."""
    return start_router(None, "--store", f"occs:{emulator.node}", environ={"OCCS_CA": str(emulator.ca_file)})


@pytest.fixture
def router(service, emulator):
    """It and an app without keyvalues, which is where the tutorial begins."""
    emulator.control.mend()
    emulator.json("DELETE", f"/api/kv/rolling/{APP}/?recurse")
    until(lambda: not service.status()["is_set_up"], SECONDS, "the router sees that nothing is set up")
    return service


def put(emulator, router, **keys):
    store(emulator, **keys)

    written = revision(APP, emulator.keys(f"rolling/{APP}/"))
    until(lambda: router.status()["revision"] == written, SECONDS, "the keys are in force")


def enter(page, emulator, port="", host=None, bearer=None):
    """What one does on the setup screen."""
    expect(page.locator("#setup")).to_be_visible()
    if page.locator("#way-occs").is_visible():
        page.click("#way-occs")
    if host is not None:
        page.fill("#host", host)
    page.fill("#bearer", emulator.token if bearer is None else bearer)
    page.fill("#port", port)
    page.click("#occs-form button[type=submit]")


@pytest.fixture
def open_manage(router, emulator, open_page):
    def open_(port=""):
        page = open_page(router, token=None)
        enter(page, emulator, port)
        expect(page.locator("#manage")).to_be_visible()
        expect(page.locator("#live")).to_have_text("Live")
        return page

    return open_


def choose(page, role, id_):
    page.select_option(
        f"#{role}-select", value=page.locator(f"#{role}-select option", has_text=f"{id_} (").get_attribute("value")
    )
    page.click(f'[data-role="{role}"] form button')


def shows(page, stable, candidate, blend, sticky):
    """That these are what the page calls the current values."""
    expect(page.locator("#stable-name")).to_have_text(stable)
    expect(page.locator("#candidate-name")).to_have_text(candidate)
    expect(page.locator('[data-bar="asked"]')).to_contain_text(f"candidate {blend}%")
    expect(page.locator("#sticky-now")).to_have_text(sticky)


def version(router, *fields):
    """Which one serves a request."""
    answer = router.ask(GET.replace(b"\r\n\r\n", b"\r\n" + b"".join(field + b"\r\n" for field in fields) + b"\r\n"))
    assert answer.status == 200
    return re.search(rb"Hello World v\. ([\d.]+)<", answer.body)[1].decode(), answer


def serve(router, *versions):
    """Wait until the router sends requests to these and no others."""
    until(lambda: {version(router)[0] for _ in range(4)} == set(versions), SECONDS, f"{versions} serve")


# D. First sign-in


def test_14_15_the_gui_begins_with_the_setup_screen_of_four_inputs_with_hints(router, emulator, open_page):
    page = open_page(router, token=None)
    for label, hint in {
        "Admin host": "was started with this manager",
        "API token (bearer)": "Settings, My Profile",
        "Application name": "application that this router serves",
        "Application port (optional)": "May be left empty",
    }.items():
        field = page.get_by_label(label, exact=True)
        expect(field).to_be_visible()
        expect(field).to_have_accessible_description(re.compile(hint))
    expect(page.locator("#host")).to_have_value(emulator.manager)
    expect(page.locator("#host")).not_to_be_editable()
    expect(page.locator("#app-name")).to_have_value(APP)
    expect(page.locator("#occs-form button[type=submit]")).to_have_text("OK")
    picture(page, "setup-occs")


def test_16_18_ok_leads_to_an_app_without_keyvalues_and_back_what_was_entered_is_kept(open_manage, emulator):
    page = open_manage("3000")
    expect(page.locator("#app")).to_have_text(APP)
    expect(page.locator("#app-port")).to_have_text("port 3000")
    expect(notice(page, "unset")).to_contain_text("no keyvalues yet. Choosing values creates them")
    for role in ("stable", "candidate"):
        expect(page.locator(f"#{role}-name")).to_have_text("–")
    expect(page.locator("#blend-number")).to_have_value("")
    expect(page.locator("#sticky-now")).to_have_text("–")
    picture(page, "occs-not-set-up")

    page.click("#to-setup")
    expect(page.locator("#host")).to_have_value(emulator.manager)
    expect(page.locator("#app-name")).to_have_value(APP)
    expect(page.locator("#port")).to_have_value("3000")
    page.click("#occs-form .back")
    expect(page.locator("#manage")).to_be_visible()
    assert emulator.token not in page.content()


def test_17_a_wrong_token_is_told_and_found_nowhere(router, emulator, open_page):
    page, bodies = open_page(router, token=None), []
    page.on("response", lambda answer: bodies.append(answer.text()) if "/session" in answer.url else None)
    enter(page, emulator, "3000", bearer="not-the-token-of-anybody")
    expect(notice(page, "said")).to_contain_text("No connection could be made")
    expect(page.locator("#setup")).to_be_visible()
    expect(page.locator("#port")).to_have_value("3000")
    picture(page, "occs-refused")
    enter(page, emulator)
    expect(page.locator("#manage")).to_be_visible()
    expect(notice(page, "said")).to_have_count(0)
    everywhere = [
        *bodies,
        page.content(),
        router.output(),
        page.evaluate("JSON.stringify([{...localStorage}, {...sessionStorage}])"),
    ]
    for secret in ("not-the-token-of-anybody", emulator.token):
        assert [text for text in everywhere if secret in text] == []
    assert page.evaluate("document.cookie") == ""


def test_17_a_manager_that_hangs_is_told(router, emulator, open_page):
    page = open_page(router, token=None)
    emulator.control.faults(outage="hang")
    enter(page, emulator)
    expect(page.locator("#occs-form button[type=submit]")).to_have_text("Connecting…")
    expect(page.locator("#occs-form button[type=submit]")).to_be_disabled()
    expect(notice(page, "said")).to_contain_text("No connection could be made")
    emulator.control.mend()
    enter(page, emulator)
    expect(page.locator("#manage")).to_be_visible()


def test_a_host_is_entered_by_who_has_an_operator_token_and_wrong_ones_are_told(on_a_node, router, emulator, open_page):
    page = open_page(on_a_node, token=None)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        enter(page, emulator, host=emulator.manager)
        expect(notice(page, "said")).to_contain_text("operator token of this router first")
        sign_in(page, TOKEN)
        expect(page.locator("#manage")).to_be_visible()
        page.click("#to-setup")
        for host in (f"127.0.0.1:{free_port()}", f"127.0.0.1:{silent.getsockname()[1]}"):
            enter(page, emulator, "3000", host=host)
            expect(notice(page, "said")).to_contain_text("No connection could be made")
            expect(page.locator("#host")).to_have_value(host)
            notice(page, "said").locator("button").click()
    enter(page, emulator, host=emulator.manager.replace("https", "http"))
    expect(notice(page, "said")).to_contain_text("That admin host cannot be used")

    enter(page, emulator, "3000", host=emulator.manager.removeprefix("https://"))  # as the tutorial types it
    expect(page.locator("#who")).to_contain_text("occs:")
    choose(page, "stable", OLD)
    expect(page.locator("#stable-name")).to_have_text(OLD)
    holds(emulator, path(OLD), NONE, "0", "0")
    page.click("#to-setup")
    expect(page.locator("#host")).to_have_value(emulator.manager.removeprefix("https://"))
    expect(page.locator("#port")).to_have_value("3000")
    assert emulator.token not in on_a_node.output() + page.content()


# E. Create the initial keyvalues


def test_19_20_21_choosing_values_creates_exactly_the_four_keys(open_manage, emulator):
    page = open_manage("3000")
    offered = [f"{OLD} (Deployment {OLD})", f"{NEW} (Deployment {NEW})", f"{NONE} ({NONE})"]
    for role in ("stable", "candidate"):
        expect(page.locator(f"#{role}-select option:not([disabled])")).to_have_text(offered)
    choose(page, "stable", NONE)
    shows(page, NONE, NONE, 0, "false")
    expect(notice(page, "unset")).to_have_count(0)
    picture(page, "occs-keyvalues-set")
    holds(emulator, NONE, NONE, "0", "0")
    assert emulator.get(NONE) == "-"
    assert set(emulator.keys(f"rolling/{APP}/")) == {f"rolling/{APP}/{name}" for name in FOUR}


def test_20_blend_and_stickiness_can_be_what_is_chosen_first(open_manage, emulator, router):
    page = open_manage("3000")
    page.click('[data-blend="0"]')
    page.click("#blend-set")
    shows(page, NONE, NONE, 0, "false")
    holds(emulator, NONE, NONE, "0", "0")


def test_22_the_port_that_was_entered_is_part_of_the_paths(open_manage, emulator):
    page = open_manage("3000")
    choose(page, "stable", OLD)
    expect(page.locator("#stable-name")).to_have_text(OLD)
    holds(emulator, f"apps/app-{OLD}-3000/containers", NONE, "0", "0")


def test_22_a_version_of_several_ports_is_offered_with_the_one_that_was_entered(open_manage, emulator):
    other = f"apps/app-{OLD}-9000/containers"
    emulator.put(f"{other}/x", "127.0.0.1:9")
    try:
        page = open_manage("3000")
        labels = page.locator("#stable-select option:not([disabled])")
        expect(labels).to_have_count(3)
        choose(page, "stable", OLD)
        expect(page.locator("#stable-name")).to_have_text(OLD)
        holds(emulator, path(OLD), NONE, "0", "0")
        both = open_manage("")
        expect(both.locator("#candidate-select option", has_text=OLD)).to_have_text(
            [f"{OLD} (Deployment {OLD}) · port 3000", f"{OLD} (Deployment {OLD}) · port 9000"]
        )
    finally:
        emulator.json("DELETE", f"/api/kv/{other}?recurse")


def test_24_keys_that_a_script_made_are_shown(open_manage, emulator, tmp_path):
    page = open_manage()
    expect(notice(page, "unset")).to_be_visible()
    environ = {
        "PATH": "/usr/bin:/bin",
        "API_TOKEN": emulator.token,
        "SERVICE_MANAGER": emulator.manager,
        "APP_NAME": APP,
    }
    subprocess.run(["bash", "-c", KEYVALUES], env=environ, check=True, capture_output=True, cwd=tmp_path)
    shows(page, NONE, NONE, 0, "false")
    expect(notice(page, "unset")).to_have_count(0)


def test_21_what_the_original_wrote_for_null_is_read_as_none(open_manage, emulator, router):
    put(emulator, router, stable=OLD, candidate=NEW, blend=0)
    page = open_manage()
    shows(page, OLD, NEW, 0, "false")
    emulator.put(f"rolling/{APP}/candidate/id", "apps/app-rolling/null-3000/containers")
    shows(page, OLD, NONE, 0, "false")
    expect(page.locator("#promote")).to_be_hidden()
    assert page.locator(".notice").count() == 0


# F. Existing application


def test_25_26_without_a_port_all_is_found_and_the_port_with_it(open_manage, emulator, router):
    put(emulator, router, stable=OLD, candidate=NEW, blend=30, sticky=1)
    page = open_manage()
    shows(page, OLD, NEW, 30, "true (cookie)")
    expect(page.locator("#app-port")).to_have_text("port 3000")


def test_26_the_port_is_shown_also_when_only_the_candidate_has_a_path(open_manage, emulator, router):
    put(emulator, router, candidate=NEW)
    page = open_manage()
    expect(page.locator("#candidate-name")).to_have_text(NEW)
    expect(page.locator("#stable-name")).to_have_text(NONE)
    expect(page.locator("#app-port")).to_have_text("port 3000")


def test_27_a_change_made_by_curl_shows_by_itself(open_manage, emulator, router):
    put(emulator, router, stable=OLD, candidate=NEW)
    page = open_manage()
    shows(page, OLD, NEW, 0, "false")
    emulator.put(f"rolling/{APP}/blendpercent", "40")
    expect(page.locator('[data-bar="asked"]')).to_contain_text("candidate 40%")
    expect(page.locator("#blend-number")).to_have_value("40")


# I to L. Candidate, promote, blend, stickiness


def test_42_46_58_a_new_deployment_shows_as_candidate_by_itself_with_promote_and_blend_0(open_manage, emulator, router):
    put(emulator, router, stable=OLD, blend=0)
    page = open_manage()
    expect(page.locator("#promote")).to_be_hidden()
    expect(page.locator("#rollback")).to_be_hidden()
    deploy(emulator, LATER, "1.0.2")
    try:
        emulator.put(f"rolling/{APP}/blendpercent", "0")
        emulator.put(f"rolling/{APP}/candidate/id", path(LATER))
        shows(page, OLD, LATER, 0, "false")
        expect(page.locator("#promote")).to_be_visible()
        expect(page.locator("#stable-select option", has_text=LATER)).to_have_count(1)
        picture(page, "occs-candidate-deployed")
        serve(router, "1.0.0")
    finally:
        emulator.put(f"rolling/{APP}/candidate/id", NONE)
        emulator.json("POST", f"/api/v2/deployments/{LATER}/stop")

    def is_deleted():
        with suppress(AssertionError):
            return emulator.json("DELETE", f"/api/v2/deployments/{LATER}")

    until(is_deleted, SECONDS, "it can be deleted")
    expect(page.locator("#candidate-name")).to_have_text(NONE)


@pytest.mark.parametrize("blend", [0, 50, 100])
def test_45_47_48_49_promote_at_any_blend(open_manage, emulator, router, blend):
    put(emulator, router, stable=OLD, candidate=NEW, blend=blend)
    page = open_manage()
    held = []
    page.route("**/api/v1/promote", lambda route: held.append(route))
    page.click("#promote")
    page.click("#ask-yes")
    expect(page.locator("#promote")).to_have_text("Promoting…")
    until(lambda: page.wait_for_timeout(50) or held)
    held[0].continue_()
    shows(page, NEW, NONE, 0, "false")
    expect(page.locator("#promote")).to_be_hidden()
    holds(emulator, path(NEW), NONE, "0", "0")
    serve(router, "1.0.1")
    picture(page, "occs-promoted")


def test_54_55_56_59_blends_are_exact_and_shown(open_manage, emulator, router):
    put(emulator, router, stable=OLD, candidate=NEW)
    page = open_manage()
    for blend, expected in ((50, {"1.0.0": 50, "1.0.1": 50}), (100, {"1.0.1": 100}), (0, {"1.0.0": 100})):
        set_blend(page, blend)
        shows(page, OLD, NEW, blend, "false")
        expect(notice(page, "asked")).to_have_count(0)
        assert emulator.get(f"rolling/{APP}/blendpercent") == str(blend)
        served = [version(router)[0] for _ in range(100)]
        assert Counter(served) == expected
        if blend == 50:
            assert all(one != other for one, other in pairwise(served))


def test_60_stable_and_candidate_can_be_chosen_freely(open_manage, emulator, router):
    put(emulator, router, stable=OLD)
    page = open_manage()
    choose(page, "stable", NEW)
    shows(page, NEW, NONE, 0, "false")
    serve(router, "1.0.1")
    choose(page, "candidate", OLD)
    shows(page, NEW, OLD, 0, "false")
    holds(emulator, path(NEW), path(OLD), "0", "0")


def test_61_to_65_stickiness_is_a_dropdown_and_holds_while_it_is_true(open_manage, emulator, router):
    put(emulator, router, stable=OLD, candidate=NEW, blend=50)
    page = open_manage()
    expect(page.locator("#sticky-now")).to_have_text("false")
    page.select_option("#sticky", "on")
    page.click("#sticky-set")
    expect(page.locator("#sticky-now")).to_have_text("true (cookie)")
    assert emulator.get(f"rolling/{APP}/stickyness") == "1"
    clients = []
    for _ in range(20):
        served, answer = version(router)
        (pin,) = [one.split(b";")[0] for one in answer.all(b"Set-Cookie") if one.startswith(b"rr_")]
        clients.append((served, b"Cookie: " + pin))
    assert Counter(served for served, _ in clients) == {"1.0.0": 10, "1.0.1": 10}
    assert all(version(router, cookie)[0] == served for served, cookie in clients for _ in range(3))

    page.select_option("#sticky", "off")
    page.click("#sticky-set")
    expect(page.locator("#sticky-now")).to_have_text("false")
    assert emulator.get(f"rolling/{APP}/stickyness") == "0"
    cookie = clients[0][1]
    until(lambda: version(router, cookie)[0] != version(router, cookie)[0], SECONDS, "old cookies have no effect")


def test_a_change_is_asked_until_the_router_follows_it(on_a_node, router, emulator, open_page):
    """Where the node's endpoint is late, the manager has the keys long before they are in force."""
    put(emulator, on_a_node, stable=OLD, candidate=NEW)
    page = open_page(on_a_node)
    page.click("#to-setup")
    enter(page, emulator, host=emulator.manager)
    expect(page.locator("#who")).to_contain_text("occs:")
    emulator.control.faults(node_delay_seconds=15)
    page.fill("#blend-number", "20")
    page.click("#blend-set")
    expect(notice(page, "asked")).to_contain_text("Asked for, and not in force yet: Blend 0 → 20")
    expect(page.locator('[data-bar="asked"]')).to_contain_text("candidate 0%")
    picture(page, "occs-asked")
    expect(notice(page, "asked")).to_have_count(0)
    expect(page.locator('[data-bar="asked"]')).to_contain_text("candidate 20%")


def test_a_manager_that_goes_away_is_told_and_what_was_chosen_stays(open_manage, emulator, router):
    put(emulator, router, stable=OLD, candidate=NEW)
    page = open_manage()
    emulator.control.faults(outage="500")
    page.fill("#blend-number", "20")
    page.click("#blend-set")
    expect(notice(page, "said")).to_contain_text("The store did not answer")
    expect(notice(page, "store")).to_contain_text("The store has been lost")
    picture(page, "occs-store-lost")
    assert emulator.token not in page.content()
    emulator.control.mend()
    expect(notice(page, "store")).to_have_count(0)
    expect(page.locator("#blend-number")).to_have_value("20")
    page.click("#blend-set")
    expect(page.locator('[data-bar="asked"]')).to_contain_text("candidate 20%")
