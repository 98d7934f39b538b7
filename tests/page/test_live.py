"""Live: what the page shows by itself, and what it says when it cannot."""

from __future__ import annotations

from live.router import rollout, until
from playwright.sync_api import expect

from .conftest import notice, picture, set_blend

GET = b"GET / HTTP/1.1\r\nHost: shop.test\r\n\r\n"


def test_a_change_made_elsewhere_shows_by_itself(router, instances, open_page):
    page = open_page(router)
    stable, candidate = instances
    router.put(rollout([stable], [candidate], blend=30))  # an editor on the file
    expect(page.locator('[data-bar="asked"]')).to_contain_text("candidate 30%")
    expect(page.locator("#blend-number")).to_have_value("30")


def test_a_second_browser_sees_what_the_first_did_and_who_did_it(router, open_page):
    one, other = open_page(router), open_page(router)
    set_blend(one, 40)
    expect(other.locator('[data-bar="asked"]')).to_contain_text("candidate 40%")
    expect(other.locator("#history tr").first).to_contain_text("Blend 0 → 40")


def test_what_one_is_about_to_set_survives_what_comes_in_meanwhile(router, instances, open_page):
    page = open_page(router)
    stable, candidate = instances
    page.fill("#blend-number", "70")
    page.select_option("#sticky", "on")
    router.put(rollout([stable], [candidate], blend=20))
    expect(page.locator('[data-bar="asked"]')).to_contain_text("candidate 20%")
    expect(page.locator("#blend-number")).to_have_value("70")
    expect(page.locator("#sticky")).to_have_value("on")


def test_asked_and_served_stand_side_by_side_with_the_figures_of_both(start_router, instances, open_page):
    stable, candidate = instances
    router = start_router(rollout([stable], [candidate]))  # one that has served nobody yet
    page = open_page(router)
    set_blend(page, 50)
    for _ in range(40):
        router.ask(GET)
    expect(page.locator('[data-bar="served"]')).to_contain_text("candidate 50%")
    expect(page.locator('[data-role="candidate"] .stats')).to_contain_text("ms")
    assert page.locator('[data-role="stable"] svg path').count() >= 1
    assert "Requests a second" in page.locator('[data-role="stable"] svg').first.get_attribute("aria-label")
    picture(page, "live")


def test_a_reload_brings_the_last_minutes_back(router, open_page):
    page = open_page(router)
    for _ in range(10):
        router.ask(GET)
    expect(page.locator('[data-bar="served"]')).to_contain_text("stable")
    page.reload()
    expect(page.locator('[data-bar="served"]')).to_contain_text("stable")


def test_the_page_survives_a_restart_of_the_router_by_itself(router, open_page):
    page = open_page(router)
    router.stop()
    expect(page.locator("#live")).to_have_text("Not live")
    expect(notice(page, "live")).to_contain_text("nothing comes from the router")
    picture(page, "not-live")
    router.start()
    expect(page.locator("#live")).to_have_text("Live")
    expect(notice(page, "live")).to_have_count(0)
    expect(page.locator("#stable-name")).to_have_text("shop-41")
    set_blend(page, 15)  # and one is still signed in


def test_a_lost_store_is_said_and_so_is_its_return(router, instances, open_page):
    page = open_page(router)
    stable, candidate = instances
    router.write_text("{ not json")
    expect(notice(page, "store")).to_contain_text("The store has been lost since")
    expect(page.locator("#stable-name")).to_have_text("shop-41")
    picture(page, "store-lost")
    page.fill("#blend-number", "33")
    page.click("#blend-set")
    expect(notice(page, "said")).to_contain_text("The store did not answer")
    expect(page.locator("#blend-number")).to_have_value("33")
    expect(page.locator("#store")).to_contain_text("Last read")
    router.put(rollout([stable], [candidate], blend=1))
    expect(notice(page, "store")).to_have_count(0)
    expect(notice(page, "said")).to_have_count(0)  # it was the store's refusal, and the store is back
    expect(page.locator("#blend-number")).to_have_value("33")
    expect(page.locator("#store")).not_to_contain_text("Last read")


def test_good_news_does_not_stand_beside_a_lost_store(router, open_page):
    page = open_page(router)
    set_blend(page, 12)
    page.hover('[data-notice="said"]')  # so that it does not go by itself
    router.write_text("{ not json")
    expect(notice(page, "store")).to_contain_text("The store has been lost since")
    expect(notice(page, "said")).to_have_count(0)


def test_good_news_goes_by_itself_but_not_while_one_is_at_it(router, open_page):
    page = open_page(router)
    page.clock.install()  # from here on the page's time is the test's
    set_blend(page, 13)
    page.focus('[data-notice="said"] button')
    page.clock.fast_forward(9_000)
    expect(notice(page, "said")).to_have_count(1)
    page.focus("#blend-number")
    page.mouse.move(1, 1)
    page.clock.fast_forward(9_000)
    expect(notice(page, "said")).to_have_count(0)


def test_a_bad_key_is_named(router, instances, open_page):
    page = open_page(router)
    stable, candidate = instances
    router.put({**rollout([stable], [candidate]), "rolling/shop/blendpercent": "many"})
    expect(notice(page, "problem-0")).to_contain_text("rolling/shop/blendpercent")
    expect(notice(page, "problem-0")).to_contain_text("many")
    picture(page, "bad-key")


def test_a_candidate_that_fails_is_reported_as_the_candidates(start_router, start_instance, open_page, tmp_path):
    stable, candidate = start_instance("shop-41", "c"), start_instance("shop-42", "c")
    router = start_router(rollout([stable], [candidate], blend=50))
    page = open_page(router)
    candidate.stop()
    said = notice(page, "down-candidate")
    until(lambda: router.ask(GET).status == 200 and said.count())
    expect(said).to_contain_text("CANDIDATE shop-42")
    # Of the requests before, none may have been for a candidate that is known to be down.
    why = page.locator("#split-why")
    until(
        lambda: router.ask(GET).status == 200 and "because the candidate could not serve" in why.inner_text(),
        what="it is told why stable serves more than was asked for",
    )
    picture(page, "candidate-down")


def test_a_session_that_ended_leads_to_the_setup_screen(router, open_page):
    page = open_page(router)
    page.context.clear_cookies()
    page.fill("#blend-number", "12")
    page.click("#blend-set")
    expect(page.locator("#setup")).to_be_visible()
    expect(notice(page, "said")).to_contain_text("The session has ended")


def test_pins_explain_why_served_differs_from_asked(start_router, instances, open_page):
    stable, candidate = instances
    router = start_router(rollout([stable], [candidate], blend=0, sticky=1))
    page = open_page(router)
    cookie = router.ask(GET).one(b"Set-Cookie").split(b";")[0]
    router.put(rollout([stable], [candidate], blend=50, sticky=1))
    pinned = b"GET / HTTP/1.1\r\nHost: shop.test\r\nCookie: " + cookie + b"\r\n\r\n"
    for _ in range(30):
        router.ask(pinned)
    expect(page.locator("#split-why")).to_contain_text("visitors who stay where they were")
    until(lambda: page.locator('[data-bar="served"]').inner_text() != "")


def test_after_a_roll_back_what_the_candidate_still_counts_is_explained(start_router, instances, open_page):
    stable, candidate = instances
    router = start_router(rollout([stable], [candidate], blend=100, sticky=1))
    page = open_page(router)
    cookie = router.ask(GET).one(b"Set-Cookie").split(b";")[0]
    pinned = b"GET / HTTP/1.1\r\nHost: shop.test\r\nCookie: " + cookie + b"\r\n\r\n"
    for _ in range(10):
        router.ask(pinned)
    expect(page.locator('[data-bar="served"]')).to_contain_text("candidate 100%")
    router.put(rollout([stable], [], sticky=1))
    expect(page.locator("#candidate-name")).to_have_text("rolling/null")
    expect(page.locator("#split-why")).to_contain_text("still has requests from before the change")
