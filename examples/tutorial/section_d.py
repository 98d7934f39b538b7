"""tutorial.section_d: the first sign-in at the settings page."""

from __future__ import annotations

import socket
import time

from examples.tutorial.machine import free_port
from examples.tutorial.player import Section
from examples.tutorial.walk import APP, Walk

section = Section("D", "Sign in for the first time")


@section.item(14, "The settings port shows the page, and it begins with the setup screen.")
def setup_first(walk: Walk) -> None:
    walk.page.expect(walk.page.page.locator("#setup")).to_be_visible()
    walk.page.expect(walk.page.page.locator("#manage")).to_be_hidden()


@section.item(15, "Four inputs with a hint each: admin host, token, application, port (optional); and OK.")
def four_inputs(walk: Walk) -> str:
    page = walk.page.page
    for name, hint in (("host", "host"), ("bearer", "bearer"), ("app-name", "app"), ("port", "port")):
        walk.page.expect(page.locator(f"#{name}")).to_be_visible()
        assert page.locator(f"label[for={name}]").inner_text()
        assert page.locator(f"#{hint}-hint").inner_text()
    assert "optional" in page.locator("label[for=port]").inner_text()
    assert page.locator("#occs-form button[type=submit]").inner_text() == "OK"
    assert page.input_value("#app-name") == APP
    return "the application is the router's own, filled in"


@section.item(16, "OK with host and token leads to the settings, which say that there are no keyvalues yet.")
def signed_in(walk: Walk) -> None:
    walk.page.fill_setup(walk.manager, walk.platform.token, "3000")
    walk.page.expect(walk.page.page.locator("#manage")).to_be_visible()
    walk.page.expect(walk.page.notice("unset")).to_contain_text("no keyvalues yet")
    walk.page.shows(app=APP, port="port 3000", stable="–", candidate="–", sticky="–")


@section.item(17, "A wrong token, a wrong host and a silent one are told within seconds, with a way back.")
def refused(walk: Walk) -> str:
    wrong_token, token = "0123456789abcdef" * 4, walk.platform.token
    with socket.create_server(("127.0.0.1", 0)) as silent:
        cases = {
            "wrong token": (walk.manager, wrong_token),
            "wrong host": (f"https://127.0.0.1:{free_port()}", token),
            "silent host": (f"https://127.0.0.1:{silent.getsockname()[1]}", token),
        }
        took = []
        for name, (host, bearer) in cases.items():
            other = walk.open_page()
            other.expect(other.page.locator("#occs-form")).to_be_visible()
            began = time.monotonic()
            other.fill_setup(host, bearer)
            other.expect(other.notice("said")).to_contain_text("No connection could be made")
            took.append(time.monotonic() - began)
            other.expect(other.page.locator("#occs-form button[type=submit]")).to_be_enabled()
            assert bearer not in other.page.content(), name
            other.page.context.close()
    assert wrong_token not in walk.log()
    assert token not in walk.log()
    return (
        f"after {', '.join(f'{seconds:.1f}' for seconds in took)} s; the form is still there, no token in page or log"
    )


@section.item(18, "Back at the setup screen one finds what one has entered.")
def kept(walk: Walk) -> str:
    page = walk.page.page
    page.click("#to-setup")
    walk.page.expect(page.locator("#setup")).to_be_visible()
    assert (page.input_value("#host"), page.input_value("#port")) == (walk.manager, "3000")
    assert page.input_value("#bearer") == ""
    page.click("#occs-form .back")
    walk.page.expect(page.locator("#manage")).to_be_visible()
    return "all but the token, which the page does not keep"
