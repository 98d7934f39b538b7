"""Manage: each thing that one can change, what it says before, and what the store has after."""

from __future__ import annotations

import json
import re

from live.router import rollout, until
from playwright.sync_api import expect

from .conftest import notice, picture, set_blend


def keys(router):
    return json.loads(router.store.read_text())


def test_a_blend_says_what_it_will_do_before_it_is_set(router, open_page):
    page = open_page(router)
    says = page.locator("#blend-says")
    page.fill("#blend-number", "5")
    expect(says).to_have_text(re.compile("^Of all requests, 1 in 20 will go to shop-42"))
    expect(page.locator("#blend-slider")).to_have_value("5")
    for percent, words in ((9, "about 1 in 11"), (30, "30 in 100"), (42, "42 in 100"), (50, "every other one")):
        page.fill("#blend-number", str(percent))
        expect(says).to_have_text(re.compile(f"^Of all requests, {words} will go to shop-42"))
    page.fill("#blend-number", "0")
    expect(says).to_contain_text("No request will go to shop-42")
    page.fill("#blend-number", "100")
    expect(says).to_contain_text("Every request will go to shop-42")
    assert keys(router)["rolling/shop/blendpercent"] == "0"
    page.click("#blend-reset")
    expect(page.locator("#blend-number")).to_have_value("0")


def test_a_quick_button_chooses_and_the_set_button_sets(router, open_page):
    page = open_page(router)
    for percent in (1, 5, 10, 25, 50, 100, 0):
        page.click(f'[data-blend="{percent}"]')
        expect(page.locator("#blend-set")).to_have_text(f"Set blend to {percent}%")
        page.click("#blend-set")
        expect(page.locator('[data-bar="asked"]')).to_contain_text(f"candidate {percent}%")
        expect(notice(page, "said")).to_contain_text("The blend is set")
        assert keys(router)["rolling/shop/blendpercent"] == str(percent)


def test_a_blend_that_is_none_cannot_be_set(router, open_page):
    page = open_page(router)
    for typed in ("101", "-1", "1.5", "1e1", ""):
        page.fill("#blend-number", typed)
        expect(page.locator("#blend-says")).to_have_text("The blend must be a whole number from 0 to 100.")
        expect(page.locator("#blend-number")).to_have_attribute("aria-invalid", "true")
        expect(page.locator("#blend-set")).to_be_disabled()
        page.locator("#blend-number").press("Enter")
        assert keys(router)["rolling/shop/blendpercent"] == "0"
        page.click('[data-blend="0"]')


def test_stickiness_is_a_dropdown_with_false_and_true(router, open_page):
    page = open_page(router)
    options = page.locator("#sticky option")
    expect(options).to_have_text(["false", "true (cookie)", "ip-hash"])
    expect(page.locator("#sticky-now")).to_have_text("false")
    page.select_option("#sticky", "on")
    page.click("#sticky-set")
    expect(page.locator("#sticky-now")).to_have_text("true (cookie)")
    assert keys(router)["rolling/shop/stickyness"] == "1"
    page.fill("#blend-number", "50")
    expect(page.locator("#blend-says")).to_contain_text("Visitors already on the candidate stay there")
    page.select_option("#sticky", "off")
    page.click("#sticky-set")
    expect(page.locator("#sticky-now")).to_have_text("false")
    assert keys(router)["rolling/shop/stickyness"] == "0"


def test_versions_are_chosen_from_all_that_there_are_and_none_comes_last(router, open_page):
    page = open_page(router)
    for role in ("stable", "candidate"):
        options = page.locator(f"#{role}-select option")
        expect(options).to_have_text(["shop-41 (shop-41)", "shop-42 (shop-42)", "rolling/null (rolling/null)"])
    page.select_option("#candidate-select", label="rolling/null (rolling/null)")
    page.click('[data-role="candidate"] form button')
    expect(page.locator("#candidate-name")).to_have_text("rolling/null")
    assert keys(router)["rolling/shop/candidate/id"] == "rolling/null"
    page.select_option("#candidate-select", label="shop-42 (shop-42)")
    page.click('[data-role="candidate"] form button')
    expect(page.locator("#candidate-name")).to_have_text("shop-42")
    assert keys(router)["rolling/shop/candidate/id"] == "apps/app-shop-42-80/containers"


def test_a_choice_that_breaks_a_rule_is_refused_with_the_reason(router, open_page):
    page = open_page(router)
    page.select_option("#candidate-select", label="shop-41 (shop-41)")
    page.click('[data-role="candidate"] form button')
    expect(notice(page, "said")).to_contain_text("Refused:")
    expect(notice(page, "said")).to_contain_text("shop-41")
    expect(page.locator("#candidate-name")).to_have_text("shop-42")


def test_promote_asks_once_and_names_both_versions(router, open_page):
    page = open_page(router)
    set_blend(page, 25)
    page.click("#promote")
    dialog = page.locator("#ask")
    expect(dialog).to_be_visible()
    expect(dialog).to_contain_text("shop-41")
    expect(dialog).to_contain_text("shop-42")
    picture(page, "promote-asks", whole=False)
    page.click("#ask-no")
    expect(dialog).to_be_hidden()
    assert keys(router)["rolling/shop/stable/id"] == "apps/app-shop-41-80/containers"

    page.click("#promote")
    page.fill("#ask-why", "an hour without errors")
    page.click("#ask-yes")
    expect(page.locator("#stable-name")).to_have_text("shop-42")
    expect(page.locator("#candidate-name")).to_have_text("rolling/null")
    expect(page.locator("#promote")).to_be_hidden()  # offered only while there is a candidate
    found = keys(router)
    assert found["rolling/shop/stable/id"] == "apps/app-shop-42-80/containers"
    assert (found["rolling/shop/candidate/id"], found["rolling/shop/blendpercent"]) == ("rolling/null", "0")
    row = page.locator("#history tr").first
    expect(row).to_contain_text("Promoted")
    expect(row).to_contain_text("an hour without errors")
    picture(page, "promoted")

    page.click("#undo")  # stays in reach
    expect(page.locator("#stable-name")).to_have_text("shop-41")
    expect(page.locator("#candidate-name")).to_have_text("shop-42")
    assert keys(router)["rolling/shop/blendpercent"] == "25"


def test_roll_back_asks_once_and_lets_the_candidate_go(router, open_page):
    page = open_page(router)
    set_blend(page, 50)
    page.click("#rollback")
    expect(page.locator("#ask")).to_contain_text("shop-41")
    page.click("#ask-yes")
    expect(page.locator("#candidate-name")).to_have_text("rolling/null")
    found = keys(router)
    assert found["rolling/shop/stable/id"] == "apps/app-shop-41-80/containers"
    assert (found["rolling/shop/candidate/id"], found["rolling/shop/blendpercent"]) == ("rolling/null", "0")


def test_while_a_promote_runs_the_page_says_so(router, open_page):
    page = open_page(router)
    held = []
    page.route("**/api/v1/promote", lambda route: held.append(route))
    page.click("#promote")
    page.click("#ask-yes")
    expect(page.locator("#promote")).to_have_text("Promoting…")
    expect(page.locator("#promote")).to_be_disabled()
    expect(notice(page, "said")).to_have_text("Promoting…")
    picture(page, "promoting", whole=False)
    until(lambda: page.wait_for_timeout(50) or held)
    held[0].continue_()
    expect(page.locator("#stable-name")).to_have_text("shop-42")


def test_two_people_never_overwrite_each_other_unseen(router, open_page):
    one, other = open_page(router), open_page(router)
    other.fill("#blend-number", "60")
    # Their live feed is held back, as on a bad line: `other` still sees the old revision when the change comes.
    other.route("**/api/v1/settings/blend", lambda route: (set_blend(one, 10), route.continue_()))
    other.click("#blend-set")
    said = notice(other, "said")
    expect(said).to_contain_text("The settings were changed meanwhile")
    expect(said).to_contain_text("0 → 10")
    picture(other, "stale")
    assert keys(router)["rolling/shop/blendpercent"] == "10"
    other.unroute("**/api/v1/settings/blend")
    other.click("#blend-set")  # what was chosen is still there
    until(lambda: keys(router)["rolling/shop/blendpercent"] == "60")


def test_keyvalues_that_are_not_there_are_created_by_choosing_values(start_router, instances, open_page, tmp_path):
    stable, candidate = instances
    only = {key: text for key, text in rollout([stable], [candidate]).items() if key.startswith("apps/")}
    router = start_router(only, "--state-dir", str(tmp_path / "state"))
    page = open_page(router)
    expect(notice(page, "unset")).to_contain_text("no keyvalues yet")
    for role in ("stable", "candidate"):
        expect(page.locator(f"#{role}-name")).to_have_text("–")
    expect(page.locator("#sticky-now")).to_have_text("–")
    picture(page, "not-set-up")
    page.select_option("#stable-select", label="rolling/null (rolling/null)")
    page.click('[data-role="stable"] form button')
    expect(notice(page, "unset")).to_have_count(0)
    expect(page.locator("#stable-name")).to_have_text("rolling/null")
    expect(page.locator("#candidate-name")).to_have_text("rolling/null")
    expect(page.locator("#sticky-now")).to_have_text("false")
    found = {key: text for key, text in keys(router).items() if key.startswith("rolling/")}
    assert found == {
        "rolling/null": "-",
        "rolling/shop/stable/id": "rolling/null",
        "rolling/shop/candidate/id": "rolling/null",
        "rolling/shop/blendpercent": "0",
        "rolling/shop/stickyness": "0",
    }


def test_a_question_that_follows_another_at_once_has_its_own_answer(router, open_page):
    page = open_page(router)
    expect(page.locator("#stable-name")).to_have_text("shop-41")
    # The browser tells of the first one's end a frame later, when the second is open.
    page.evaluate(
        """() => {
            const promote = document.querySelector("#promote"), question = document.querySelector("#ask");
            promote.click();
            question.close("no");
            promote.click();
        }"""
    )
    page.evaluate("() => new Promise((over) => requestAnimationFrame(() => requestAnimationFrame(over)))")
    page.locator("#ask-yes").click()
    expect(page.locator("#stable-name")).to_have_text("shop-42")


def test_the_whole_can_be_done_by_keyboard_alone(router, open_page):
    page = open_page(router)
    page.reload()  # signing in has moved the focus to the settings
    expect(page.locator("#stable-name")).to_have_text("shop-41")
    page.keyboard.press("Tab")
    expect(page.locator(".skip")).to_be_focused()
    page.keyboard.press("Enter")

    def tab_to(selector):
        for _ in range(60):
            if page.evaluate("wanted => document.activeElement.matches(wanted)", selector):
                return
            page.keyboard.press("Tab")
        raise AssertionError(f"{selector} is not reached by Tab")

    tab_to("#blend-slider")
    for _ in range(3):
        page.keyboard.press("ArrowRight")
    tab_to("#blend-set")
    page.keyboard.press("Enter")
    until(lambda: keys(router)["rolling/shop/blendpercent"] == "3")
    expect(notice(page, "said")).to_contain_text("The blend is set")
    page.evaluate("document.querySelector('#main').focus()")
    tab_to("#promote")
    page.keyboard.press("Enter")
    expect(page.locator("#ask-no")).to_be_focused()
    page.keyboard.press("Escape")
    expect(page.locator("#ask")).to_be_hidden()
    expect(page.locator("#promote")).to_be_focused()
    page.keyboard.press("Enter")
    page.keyboard.press("Shift+Tab")
    expect(page.locator("#ask-yes")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator("#stable-name")).to_have_text("shop-42")
