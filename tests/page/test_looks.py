"""How it looks and reads: both themes, both languages, three sizes, ugly names, and axe's rules."""

from __future__ import annotations

import json
from itertools import product
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from live.router import rollout
from playwright.sync_api import expect

from .conftest import DESKTOP, PHONE, WALL, notice, picture

SIZES = {"desktop": DESKTOP, "phone": PHONE, "wall": WALL}
HOSTILE = "<script>document.title='taken'</script>\u202e\u200f\"'&amp;"


@pytest.fixture(scope="module")
def router(start_router, start_instance, tmp_path_factory):
    stable = [start_instance("shop-41", "a"), start_instance("shop-41", "b")]
    return start_router(
        rollout(stable, [start_instance("shop-42", "a")], 25, 1),
        "--state-dir",
        str(tmp_path_factory.mktemp("state")),
    )


def complaints(page):
    """What axe calls serious or critical."""
    found = Axe().run(page).response["violations"]
    return [
        (one["id"], [node["html"] for node in one["nodes"]])
        for one in found
        if one["impact"] in ("serious", "critical")
    ]


def is_too_wide(page):
    return page.evaluate("document.documentElement.scrollWidth > document.documentElement.clientWidth")


def heights_of_a_chart_and_its_letters(page):
    # Both at once: each second it is drawn anew.
    return page.evaluate(
        """() => ["svg", "svg text"].map((one) =>
            document.querySelector(`[data-role="stable"] ${one}`).getBoundingClientRect().height)"""
    )


@pytest.mark.parametrize(
    ("language", "theme", "size"),
    [*product(("en", "ko"), ("light", "dark"), ("desktop", "phone")), ("en", "light", "wall"), ("ko", "dark", "wall")],
)
def test_axe_finds_nothing_serious_and_nothing_is_cut_off(router, open_page, language, theme, size):
    page = open_page(router, language=language, theme=theme, size=SIZES[size])
    expect(page.locator("html")).to_have_attribute("lang", language)
    assert complaints(page) == []
    assert not is_too_wide(page)
    picture(page, f"manage-{language}-{theme}-{size}")
    if size != "wall":
        page.click("#promote")
        assert complaints(page) == []
        page.click("#ask-no")
        page.click("#to-setup")
        assert complaints(page) == []
        picture(page, f"setup-{language}-{theme}-{size}")


@pytest.mark.parametrize("language", ["en", "ko"])
def test_the_six_figures_of_a_version_stand_in_one_row_on_a_laptop(router, open_page, language):
    page = open_page(router, size=(1200, 800), language=language)
    tops = page.locator('[data-role="stable"] .stats > div').evaluate_all("all => all.map((one) => one.offsetTop)")
    assert len(tops) == 6
    assert len(set(tops)) == 1, tops


def test_what_steers_a_release_is_on_the_first_screen_and_the_slider_below_the_bars(router, open_page):
    page = open_page(router)
    for one in ("#blend-set", "#promote", "#rollback"):
        expect(page.locator(one)).to_be_in_viewport(ratio=1)
    boxes = [page.locator(one).bounding_box() for one in ("#blend-slider", '[data-bar="asked"] .track')]
    slider, bar = [(round(box["x"]), round(box["width"])) for box in boxes]
    assert slider == bar
    page.set_viewport_size({"width": PHONE[0], "height": PHONE[1]})
    assert page.locator("#promote").bounding_box()["y"] < 1.5 * PHONE[1]  # before all the charts


def test_on_a_wall_it_fills_the_screen_and_can_be_read_from_afar(router, open_page):
    page = open_page(router, size=WALL)
    boxes = [page.locator(one).bounding_box() for one in (".bar img", "#release")]
    assert round(boxes[0]["x"]) == round(boxes[1]["x"])
    assert boxes[1]["width"] > 0.9 * WALL[0]
    afar = heights_of_a_chart_and_its_letters(page)
    page.set_viewport_size({"width": DESKTOP[0], "height": DESKTOP[1]})
    near = heights_of_a_chart_and_its_letters(page)
    assert all(one > 1.15 * other for one, other in zip(afar, near, strict=True)), (afar, near)


def test_language_and_colours_are_chosen_and_kept(router, open_page):
    page = open_page(router)
    page.select_option("#language", "ko")
    expect(page.locator("#sign-out")).to_have_text("로그아웃")
    page.select_option("#theme", "dark")
    dark = page.evaluate("getComputedStyle(document.body).backgroundColor")
    page.reload()
    expect(page.locator("#sign-out")).to_have_text("로그아웃")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == dark == "rgb(15, 21, 29)"


def test_names_that_would_be_markup_are_text(start_router, start_instance, open_page):
    instance = start_instance("shop-41", "h")
    keys = rollout([instance])
    version = f"v{HOSTILE.replace('/', '_')}"
    keys["rolling/shop/candidate/id"] = f"apps/app-{version}-80/containers"
    keys[f"apps/app-{version}-80/containers/x"] = instance.address
    keys["rolling/shop/stickyness"] = HOSTILE
    router = start_router(keys)
    page = open_page(router)
    shown = version.replace("\u202e", "\\u202e").replace("\u200f", "\\u200f")  # spelled out, not obeyed
    expect(page.locator("#candidate-name")).to_have_text(shown)
    expect(notice(page, "problem-0")).to_contain_text("<script>")
    assert not set("\u202e\u200f") & set(page.inner_text("body"))
    assert "taken" not in page.title()
    assert page.locator("main script").count() == 0
    page.fill("#why", HOSTILE)
    page.fill("#blend-number", "3")
    page.click("#blend-set")
    expect(notice(page, "said")).to_be_visible()
    picture(page, "hostile-names")


def test_long_names_fifty_instances_and_two_hundred_versions_stay_readable(start_router, start_instance, open_page):
    instance = start_instance("shop-41", "l")
    version = "shop-" + "long-" * 39
    path = f"apps/app-{version}-80/containers"
    keys = rollout([instance])
    keys["rolling/shop/candidate/id"] = path
    keys |= {f"{path}/{n:03}": f"127.0.1.{n}:65000" for n in range(1, 51)}
    keys |= {f"apps/app-shop-{n}-80/containers/a": instance.address for n in range(200, 400)}
    router = start_router(keys)
    for size in (DESKTOP, PHONE):
        page = open_page(router, size=size)
        expect(page.locator("#candidate-name")).to_have_text(version)
        expect(page.locator("#candidate-instances li")).to_have_count(50)
        expect(page.locator("#stable-select option")).to_have_count(203)
        assert not is_too_wide(page)
        picture(page, f"crowded-{size[0]}")


def test_the_page_has_no_inline_script_or_style_and_names_no_other_host():
    web = Path(__file__).parent.parent.parent / "web"
    for path in [*web.glob("*.html"), *web.glob("js/*.js"), *web.glob("*.css")]:
        text = path.read_text()
        hosts = [word for word in text.split() if "//" in word and ("http:" in word or "https:" in word)]
        assert [one for one in hosts if "w3.org" not in one and "`https://$" not in one] == [], path
    markup = (web / "index.html").read_text()
    assert "style=" not in markup
    assert " on" + "click=" not in markup
    assert json.dumps(markup).count("<script") == 2
