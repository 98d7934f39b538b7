"""Stickiness over sockets: each client stays where it is, through restarts, until its pin ends as the rules say."""

from __future__ import annotations

from collections import Counter

import attrs
import pytest

from .conftest import StartInstance, StartRouter
from .instance import Instance
from .router import Router, rollout
from .wire import Answer, Wire, get


@attrs.define
class Browser:
    """A client with a cookie jar. Many of them share one connection, as behind another proxy."""

    jar: dict[bytes, bytes] = attrs.field(factory=dict)
    seen: list[tuple[str, bytes | None]] = attrs.field(factory=list)

    def request(self, *fields: str) -> bytes:
        pairs = "; ".join(f"{name.decode()}={value.decode()}" for name, value in self.jar.items())
        return get("/", *([f"Cookie: {pairs}"] if pairs else []), *fields)

    def take(self, answer: Answer) -> None:
        for line in answer.all(b"Set-Cookie"):
            name, _, value = line.partition(b";")[0].partition(b"=")
            self.jar[name] = value
        self.seen.append((answer.version, answer.one(b"X-Instance")))

    @property
    def version(self) -> str:
        return self.seen[-1][0]


def visit(wire: Wire, browsers: list[Browser]) -> Counter[str]:
    """Each of them asks once; gives who answered."""
    wire.send(b"".join(browser.request() for browser in browsers))
    for browser in browsers:
        browser.take(wire.answer())
    return Counter(browser.version for browser in browsers)


@pytest.fixture(scope="module")
def stable(start_instance: StartInstance) -> list[Instance]:
    return [start_instance("1.0", name) for name in ("s1", "s2")]


@pytest.fixture(scope="module")
def candidate(start_instance: StartInstance) -> list[Instance]:
    return [start_instance("1.1", name) for name in ("c1", "c2", "c3")]


@pytest.fixture(scope="module")
def router(start_router: StartRouter) -> Router:
    return start_router(rollout())


def test_200_clients_stay_where_they_are_half_of_them_on_each(
    router: Router, stable: list[Instance], candidate: list[Instance]
) -> None:
    router.put(rollout(stable, candidate, 50, 1))
    browsers = [Browser() for _ in range(200)]
    with router.wire() as wire:
        for _ in range(20):
            assert visit(wire, browsers) == {"1.0": 100, "1.1": 100}
    assert all(len(set(browser.seen)) == 1 for browser in browsers), "somebody saw two versions, or two instances"
    assert {len(browser.jar) for browser in browsers} == {1}


def test_a_restart_moves_nobody_and_nor_does_another_router(
    router: Router, start_router: StartRouter, stable: list[Instance], candidate: list[Instance]
) -> None:
    keys = rollout(stable, candidate, 30, "cookie")
    router.put(keys)
    browsers = [Browser() for _ in range(100)]
    with router.wire() as wire:
        assert visit(wire, browsers) == {"1.0": 70, "1.1": 30}
    assert router.stop() == 0
    router.start()
    for one in (router, start_router(keys)):
        with one.wire() as wire:
            visit(wire, browsers)
    assert all(len(set(browser.seen)) == 1 for browser in browsers)


def test_a_promote_moves_nobody_who_was_on_the_candidate(
    router: Router, stable: list[Instance], candidate: list[Instance]
) -> None:
    router.put(rollout(stable, candidate, 50, 1))
    browsers = [Browser() for _ in range(40)]
    with router.wire() as wire:
        visit(wire, browsers)
        early = [browser for browser in browsers if browser.version == "1.1"]
        router.put(rollout(candidate, [], 0, 1))
        assert visit(wire, browsers) == {"1.1": 40}
        assert visit(wire, browsers) == {"1.1": 40}
    assert len(early) == 20
    assert all(len(set(browser.seen)) == 1 for browser in early)
    assert all(len(set(browser.seen[1:])) == 1 for browser in browsers), "those who moved stay where they came to"


def test_pins_end_at_blend_0_and_at_blend_100(
    router: Router, stable: list[Instance], candidate: list[Instance]
) -> None:
    router.put(rollout(stable, candidate, 50, 1))
    browsers = [Browser() for _ in range(40)]
    with router.wire() as wire:
        assert visit(wire, browsers) == {"1.0": 20, "1.1": 20}
        router.put(rollout(stable, candidate, 0, 1))
        assert visit(wire, browsers) == {"1.0": 40}
        router.put(rollout(stable, candidate, 100, 1))
        assert visit(wire, browsers) == {"1.1": 40}
        router.put(rollout(stable, candidate, 1, 1))
        assert visit(wire, browsers) == {"1.1": 40}, "their pins hold again, so nobody is placed anew"


def test_a_rollback_moves_everybody_to_stable_and_a_new_candidate_starts_anew(
    router: Router, start_instance: StartInstance, stable: list[Instance], candidate: list[Instance]
) -> None:
    router.put(rollout(stable, candidate, 100, 1))
    browsers = [Browser() for _ in range(40)]
    with router.wire() as wire:
        assert visit(wire, browsers) == {"1.1": 40}
        router.put(rollout(stable, [start_instance("1.2", "n")], 25, 1))
        assert visit(wire, browsers) == {"1.0": 30, "1.2": 10}


def test_a_client_whose_instance_dies_goes_to_another_of_its_version_and_stays_there(
    router: Router, start_instance: StartInstance, stable: list[Instance]
) -> None:
    mortal, other = start_instance("1.3", "mortal"), start_instance("1.3", "other")
    router.put(rollout(stable, [mortal, other], 50, 1))
    browsers = [Browser() for _ in range(40)]
    with router.wire() as wire:
        assert visit(wire, browsers) == {"1.0": 20, "1.3": 20}
        mortal.stop()
        assert visit(wire, browsers) == {"1.0": 20, "1.3": 20}
        other.stop()
        assert visit(wire, browsers) == {"1.0": 40}, "no instance of their version is left"
        assert visit(wire, browsers) == {"1.0": 40}


def test_off_means_off_and_on_again_honours_old_pins(
    router: Router, stable: list[Instance], candidate: list[Instance]
) -> None:
    router.put(rollout(stable, candidate, 50, 1))
    browser = Browser()
    with router.wire() as wire:
        visit(wire, [browser])
        pinned = browser.version
        router.put(rollout(stable, candidate, 50, 0))
        assert len({visit(wire, [browser]).most_common()[0] for _ in range(10)}) == 2
        router.put(rollout(stable, candidate, 50, 1))
        assert [visit(wire, [browser])[pinned] for _ in range(10)] == [1] * 10


def test_the_router_s_cookie_is_its_own_business(router: Router, start_instance: StartInstance) -> None:
    instance = start_instance("1.1")
    router.put(rollout([instance], [], 0, 1))
    browser = Browser({b"theirs": b"1"})
    with router.wire() as wire:
        for _ in range(2):
            assert visit(wire, [browser]) == {"1.1": 1}
    (name,) = set(browser.jar) - {b"theirs"}
    assert [call.one(b"Cookie") for call in instance.calls] == [b"theirs=1"] * 2
    set_cookie = router.ask(get()).one(b"Set-Cookie") or b""
    assert set_cookie.startswith(name + b"=")
    assert {b"HttpOnly", b"SameSite=Lax", b"Path=/"} <= {part.strip() for part in set_cookie.split(b";")}
    assert b"Secure" not in set_cookie
    for secret in (b"1.1", b"127.0.0.1", b"stable", b"candidate"):
        assert secret not in set_cookie.partition(b";")[0]


@pytest.mark.parametrize("value", ["", "x", "A" * 12, "A" * 12 + ".AAAA", "A" * 5000, '"', "%00", "a=b=c", "\xe9"])
def test_a_damaged_cookie_is_none(
    router: Router, stable: list[Instance], candidate: list[Instance], value: str
) -> None:
    router.put(rollout(stable, candidate, 100, 1))
    browser = Browser()
    with router.wire() as wire:
        visit(wire, [browser])
        (name,) = browser.jar
        answer = wire.ask(get("/", f"Cookie: {name.decode()}={value}; other=1"))
    assert answer.status == 200
    assert (answer.one(b"Set-Cookie") or b"").startswith(name + b"=")


def test_no_pin_comes_with_an_error_of_the_router_s_own_nor_with_what_caches_may_keep(
    router: Router, start_instance: StartInstance
) -> None:
    instance = start_instance("1.4")
    instance.on("/public", lambda call: call.answer(b"", "Cache-Control: public, max-age=60"))
    instance.on("/private", lambda call: call.answer(b"", "Set-Cookie: theirs=1", "Cache-Control: private"))
    router.put(rollout([instance], [], 0, 1))
    assert router.ask(get("/public")).all(b"Set-Cookie") == []
    answer = router.ask(get("/private"))
    assert answer.all(b"Set-Cookie")[0] == b"theirs=1"
    assert len(answer.all(b"Set-Cookie")) == 2
    assert router.ask(get()).one(b"Cache-Control") == b"private"  # it had none, and has a pin now
    instance.stop()
    answer = router.ask(get())
    assert (answer.status, answer.all(b"Set-Cookie")) == (503, [])


# By address


ADDRESSES = [f"198.51.{third}.{fourth}" for third in (100, 101) for fourth in range(200)]


def by_address(router: Router, addresses: list[str]) -> dict[str, tuple[str, bytes | None]]:
    with router.wire() as wire:
        wire.send(b"".join(get("/", f"X-Forwarded-For: {address}") for address in addresses))
        answers = [wire.answer() for _ in addresses]
    return {
        address: (answer.version, answer.one(b"X-Instance")) for address, answer in zip(addresses, answers, strict=True)
    }


def test_addresses_from_a_trusted_proxy_decide_and_raising_the_blend_only_adds(
    start_router: StartRouter, stable: list[Instance], candidate: list[Instance]
) -> None:
    router = start_router(rollout(stable, candidate, 0, "ip-hash"), "--trusted-proxy", "127.0.0.1/32")
    before: set[str] = set()
    for blend in (0, 10, 50, 90, 100):
        router.put(rollout(stable, candidate, blend, "ip-hash"))
        placed = by_address(router, ADDRESSES)
        assert by_address(router, ADDRESSES) == placed
        on_candidate = {address for address, (version, _) in placed.items() if version == "1.1"}
        assert before <= on_candidate
        assert abs(len(on_candidate) - 4 * blend) < 60  # six standard deviations
        before = on_candidate
    assert router.ask(get()).all(b"Set-Cookie") == []
    router.put(rollout(stable, candidate, 50, "ip-hash"))
    placed = by_address(router, ADDRESSES)
    router.stop()
    router.start()
    assert by_address(router, ADDRESSES) == placed
    # What is left of the last address that is not a proxy was written by whoever came before.
    for address in ADDRESSES[:20]:
        assert by_address(router, [f"1.2.3.4, {address}, 127.0.0.1"]) == {
            f"1.2.3.4, {address}, 127.0.0.1": placed[address]
        }


def test_a_trusted_proxy_s_word_is_passed_on_and_makes_the_cookie_secure(
    start_router: StartRouter, start_instance: StartInstance
) -> None:
    instance = start_instance("1.0")
    router = start_router(rollout([instance], [], 0, 1), "--trusted-proxy", "127.0.0.0/8")
    said = ["X-Forwarded-For: 203.0.113.5", "X-Forwarded-Proto: https", "X-Forwarded-Host: www.shop.example"]
    answer = router.ask(get("/", *said, "X-Request-ID: theirs-1"))
    assert (answer.one(b"Set-Cookie") or b"").endswith(b"; Secure")
    call = instance.calls[-1]
    assert call.one(b"X-Forwarded-For") == b"203.0.113.5, 127.0.0.1"
    assert call.one(b"X-Forwarded-Proto") == b"https"
    assert call.one(b"X-Forwarded-Host") == b"www.shop.example"
    assert call.one(b"X-Request-ID") == b"theirs-1"


def test_addresses_from_anybody_else_decide_nothing(
    router: Router, stable: list[Instance], candidate: list[Instance]
) -> None:
    router.put(rollout(stable, candidate, 50, "ip-hash"))
    assert len(set(by_address(router, ADDRESSES).values())) == 1
