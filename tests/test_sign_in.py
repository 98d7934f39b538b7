"""Who comes in at the settings port, and who does not: tokens, codes, sessions, other sites' pages, OCCS bearers."""

from __future__ import annotations

import re
import threading

import attrs
import pytest
from twisted.internet.defer import Deferred, fail, succeed
from twisted.logger import globalLogPublisher
from zope.interface import implementer
from zope.interface.verify import verifyObject

from rolling_router.admin import sessions
from rolling_router.admin.identity import Rights
from rolling_router.admin.origins import Origins
from rolling_router.admin.sign_in import BearerRefused, IManager, Opened
from rolling_router.admin.throttle import FREE, LONGEST_SECONDS, OVERALL_BURST, Throttle
from rolling_router.admin.token_file import TokenFile, make_token
from rolling_router.errors import SettingError, StoreLost
from tests.settings_port import KEYS, Browser, House


@pytest.fixture
def make_house(tmp_path):
    houses = []

    def make(**access):
        houses.append(House(tmp_path, KEYS, **access).start())
        return houses[-1]

    yield make
    for one in houses:
        one.stop()


@pytest.fixture
def house(make_house):
    return make_house()


@pytest.fixture
def logged():
    """All log events, as text with all their fields."""
    events = []

    def observe(event):
        events.append(repr({key: value for key, value in event.items() if key != "log_source"}))

    globalLogPublisher.addObserver(observe)
    yield events
    globalLogPublisher.removeObserver(observe)


# Tokens


def test_a_token_signs_in_and_is_kept_as_its_hash_alone(house):
    secret = house.token(Rights.VIEWER, "jun")
    browser = house.browser()
    answer = browser.sign_in(token=secret)
    assert (answer.json["signed_in"], answer.json["name"], answer.json["role"]) == (True, "jun", "viewer")
    assert browser.get("/api/v1/session").json["csrf"] == answer.json["csrf"]
    kept = house.directory / "tokens.json"
    assert secret not in kept.read_text()
    assert kept.stat().st_mode & 0o777 == 0o600


def test_a_wrong_token_is_refused_and_never_shown(house, logged):
    for wrong in ("rrt_wrong-and-secret", "é\u202ewrong-and-secret", "wrong-and-secret" * 200):
        browser = house.browser()
        answer = browser.sign_in(token=wrong)
        assert (answer.code, answer.json["code"]) == (401, "sign-in-failed")
        assert "wrong-and-secret" not in answer.body.decode() + str(answer.headers)
        assert browser.get("/api/v1/status").code == 401
    assert any("sign-in-failed" in event for event in logged)
    assert not any("wrong-and-secret" in event for event in logged)


def test_revoking_a_token_ends_its_sessions_and_open_pages(house):
    page, other = house.signed_in(name="mari"), house.signed_in(name="jun")
    response = page.send("GET", "/api/v1/events")
    page.flush()
    assert response.result.code == 200
    house.tokens.remove("mari")
    house.advance(2.5)
    page.flush()
    assert page.get("/api/v1/status").code == 401
    assert other.get("/api/v1/status").code == 200


def test_two_writers_of_the_token_file_lose_nothing(tmp_path):
    def add(writer):
        for number in range(20):
            TokenFile(str(tmp_path)).add(make_token(f"{writer}-{number}", Rights.VIEWER, 0.0)[1])

    writers = [threading.Thread(target=add, args=[name]) for name in "abcd"]
    for one in writers:
        one.start()
    for one in writers:
        one.join()
    assert len(TokenFile(str(tmp_path)).read()) == 80


@pytest.mark.parametrize("name", ["", " ", "a\nb", "<script>", "\u202ex", "x" * 101, "a/b", "a  b", "-a"])
def test_a_token_s_name_is_fit_to_be_shown(name):
    with pytest.raises(SettingError, match=r"token's name is .* it must begin with"):
        make_token(name, Rights.VIEWER, 0.0)


def test_a_token_that_was_made_a_moment_ago_counts_at_once(house):
    assert house.browser().get("/api/v1/session", Authorization="Bearer rrt_nobody-s-token-at-all").code == 401
    secret, token = make_token("new", Rights.VIEWER, 0.0)
    house.tokens.add(token)
    answer = house.browser().get("/api/v1/session", Authorization=f"Bearer {secret}")
    assert (answer.code, answer.json["name"]) == (200, "new")


def test_a_token_file_that_cannot_be_read_lets_nobody_in_and_keeps_those_who_are(house):
    page = house.signed_in()
    (house.directory / "tokens.json").write_text("{")
    house.advance(1.5)
    assert page.get("/api/v1/status").code == 200
    with pytest.raises(SettingError, match="does not hold tokens"):
        house.tokens.read()


def test_the_environment_s_token_counts_and_a_short_one_is_refused(make_house, tmp_path):
    house = make_house(environ={"ROLLING_ROUTER_TOKEN": "x" * 20})
    answer = house.browser().get("/api/v1/session", Authorization="Bearer " + "x" * 20)
    assert (answer.json["name"], answer.json["role"]) == ("environment", "operator")
    with pytest.raises(SettingError, match="must have 20 or more"):
        House(tmp_path, environ={"ROLLING_ROUTER_TOKEN": "short"})


# The first start


def link(logged):
    codes = [found[1] for event in logged if (found := re.search(r"'code': '([^']+)'", event))]
    return codes[-1] if codes else None


@pytest.mark.parametrize("directory", [True, None])
def test_the_link_of_the_first_start_signs_in_once_and_makes_a_token(make_house, logged, directory):
    house = make_house(**({} if directory else {"keeps_tokens": False}))
    code = link(logged)
    answer = house.browser().sign_in(code=code)
    assert (answer.code, answer.json["role"]) == (200, "operator")
    assert house.browser().sign_in(code=code).code == 401
    assert house.browser().sign_in(token=answer.json["token"]).code == 200
    assert answer.json["token"] not in "".join(logged)


def test_the_link_ends_after_half_an_hour(logged, make_house):
    house = make_house()
    house.clock.advance(1801)
    assert house.browser().sign_in(code=link(logged)).code == 401
    assert house.browser().sign_in(code="").code == 401


def test_there_is_no_link_where_there_is_a_token(make_house, logged):
    make_house(environ={"ROLLING_ROUTER_TOKEN": "x" * 20})
    assert link(logged) is None


# Sessions


def test_the_cookie_is_for_this_port_alone_and_out_of_reach_of_scripts(house):
    secret = house.token()
    cookie = house.browser().sign_in(token=secret).headers["Set-Cookie"]
    assert re.fullmatch(r"rolling_router_8080=[\w-]{43}; Path=/; HttpOnly; SameSite=Strict", cookie)
    secure = Browser(house, "https://localhost").sign_in(token=secret).headers["Set-Cookie"]
    assert re.fullmatch(r"__Host-rolling_router=[\w-]{43}; Path=/; HttpOnly; SameSite=Strict; Secure", secure)


def test_behind_a_proxy_with_tls_the_cookie_is_secure(make_house):
    house = make_house(origins=Origins.parse(["https://rollout.example"]))
    secret = house.token()
    answer = house.browser().ask("POST", "/api/v1/session", {"token": secret}, Host="rollout.example")
    assert answer.headers["Set-Cookie"].startswith("__Host-")
    assert answer.headers["Set-Cookie"].endswith("; Secure")


def test_signing_out_ends_the_session_and_only_by_our_own_page(house):
    page = house.signed_in()
    assert page.ask("DELETE", "/api/v1/session").code == 403
    assert page.get("/api/v1/status").code == 200
    answer = page.ask("DELETE", "/api/v1/session", X_CSRF_Token=page.csrf)
    assert (answer.code, "Max-Age=0" in answer.headers["Set-Cookie"]) == (204, True)
    assert page.get("/api/v1/status").code == 401
    assert house.browser().ask("DELETE", "/api/v1/session").code == 204


def test_signing_in_again_ends_the_session_before(house):
    page, secret = house.signed_in(), house.token(name="jun")
    before = page.csrf
    page.sign_in(token=secret)
    assert page.csrf != before
    assert len(house.port._sessions) == 1


@pytest.mark.parametrize(("rights", "longest"), [(Rights.OPERATOR, 12 * 3600), (Rights.VIEWER, 30 * 86400)])
def test_a_session_ends_without_use_and_at_its_longest(house, rights, longest):
    page = house.signed_in(rights)
    house.clock.advance(2 * 3600 - 5)
    assert page.get("/api/v1/status").code == 200
    house.clock.advance(2 * 3600 + 5)
    assert page.get("/api/v1/status").code == 401
    page = house.signed_in(rights, "jun")
    began = house.clock.seconds()
    while house.clock.seconds() - began < longest - 7001:
        assert page.get("/api/v1/session").json["signed_in"]
        house.clock.advance(7000)
    assert page.get("/api/v1/session").json["signed_in"]
    house.clock.advance(7001)
    assert not page.get("/api/v1/session").json["signed_in"]


def test_sessions_are_bounded_and_the_least_used_ends_first(house, monkeypatch):
    monkeypatch.setattr(sessions, "MOST_SESSIONS", 20)
    first, secret = house.signed_in(), house.token(name="jun")
    identity = house.port._tokens.find(secret)
    for _ in range(19):
        house.port._sessions.open(identity)
    assert first.get("/api/v1/status").code == 200
    house.port._sessions.open(identity)
    assert first.get("/api/v1/status").code == 200
    assert len(house.port._sessions) == 20


def test_who_signs_in_again_and_again_puts_nobody_else_out(house, monkeypatch):
    monkeypatch.setattr(sessions, "MOST_SESSIONS", 20)
    operator, viewer = house.signed_in(), house.port._tokens.find(house.token(Rights.VIEWER, "jun"))
    for _ in range(60):
        house.port._sessions.open(viewer)
    assert operator.get("/api/v1/status").code == 200
    assert len(house.port._sessions) == 20


def test_nor_does_it_put_out_one_of_somebody_with_as_many(house, monkeypatch):
    monkeypatch.setattr(sessions, "MOST_SESSIONS", 20)
    ann, ben = (house.port._tokens.find(house.token(Rights.VIEWER, name)) for name in ("ann", "ben"))
    hers = [house.port._sessions.open(ann)[1] for _ in range(10)]
    for _ in range(60):
        house.port._sessions.open(ben)
    assert not any(one.is_over for one in hers)
    assert len(house.port._sessions) == 20


# Other sites' pages


@pytest.mark.parametrize(
    "headers",
    [
        {"X_CSRF_Token": ""},
        {"X_CSRF_Token": "wrong"},
        {"X_CSRF_Token": "é"},
        {"Origin": "https://evil.example"},
        {"Origin": "http://localhost:9090"},
        {"Origin": "null"},
        {"Sec_Fetch_Site": "cross-site"},
        {"Sec_Fetch_Site": "same-site"},
    ],
)
def test_what_another_site_s_page_could_send_is_refused(house, headers):
    page = house.signed_in()
    answer = page.write("PUT", "settings/blend", {"blend": 9}, **headers)
    assert (answer.code, answer.json["code"]) == (403, "cross-site")
    assert house.store.puts == []


@pytest.mark.parametrize("headers", [{"Origin": "http://localhost:8080"}, {"Sec_Fetch_Site": "same-origin"}])
def test_what_our_own_page_sends_is_taken(house, headers):
    assert house.signed_in().write("PUT", "settings/blend", {"blend": 9}, **headers).code == 200


def test_another_site_s_page_cannot_sign_somebody_in(house):
    secret = house.token()
    body = {"token": secret}
    assert house.browser().ask("POST", "/api/v1/session", body, Origin="https://evil.example").code == 403
    plain = f'{{"token": "{secret}"}}'.encode()
    assert house.browser().ask("POST", "/api/v1/session", plain, Content_Type="text/plain").code == 415


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:8080", "localhost.evil.example", "10.0.0.1", "", "a b", "[::"]
)
def test_on_loopback_another_name_is_refused_so_that_nobody_s_name_can_be_turned_to_us(house, host):
    page = house.signed_in()
    answer = page.get("/api/v1/status", Host=host)
    assert answer.code in (400, 421)
    assert answer.headers["X-Frame-Options"] == "DENY"
    assert page.get("/healthz", Host="anything.example").code == 200


@pytest.mark.parametrize(
    "host", ["localhost", "LOCALHOST:8080", "127.0.0.1", "127.9.9.9:1", "[::1]:8080", "a.localhost"]
)
def test_on_loopback_its_own_names_are_taken(house, host):
    assert house.browser().get("/api/v1/session", Host=host).code == 200


def test_elsewhere_any_name_is_taken_and_on_loopback_the_configured_ones():
    assert Origins().knows("rollout.example", "10.0.0.1")
    assert not Origins().knows("rollout.example", "::ffff:127.0.0.1")
    known = Origins.parse(["https://Rollout.example/", "http://other.example:8080"])
    assert known.knows("rollout.example", "127.0.0.1")
    assert known.knows("other.example:8080", "127.0.0.1")
    assert not known.knows("other.example:8081", "127.0.0.1")
    for text in (
        "rollout.example",
        "ftp://x",
        "https://x/path",
        "https://a@b",
        "https://",
        "https://x:0",
        "https://x:99999",
    ):
        with pytest.raises(SettingError, match="--admin-origin"):
            Origins.parse([text])


# Failed sign-ins


def test_who_fails_again_and_again_waits_longer_and_longer_and_others_do_not():
    now = [0.0]
    throttle = Throttle(lambda: now[0])
    waits = []
    for _ in range(FREE + 10):
        throttle.failed("192.0.2.1")
        waits.append(throttle.wait("192.0.2.1"))
        now[0] += LONGEST_SECONDS
    assert waits[: FREE - 1] == [0] * (FREE - 1)
    assert waits[FREE - 1 : FREE + 3] == [1, 2, 4, 8]
    assert waits[-1] == LONGEST_SECONDS
    assert throttle.wait("192.0.2.2") == 0
    throttle.succeeded("192.0.2.1")
    assert throttle.wait("192.0.2.1") == 0


def test_one_who_has_a_whole_network_is_one_and_all_together_are_slowed_down_too():
    now = [0.0]
    throttle = Throttle(lambda: now[0])
    for number in range(FREE):
        throttle.failed(f"2001:db8::{number:x}")
    assert throttle.wait("2001:db8::ffff") > 0
    assert throttle.wait("2001:db8:0:1::1") == 0
    for number in range(int(OVERALL_BURST)):
        throttle.failed(f"10.0.{number}.1")
    assert throttle.wait("192.0.2.1") > 0
    now[0] += 5
    assert throttle.wait("192.0.2.1") == 0


def test_failed_sign_ins_are_slowed_down_and_a_good_token_is_not(house):
    secret, stranger = house.token(), house.browser()
    codes = [stranger.sign_in(token=f"rrt_{number}").code for number in range(FREE + 2)]
    assert codes == [401] * FREE + [429] * 2
    slowed = stranger.get("/api/v1/status", Authorization="Bearer wrong")
    assert (slowed.code, slowed.json["code"]) == (429, "slow-down")
    assert int(slowed.headers["Retry-After"]) == slowed.json["retry_after"] >= 1
    assert stranger.sign_in(token=secret).code == 200


def test_a_clock_that_is_put_back_makes_nobody_wait_longer():
    now = [10_000.0]
    throttle = Throttle(lambda: now[0])
    for number in range(int(OVERALL_BURST)):
        throttle.failed(f"10.0.{number}.1")
    for _ in range(FREE):
        throttle.failed("192.0.2.1")
    now[0] -= 3600
    assert 0 < throttle.wait("192.0.2.1") < LONGEST_SECONDS
    assert 0 < throttle.wait("192.0.2.2") < LONGEST_SECONDS
    now[0] += LONGEST_SECONDS
    assert throttle.wait("192.0.2.1") == throttle.wait("192.0.2.2") == 0


def fail_until_slowed(house, **wrong):
    """Somebody at the same address tries words. :returns: the codes of the answers."""
    codes = [house.browser().sign_in(**wrong).code for _ in range(FREE + 2)]
    assert codes[-1] == 429, codes
    return codes


def test_who_tries_words_keeps_nobody_from_the_first_starts_link(logged, make_house):
    house = make_house()
    code = link(logged)
    fail_until_slowed(house, code="wrong")
    assert house.browser().sign_in(code=code).code == 200


# OCCS


@implementer(IManager)
@attrs.define
class FakeManager:
    host: str | None = "https://manager.example"
    opened: list = attrs.field(factory=list)
    closed: int = 0
    control: object = None

    def is_own(self, bearer):
        return bearer == "the-routers-own"

    def open(self, host, bearer):
        self.opened.append((host, bearer))
        if bearer == "silent":
            return Deferred(lambda call: None)
        if bearer in ("good", "the-routers-own"):
            return succeed(Opened(self.control, self.close))
        return fail(StoreLost(f"refused {bearer}") if bearer == "away" else BearerRefused("no"))

    def close(self):
        self.closed += 1


def test_the_fake_is_true():
    verifyObject(IManager, FakeManager())


@pytest.fixture
def manager():
    return FakeManager()


@pytest.fixture
def occs(make_house, manager, logged):
    house = make_house(manager=manager)
    manager.control = house.control
    assert link(logged) is None
    return house


def test_an_occs_bearer_signs_in_and_writes_through_its_own_store(occs, manager):
    ways = occs.browser().get("/api/v1/session").json["sign_in"]
    assert ways["ways"] == ["occs", "token"]
    assert (ways["host"], ways["host_is_fixed"], ways["app"]) == ("https://manager.example", True, "shop")
    browser = occs.browser()
    answer = browser.sign_in(bearer="good", host="manager.example", app="shop", port=3000)
    assert (answer.code, answer.json["role"], answer.json["port"]) == (200, "operator", 3000)
    assert answer.json["name"].startswith("occs:")
    assert manager.opened == [("https://manager.example", "good")]
    assert browser.write("PUT", "settings/blend", {"blend": 9}).code == 200
    assert browser.ask("DELETE", "/api/v1/session", X_CSRF_Token=browser.csrf).code == 204
    assert manager.closed == 1


@pytest.mark.parametrize(
    ("body", "code", "word"),
    [
        ({"bearer": "bad-and-secret"}, 401, "bearer-refused"),
        ({"bearer": "away"}, 502, "host-silent"),
        ({"bearer": "silent"}, 502, "host-silent"),
        ({"bearer": "good", "host": "https://other.example"}, 422, "host-refused"),
        ({"bearer": "good", "host": "<script>"}, 422, "host-refused"),
        ({"bearer": "good", "app": "other"}, 422, "other-app"),
        ({"bearer": "good", "port": 0}, 422, "bad-field"),
        ({"bearer": "a\nb"}, 422, "bad-field"),
        ({"bearer": "good", "token": "x"}, 422, "bad-field"),
        ({}, 422, "bad-field"),
    ],
)
def test_an_occs_sign_in_that_fails_says_why_within_seconds_and_shows_no_bearer(occs, logged, body, code, word):
    began = occs.clock.seconds()
    answer = occs.browser().sign_in(**body)
    assert (answer.code, answer.json["code"]) == (code, word)
    assert occs.clock.seconds() - began < 6
    assert "bad-and-secret" not in answer.body.decode() + "".join(logged)


def test_without_a_manager_a_host_is_entered_by_operators_alone_and_by_https_alone(make_house, manager):
    manager.host = None
    house = make_house(manager=manager)
    entered = {"bearer": "good", "host": "manager.example"}
    refused = house.browser().sign_in(**entered)
    assert (refused.code, refused.json["code"]) == (403, "operator-token-needed")
    viewer = house.signed_in(Rights.VIEWER, "jun")
    body = {**entered, "app": "shop"}
    assert viewer.ask("POST", "/api/v1/session", body, X_CSRF_Token=viewer.csrf).json["code"] == "operator-token-needed"
    operator = house.signed_in()
    assert operator.ask("POST", "/api/v1/session", body).json["code"] == "operator-token-needed"
    for host in ("http://manager.example", "https://manager.example/x", "file:///etc/passwd", "ftp://x", ""):
        answer = operator.ask("POST", "/api/v1/session", {**body, "host": host}, X_CSRF_Token=operator.csrf)
        assert (answer.code, answer.json["code"]) == (422, "host-refused"), host
    assert manager.opened == []
    answer = operator.ask("POST", "/api/v1/session", body, X_CSRF_Token=operator.csrf)
    assert answer.code == 200
    assert house.browser().sign_in(bearer="the-routers-own", host="https://manager.example").code == 200
    assert manager.opened == [("https://manager.example", "good"), ("https://manager.example", "the-routers-own")]


def test_who_tries_words_keeps_neither_the_routers_own_bearer_nor_an_operator_out(occs):
    operator = occs.signed_in()
    fail_until_slowed(occs, bearer="bad")
    assert occs.browser().sign_in(bearer="good").code == 429  # whether it is good only the manager can tell
    assert occs.browser().sign_in(bearer="the-routers-own").code == 200
    answer = operator.ask("POST", "/api/v1/session", {"bearer": "good"}, X_CSRF_Token=operator.csrf)
    assert answer.code == 200


def test_tries_at_the_routers_own_bearer_are_slowed_down_and_logged_too(make_house, manager, logged):
    manager.host = None
    house = make_house(manager=manager)
    codes = fail_until_slowed(house, bearer="guess", host="https://manager.example")
    assert codes == [403] * FREE + [429] * 2
    assert "operator-token-needed" in "".join(logged)
    assert "guess" not in "".join(logged)


def test_a_bearer_where_the_store_is_not_occs_is_refused(house):
    answer = house.browser().sign_in(bearer="good")
    assert (answer.code, answer.json["field"]) == (422, "bearer")
