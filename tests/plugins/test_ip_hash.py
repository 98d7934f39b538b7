"""The ip-hash strategy: fair, monotone, and the same on every router. All of it is hashing, so nothing here is luck."""

from __future__ import annotations

import attrs
import pytest

from rolling_router.interfaces import Instance, Pin, SettingError, Split, Version
from rolling_router_plugins import ip_hash
from rolling_router_plugins.ip_hash import IpHashPlugin, place, who_is
from tests.contract import APP, CANDIDATE, SPLITS, STABLE, FakeClient, StrategyContract

BLENDS = range(101)
OLD, NEW = Version("shop-1", 80), Version("shop-2", 80)
BOTH = SPLITS["both"]


def make():
    return IpHashPlugin().make(APP, {})


def first(addresses, blend, candidate=NEW, app=APP):
    """Who goes to the candidate."""
    strategy, split = make(), Split(app, OLD, candidate, blend)
    return {address for address in addresses if strategy.recall(FakeClient(address), split).version is candidate}


class TestContract(StrategyContract):
    plugin = IpHashPlugin()


# The version


@pytest.fixture(scope="module")
def went():
    """Blend to the addresses that go to the candidate: of 4,000 clients in one structured network."""
    addresses = [f"10.0.{x}.{y}" for x in range(16) for y in range(250)]
    return [first(addresses, blend) for blend in BLENDS]


def test_every_blend_gets_its_share_of_a_structured_network(went):
    for blend in BLENDS:
        assert abs(len(went[blend]) / 40 - blend) < 2.4, blend  # percentage points; three standard errors at 50


def test_nothing_is_nobody_and_all_is_everybody(went):
    assert (len(went[0]), len(went[100])) == (0, 4_000)


def test_raising_the_blend_only_adds_clients(went):
    for blend in BLENDS[1:]:
        assert went[blend - 1] <= went[blend], blend


@pytest.mark.parametrize("blend", [1, 5, 10, 25, 50, 75, 99])
def test_small_populations_are_not_skewed_from_rollout_to_rollout(blend):
    office = [f"192.168.1.{n}" for n in range(1, 201)]
    shares = [len(first(office, blend, Version(f"shop-2026112{n}", 80))) / 2 for n in range(50)]
    assert abs(sum(shares) / len(shares) - blend) < 1.5
    # Within four standard errors of a fair draw, each time: nobody's office is all in or all out.
    assert max(abs(share - blend) for share in shares) < 4 * (blend * (100 - blend) / 200) ** 0.5 + 0.5


def test_other_people_go_first_every_time():
    addresses = [f"10.0.{x}.{y}" for x in range(4) for y in range(250)]
    groups = [first(addresses, 10, Version(f"shop-{n}", 80)) for n in range(2, 22)]
    often = [sum(address in group for group in groups) for address in addresses]
    assert max(often) <= 9  # of 20 rollouts at 10 percent; always the same people would be 20
    assert sum(map(bool, often)) > 800  # and nearly everyone's turn comes: 1 - 0.9**20 of 1,000 are 878


def test_apps_do_not_send_the_same_people_first():
    addresses = [f"10.0.{x}.{y}" for x in range(4) for y in range(250)]
    both = first(addresses, 10, app="shop") & first(addresses, 10, app="till")
    assert len(both) < 30  # 10 are expected


def test_the_answer_does_not_hang_on_what_the_candidate_runs_on():
    addresses = [f"10.0.0.{n}" for n in range(250)]
    assert first(addresses, 30) == first(addresses, 30, attrs.evolve(NEW, instances=CANDIDATE.instances))


def test_only_one_version_takes_all():
    assert place(SPLITS["no candidate"], "192.0.2.7").version is STABLE
    assert place(SPLITS["no stable"], "192.0.2.7").version is CANDIDATE
    assert place(SPLITS["no version"], "192.0.2.7") is None


def test_a_changed_split_is_seen_at_once():
    strategy = make()
    for blend, version in ((0, STABLE), (100, CANDIDATE), (0, STABLE)):
        assert strategy.recall(FakeClient(), attrs.evolve(BOTH, blend=blend)).version is version


def test_the_answers_stay_the_same_from_release_to_release():
    """A change here moves clients between versions while routers are being updated."""
    split = Split(APP, OLD, NEW, 50)
    assert [n for n in range(12) if place(split, f"192.0.2.{n}").version is NEW] == [1, 2, 3, 4, 5, 6, 8, 9, 11]


# Who counts as one client


@pytest.mark.parametrize(
    "alike",
    [
        ("192.0.2.7", "::ffff:192.0.2.7", "::FFFF:c000:207"),
        ("2001:db8:1:2::1", "2001:db8:1:2:ffff:ffff:ffff:ffff", "2001:0DB8:0001:0002::", "2001:db8:1:2::5%eth0"),
        ("fe80::1", "fe80::2%eth0", "fe80::3%wlan0"),
    ],
)
def test_these_are_one_client(alike):
    assert len({who_is(address) for address in alike}) == 1


def test_these_are_not_one_client():
    addresses = ["192.0.2.7", "192.0.2.8", "2001:db8:1:2::1", "2001:db8:1:3::1", "::1", "c000:207::", "::192.0.2.7"]
    people = {who_is(address) for address in addresses}
    assert len(people) == len(addresses) - 1  # the last one is of ::/64, as ::1 is: an address form long out of use


def test_networks_of_ipv6_are_shared_out_like_any_clients():
    networks = [f"2001:db8:{x:x}:{y:x}::1" for x in range(40) for y in range(50)]
    assert abs(len(first(networks, 50)) / 20 - 50) < 3
    neighbours = [f"2001:db8::{n:x}" for n in range(1, 200)]
    assert len(first(neighbours, 50)) in (0, len(neighbours))


@pytest.mark.parametrize(
    "address", ["", "unix:/run/app.sock", "10.0.0", "10.0.0.1:80", "010.0.0.1", "[::1]", "%eth0", "1", "\0"]
)
def test_a_client_without_an_address_is_left_to_the_blend(address):
    assert make().recall(FakeClient(address), BOTH) is None


# The instance


def instances_of(version, addresses):
    strategy, split = make(), Split(APP, version, None, 0)
    return {address: strategy.recall(FakeClient(address), split).instance for address in addresses}


def test_instances_share_the_clients_evenly():
    five = attrs.evolve(OLD, instances=tuple(Instance("10.9.0.1", 32000 + n) for n in range(5)))
    chosen = list(instances_of(five, [f"10.0.{x}.{y}" for x in range(20) for y in range(250)]).values())
    for instance in five.instances:
        assert abs(chosen.count(instance) - 1000) < 100


def test_losing_an_instance_moves_its_own_clients_only():
    five = attrs.evolve(OLD, instances=tuple(Instance(f"10.9.0.{n}", 80) for n in range(5)))
    addresses = [f"10.0.{x}.{y}" for x in range(4) for y in range(250)]
    before = instances_of(five, addresses)
    for lost in five.instances:
        rest = attrs.evolve(five, instances=tuple(i for i in five.instances if i != lost))
        after = instances_of(rest, addresses)
        assert {a for a in addresses if before[a] != after[a]} == {a for a in addresses if before[a] == lost}
        moved_to = [after[a] for a in addresses if before[a] == lost]
        assert min(map(moved_to.count, rest.instances)) > 25  # and they spread: of 200 or so, 50 for each are expected


def test_the_order_of_instances_does_not_matter():
    backwards = attrs.evolve(STABLE, instances=STABLE.instances[::-1])
    addresses = [f"10.0.0.{n}" for n in range(250)]
    assert instances_of(STABLE, addresses) == instances_of(backwards, addresses)


def test_the_instance_is_drawn_apart_from_the_version():
    """Or the few clients of a small blend would crowd on one instance of the candidate."""
    four = attrs.evolve(NEW, instances=tuple(Instance(f"10.9.0.{n}", 80) for n in range(4)))
    strategy, split = make(), Split(APP, OLD, four, 10)
    pins = [strategy.recall(FakeClient(f"10.0.{x}.{y}"), split) for x in range(40) for y in range(250)]
    chosen = [pin.instance for pin in pins if pin.version is four]
    for instance in four.instances:
        assert abs(chosen.count(instance) / len(chosen) - 0.25) < 0.05


def test_a_promote_moves_nobody_who_was_on_the_candidate():
    on_it = [a for a in (f"10.0.0.{n}" for n in range(250)) if place(BOTH, a).version is CANDIDATE]
    promoted = Split(APP, CANDIDATE, None, 0)
    assert on_it
    assert all(place(promoted, address) == place(BOTH, address) for address in on_it)


# Small print


def test_any_option_is_refused():
    with pytest.raises(SettingError, match="the ip-hash strategy has no option 'bits'; write it without any"):
        IpHashPlugin().make(APP, {"bits": "24"})


def test_it_tells_the_client_nothing():
    assert make().remember(FakeClient(), BOTH, Pin(STABLE)) == ()
    assert make().private_cookies == ()


def test_what_it_keeps_is_bounded(monkeypatch):
    monkeypatch.setattr(ip_hash, "_PINS_KEPT", 100)
    strategy = make()
    answers = [strategy.recall(FakeClient(f"10.0.0.{n}"), BOTH) for n in range(250)]
    assert strategy._place.cache_info().currsize == 100
    strategy.recall(FakeClient("1" * 100_000), BOTH)
    assert strategy._place.cache_info().misses == 250
    assert answers == [strategy.recall(FakeClient(f"10.0.0.{n}"), BOTH) for n in range(250)]
