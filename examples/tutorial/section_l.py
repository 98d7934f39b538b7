"""tutorial.section_l: stickiness: what keeps a client on its version, and what ends that."""

from __future__ import annotations

from collections import Counter

from examples.tutorial import commands
from examples.tutorial.clients import Client
from examples.tutorial.machine import until
from examples.tutorial.platform import NULL
from examples.tutorial.player import Section
from examples.tutorial.walk import APP, ORANGE, ROUTER_ID, YELLOW, Walk

section = Section("L", "Stickiness")
CLIENTS, REQUESTS = 200, 20


def versions(client: Client, times: int = REQUESTS) -> set[str | None]:
    """Which ones a client sees."""
    return {client.get().version for _ in range(times)}


def client_on(walk: Walk, version: str) -> Client:
    """A new client that is placed on this version."""
    for _ in range(50):
        client = walk.client()
        if client.get().version == version and client.cookies:
            return client
        client.close()
    raise AssertionError(f"no new client was placed on {version} and told so")


@section.item(61, "It is off at first: each request is placed by the blend alone.")
def off(walk: Walk) -> str:
    assert walk.platform.setting("stickyness") == "0"
    walk.platform.set(blend="50")
    walk.waits_for(YELLOW, ORANGE)
    client = walk.client()
    client.cookies = {"theme": "dark"}
    seen = [client.get() for _ in range(100)]
    assert Counter(one.version for one in seen) == {YELLOW: 50, ORANGE: 50}
    assert not any(one.set_cookies for one in seen)
    client.close()
    return "100 requests of one client: 50 and 50, and no cookie is set"


@section.item(62, "It is set to true in a dropdown of true and false, and shows as true.")
def set_on(walk: Walk) -> None:
    walk.await_page()
    options = [text.strip() for text in walk.page.page.locator("#sticky option").all_inner_texts()]
    assert options[:2] == ["false", "true (cookie)"]
    walk.page.set_sticky("on")
    walk.page.shows(sticky="true (cookie)")
    assert walk.platform.setting("stickyness") == "1"


@section.item(63, "Then a client's first request is placed by the blend, and all later ones go to the same version.")
def kept(walk: Walk) -> str:
    until(lambda: walk.look().set_cookies, "new clients are told where they belong")
    counts: Counter[str | None] = Counter()
    for _ in range(CLIENTS):
        client = walk.client()
        seen = versions(client)
        client.close()
        assert len(seen) == 1, seen
        counts.update(seen)
    assert counts == {YELLOW: CLIENTS // 2, ORANGE: CLIENTS // 2}
    assert "Running" in walk.machine.run(commands.RELOAD_STICKY)
    return f"{CLIENTS} clients with {REQUESTS} requests each: {CLIENTS // 2} on each version, none saw both"


@section.item(64, "Different browsers may see different versions at the same time.")
def browsers(walk: Walk) -> str:
    pages = [walk.browser.open(f"http://127.0.0.1:{walk.app_port}/") for _ in range(4)]
    first = [page.inner_text("h1") for page in pages]
    for page in pages:
        page.reload()
    assert [page.inner_text("h1") for page in pages] == first
    assert len(set(first)) == 2
    for page in pages:
        page.context.close()
    return "four Chromiums with cookies of their own: both versions, the same again after a reload"


@section.item(65, "Set back to false, old cookies have no effect at once.")
def set_off(walk: Walk) -> None:
    client = client_on(walk, ORANGE)
    walk.machine.run(commands.STICKY_OFF)
    until(lambda: not walk.look().set_cookies, "no cookie is set any more")
    assert Counter(client.get().version for _ in range(100)) == {YELLOW: 50, ORANGE: 50}
    client.close()


@section.item(66, "A client stays through reloads, a restart and a promote; not without its version, nor at 0 or 100.")
def ends(walk: Walk) -> str:
    walk.machine.run(commands.STICKY_ON)
    until(lambda: walk.look().set_cookies, "new clients are told where they belong")
    on_stable, on_candidate, other = client_on(walk, YELLOW), client_on(walk, ORANGE), client_on(walk, ORANGE)
    for client in (on_stable, on_candidate, other):
        client.close()  # or it would be told of the end of its connection first, as anybody is by a crash
    _restart_router(walk)
    assert versions(on_stable) == {YELLOW}
    assert versions(on_candidate) == {ORANGE}

    walk.platform.set(blend="0")
    until(lambda: other.get().version == YELLOW, "at 0 clients of the candidate move")
    walk.platform.set(blend="100")
    until(lambda: on_stable.get().version == ORANGE, "at 100 clients of stable move")
    walk.platform.set(blend="50")
    walk.waits_for(YELLOW, ORANGE)

    stable, candidate = walk.stable, walk.candidate
    on_stable, on_candidate = client_on(walk, YELLOW), client_on(walk, ORANGE)
    # No instance of the candidate is left: its clients find stable.
    walk.platform.json("POST", f"/api/v2/deployments/{candidate}/stop")
    until(lambda: other.get().version == YELLOW and on_candidate.get().version == YELLOW, "its clients find stable")
    until(lambda: walk.platform.deployments()[candidate]["current_state"] == 0, "the candidate is stopped")
    walk.platform.json("POST", f"/api/v2/deployments/{candidate}/start")
    until(lambda: walk.platform.instances(candidate), "the candidate runs again")
    walk.waits_for(YELLOW, ORANGE)

    # A promote moves nobody who is on the candidate; those on stable have no version any more.
    on_stable, on_candidate = client_on(walk, YELLOW), client_on(walk, ORANGE)
    walk.machine.run(commands.PROMOTE)
    seen: set[str | None] = set()

    def has_moved() -> bool:
        seen.add(on_candidate.get().version)
        return on_stable.get().version == ORANGE

    until(has_moved, "clients of the version before move")
    assert seen == {ORANGE} == versions(on_candidate)
    walk.platform.set(candidate=walk.path(stable))
    return "each of them tried: restart, 0, 100, no instance left, promote"


def _restart_router(walk: Walk) -> None:
    """As a crash does; the platform starts another one at the same ports."""
    (before,) = walk.platform.containers(ROUTER_ID)
    walk.platform.json("POST", f"/api/v2/containers/{before['container_id']}/kill")

    def is_another() -> bool:
        now = walk.platform.containers(ROUTER_ID)
        return [one["state"] for one in now] == ["Running"] and now[0]["container_id"] != before["container_id"]

    until(is_another, "another router runs")

    def answers() -> bool:
        try:
            return walk.look().status == 200
        except OSError:
            return False

    until(answers, "it serves")


@section.item(67, "Sessions in an instance's memory survive a change of the blend and a promote.")
def sessions(walk: Walk) -> str:
    stable = walk.platform.deploy(f"{APP}-sessions-1", "demo/hello-world:7.1", 2)
    candidate = walk.platform.deploy(f"{APP}-sessions-2", "demo/hello-world:7.2", 2)
    walk.platform.set(blend="0", candidate=NULL, stable=stable)
    walk.platform.set(candidate=candidate, blend="50")
    walk.waits_for("7.1", "7.2")
    client = client_on(walk, "7.2")
    visits = 1
    for change in (commands.BLEND_BY_CURL, commands.PROMOTE):
        walk.machine.run(change)
        until(lambda: walk.look_often(4).count("7.2") in (0, 4, 1), "the change is in force")
        for _ in range(10):
            seen = client.get()
            visits += 1
            assert (seen.version, seen.visits) == ("7.2", visits)
    client.close()
    walk.platform.set(candidate=stable)
    walk.machine.run(commands.ROLLBACK)
    assert walk.platform.settings()[:3] == (candidate, NULL, "0")
    return f"one client's counter went on to {visits} through both, with two instances of each version"
