"""What nobody planned: two tabs, double clicks, Back, a session that ends in the middle of a question."""

from __future__ import annotations

import json

from live.router import TOKEN, rollout, until
from playwright.sync_api import expect

from .conftest import notice, picture, set_blend, sign_in

GET = b"GET / HTTP/1.1\r\nHost: shop.test\r\n\r\n"
NO_STORAGE = """for (const name of ["localStorage", "sessionStorage"])
    Object.defineProperty(window, name, {get() { throw new DOMException("blocked", "SecurityError"); }});"""
WATCH = """window.spoken = [];
new MutationObserver((all) => window.spoken.push(...all.map((one) => one.target.textContent)))
    .observe(document.body, {subtree: true, childList: true, characterData: true});
window.spokenIn = () => window.spoken;
for (const region of document.querySelectorAll("[aria-live], [role=status], [role=alert]"))
    new MutationObserver(() => window.chatter = (window.chatter ?? 0) + 1)
        .observe(region, {subtree: true, childList: true, characterData: true});"""


def keys(router):
    return json.loads(router.store.read_text())


def test_a_double_click_on_undo_undoes_once(router, open_page):
    page = open_page(router)
    set_blend(page, 10)
    set_blend(page, 20)
    page.dblclick("#undo", delay=60)
    expect(notice(page, "said")).to_contain_text("Undone.")
    page.wait_for_timeout(300)  # for a second one, which must not come
    assert keys(router)["rolling/shop/blendpercent"] == "10"


def test_a_double_click_on_set_sets_once(router, open_page):
    page = open_page(router)
    asked = []
    page.on("request", lambda one: asked.append(one.url) if one.method == "PUT" else None)
    page.fill("#blend-number", "8")
    page.dblclick("#blend-set")
    expect(notice(page, "said")).to_contain_text("The blend is set")
    assert len(asked) == 1


def test_back_and_forward_lead_between_setup_and_settings(router, open_page):
    page = open_page(router)
    page.click("#to-setup")
    expect(page.locator("#setup-title")).to_be_focused()
    page.go_back()
    expect(page.locator("#manage")).to_be_visible()
    expect(page.locator("#setup")).to_be_hidden()
    page.go_forward()
    expect(page.locator("#setup")).to_be_visible()
    page.reload()
    expect(page.locator("#setup")).to_be_visible()
    page.click("#token-form .back")
    expect(page.locator("#stable-name")).to_have_text("shop-41")
    expect(page.locator("#split-title")).to_be_focused()
    page.keyboard.press("Home")
    page.evaluate("location.hash = '#main'")  # as the skip link does
    expect(page.locator("#manage")).to_be_visible()


def test_a_question_that_was_overtaken_changes_nothing(router, open_page):
    """A roll back names no version, so it must be based on what was seen when it was asked."""
    page = open_page(router)
    page.click("#rollback")
    expect(page.locator("#ask")).to_contain_text("shop-42")
    other = open_page(router)
    set_blend(other, 30)
    expect(page.locator('[data-bar="asked"]')).to_contain_text("candidate 30%")
    page.click("#ask-yes")
    expect(notice(page, "said")).to_contain_text("The settings were changed meanwhile")
    assert keys(router)["rolling/shop/candidate/id"] == "apps/app-shop-42-80/containers"


def test_a_session_that_ends_takes_the_open_question_with_it(router, open_page):
    page = open_page(router)
    page.click("#promote")
    page.fill("#ask-why", "because")
    page.context.request.get(page.url)  # the same browser
    page.evaluate(
        """async () => {
            const session = await (await fetch("api/v1/session")).json();
            await fetch("api/v1/session", {method: "DELETE", headers: {"X-CSRF-Token": session.csrf}});
        }"""
    )
    expect(page.locator("#ask")).to_be_hidden()
    expect(page.locator("#setup-title")).to_be_focused()
    expect(notice(page, "said")).to_contain_text("The session has ended")
    sign_in(page, TOKEN)
    expect(page.locator("#why")).to_have_value("")
    assert keys(router)["rolling/shop/stable/id"] == "apps/app-shop-41-80/containers"


def test_two_tabs_of_one_browser_share_a_session_and_its_end(router, open_page):
    page = open_page(router)
    other = page.context.new_page()
    other.goto(page.url)
    expect(other.locator("#stable-name")).to_have_text("shop-41")
    page.click("#to-setup")
    # Anew: the older session, the other tab's, ends. That tab asks for the new one, and with that for the state.
    with other.expect_response("**/api/v1/status"):
        sign_in(page, TOKEN)
        expect(page.locator("#manage")).to_be_visible()
    expect(other.locator("#live")).to_have_text("Live")
    other.fill("#blend-number", "17")
    other.click("#blend-set")
    expect(notice(other, "said")).to_contain_text("The blend is set")
    assert keys(router)["rolling/shop/blendpercent"] == "17"
    page.click("#sign-out")
    expect(other.locator("#setup")).to_be_visible()
    expect(notice(other, "said")).to_contain_text("The session has ended")
    expect(other.locator("#manage")).to_be_hidden()


def test_the_focus_goes_where_one_goes_on(router, open_page):
    page = open_page(router, token=None)
    sign_in(page, "rrt_wrong")
    expect(page.locator("#token")).to_be_focused()
    expect(page.locator("#token")).to_have_attribute("aria-invalid", "true")
    page.fill("#token", TOKEN)
    expect(page.locator("#token")).to_have_attribute("aria-invalid", "false")
    page.keyboard.press("Enter")
    expect(page.locator("#split-title")).to_be_focused()
    page.fill("#blend-number", "4")
    page.keyboard.press("Enter")
    expect(notice(page, "said")).to_contain_text("The blend is set")
    expect(page.locator("#blend-number")).to_be_focused()
    page.click("#promote")
    page.click("#ask-yes")
    expect(page.locator("#stable-name")).to_have_text("shop-42")
    expect(page.locator("#steps-title")).to_be_focused()  # the button is gone
    notice(page, "said").locator("button").click()
    expect(page.locator("#main")).to_be_focused()


def test_figures_are_not_read_aloud(router, instances, open_page):
    page = open_page(router)
    stable, candidate = instances
    router.put(rollout([stable], [candidate], blend=50))  # elsewhere: no notice of it, which would go by itself, too
    expect(page.locator('[data-bar="asked"]')).to_contain_text("candidate 50%")
    expect(notice(page, "asked")).to_have_count(0)
    page.evaluate(WATCH)
    for _ in range(20):
        router.ask(GET)
    expect(page.locator('[data-bar="served"]')).to_contain_text("candidate 50%")
    expect(page.locator('[data-role="candidate"] .stats')).to_contain_text("ms")
    assert page.evaluate("window.spoken.length") > 0  # something did change
    assert page.evaluate("window.chatter ?? 0") == 0


def test_a_browser_that_keeps_nothing_will_do(browser, router):
    context = browser.new_context(
        reduced_motion="reduce", forced_colors="active", viewport={"width": 320, "height": 640}
    )
    context.add_init_script(NO_STORAGE)
    page = context.new_page()
    mistakes = []
    page.on("pageerror", lambda wrong: mistakes.append(str(wrong)))
    try:
        page.goto(f"http://127.0.0.1:{router.admin}/")
        sign_in(page, TOKEN)
        expect(page.locator("#stable-name")).to_have_text("shop-41")
        set_blend(page, 50)
        page.select_option("#language", "ko")
        expect(page.locator("#sign-out")).to_have_text("로그아웃")
        wide = "[...document.querySelectorAll('body *')].filter((one) => one.getBoundingClientRect().right > 320)"
        found = page.evaluate(wide + ".map((one) => one.outerHTML.slice(0, 200))")
        assert page.evaluate("document.documentElement.scrollWidth") <= 320, found
        colour, seconds = page.evaluate(  # at once: the figures' bars are drawn anew now and then
            """() => {
                const style = getComputedStyle(document.querySelector(".part"));
                return [style.backgroundColor, style.transitionDuration];
            }"""
        )
        assert "rgba(0, 0, 0, 0)" not in colour
        assert seconds == "0s"
        picture(page, "forced-colours-320")
    finally:
        context.close()
    assert mistakes == []


def test_a_change_of_version_is_marked_in_the_charts_and_told(router, instances, open_page):
    page = open_page(router)
    charts = page.locator('[data-role="stable"] .charts')
    expect(page.locator('[data-role="stable"] .stats dd').first).not_to_have_text("–")  # what was before is known
    before = charts.locator(".mark").count()
    page.click("#promote")
    page.click("#ask-yes")
    expect(page.locator("#stable-name")).to_have_text("shop-42")
    expect(charts.locator(".mark")).to_have_count(before + 3)  # in each of the three
    assert "shop-42 since" in charts.locator(".mark title").last.text_content()
    page.reload()
    expect(charts.locator(".mark")).to_have_count(before + 3)
    picture(page, "marked")


def test_a_name_written_from_right_to_left_does_not_turn_its_sentence(start_router, start_instance, open_page):
    old, new = start_instance("shop-41", "r"), start_instance("גרסה-2", "r")
    page = open_page(start_router(rollout([old], [new], 5)))
    expect(page.locator("#candidate-name")).to_have_text("גרסה-2")
    page.click("#promote")
    expect(page.locator("#ask-title")).to_have_text("Promote \u2068גרסה-2\u2069?")
    picture(page, "right-to-left", whole=False)


def test_a_version_that_came_without_any_change_of_the_settings_is_offered(
    router, instances, open_page, start_instance
):
    page = open_page(router)
    newer = start_instance("shop-43", "a")
    keys_ = {**keys(router), "apps/app-shop-43-80/containers/a": newer.address}
    router.write(keys_)
    until(
        lambda: (
            page.locator("#stable-select").focus()
            or page.locator("#main").focus()
            or page.locator("#stable-select option", has_text="shop-43").count()
        )
    )
