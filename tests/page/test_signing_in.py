"""Setup: who may come in, and what one sees when one may not."""

from __future__ import annotations

import re

import pytest
from live.router import TOKEN, rollout, until
from playwright.sync_api import expect

from .conftest import make_token, notice, picture, sign_in


@pytest.fixture(scope="module")
def router(start_router, start_instance):
    return start_router(rollout([start_instance("1.0", "a")]))


def test_the_page_begins_with_the_setup_screen_and_shows_nothing_before(router, open_page):
    page = open_page(router, token=None)
    expect(page.locator("#setup")).to_be_visible()
    expect(page.locator("#manage")).to_be_hidden()
    assert "1.0" not in page.inner_text("main")
    picture(page, "setup-token")


def test_a_wrong_token_is_refused_within_seconds_and_shown_nowhere(router, open_page):
    page = open_page(router, token=None)
    sign_in(page, "rrt_a-wrong-token")
    expect(notice(page, "said")).to_contain_text("not known")
    picture(page, "setup-refused")
    assert "rrt_a-wrong-token" not in page.content()
    assert "rrt_a-wrong-token" not in router.output()
    expect(page.locator("#manage")).to_be_hidden()


def test_the_right_token_leads_to_the_settings_and_shows_nowhere(router, open_page):
    page = open_page(router)
    expect(page.locator("#stable-name")).to_have_text("1.0")
    expect(page.locator("#app")).to_have_text("shop")
    expect(page.locator("#app-port")).to_have_text("port 80")
    expect(page.locator("#who")).to_contain_text("operator")
    assert TOKEN not in page.content()
    assert TOKEN not in router.output()
    assert page.evaluate("document.cookie") == ""  # HttpOnly
    assert page.evaluate("JSON.stringify([{...localStorage}, {...sessionStorage}])").find("rrt_") == -1


def test_who_signs_out_is_out(router, open_page):
    page = open_page(router)
    page.click("#sign-out")
    expect(page.locator("#setup")).to_be_visible()
    page.reload()
    expect(page.locator("#setup")).to_be_visible()
    expect(page.locator("#manage")).to_be_hidden()


def test_a_reload_keeps_one_signed_in(router, open_page):
    page = open_page(router)
    page.reload()
    expect(page.locator("#stable-name")).to_have_text("1.0")


def test_one_can_go_back_to_setup_and_to_the_settings_again(router, open_page):
    page = open_page(router)
    page.click("#to-setup")
    expect(page.locator("#setup")).to_be_visible()
    page.click("#token-form .back")
    expect(page.locator("#stable-name")).to_be_visible()


def test_the_link_of_the_first_start_signs_in_once_and_tells_the_token_once(start_router, open_page, tmp_path):
    router = start_router(rollout(), "--state-dir", str(tmp_path), environ={"ROLLING_ROUTER_TOKEN": ""})
    code = until(lambda: re.search(r"/#code=(\S+)\s", router.output())).group(1)
    page = open_page(router, token=None, path=f"/#code={code}")
    expect(page.locator("#manage")).to_be_visible()
    assert "code" not in page.url
    told = notice(page, "token")
    expect(told).to_contain_text("rrt_")
    token = re.search(r"rrt_\S+", told.inner_text()).group()
    picture(page, "first-start")
    told.locator("button").click()
    expect(told).to_have_count(0)

    again = open_page(router, token=None, path=f"/#code={code}")
    expect(notice(again, "said")).to_contain_text("was used")
    expect(again.locator("#setup")).to_be_visible()

    other = open_page(router, token=token)
    expect(other.locator("#manage")).to_be_visible()


def test_a_viewer_sees_all_and_can_change_nothing(start_router, start_instance, open_page, tmp_path):
    router = start_router(
        rollout([start_instance("1.0", "v")], [start_instance("1.1", "v")]), "--state-dir", str(tmp_path)
    )
    token = make_token(tmp_path, "watcher", "viewer")
    page = open_page(router, token=token)
    expect(page.locator("#who")).to_have_text("watcher, viewer")
    expect(page.locator("#candidate-name")).to_have_text("1.1")
    for control in ("#promote", "#rollback", "#undo", "#blend-form", "#stable-select", "#sticky"):
        expect(page.locator(control)).to_be_hidden()
    picture(page, "viewer")
