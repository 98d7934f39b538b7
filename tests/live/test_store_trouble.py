"""A file store in ugly states: whatever happens to the file, what could be served is served, and the fault is named."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Iterator

import pytest

from .conftest import StartInstance, StartRouter
from .instance import Instance
from .router import APP, Router, rollout, until
from .wire import get


@pytest.fixture(scope="module")
def instance(start_instance: StartInstance) -> Instance:
    return start_instance()


@pytest.fixture(scope="module")
def router(start_router: StartRouter, instance: Instance) -> Router:
    return start_router(rollout([instance]))


@pytest.fixture(autouse=True)
def healthy(router: Router, instance: Instance) -> Iterator[None]:
    """Every test begins with a good file in force, and leaves a router that comes back to one."""
    router.put(rollout([instance]))
    yield
    if router.store.is_dir():
        router.store.rmdir()
    router.put(rollout([instance], blend=1))
    assert router.status()["store"]["trouble"] is None


def trouble(router: Router, *words: str) -> str:
    """Wait until the status names a trouble with all these words."""

    def found() -> str | None:
        text = router.status()["store"]["trouble"]
        return text if text is not None and all(word in text for word in words) else None

    text: str = until(found, what=f"the status says {words}")
    return text


def serves(router: Router) -> None:
    answer = router.ask(get())
    assert (answer.status, answer.version) == (200, "1.0")


GOOD_HEAD = '{\n "rolling/null": "-",\n'

FAULTS = {
    "a comma too few": ('{\n "a": "1"\n "b": "2"\n}', "line 3, column 2"),
    "a comma too many": ('{\n "a": "1",\n}', "line "),  # Python 3.13 points at the comma, 3.11 behind it
    "a quote too few": ('{\n "a": "1,\n "b": "2"\n}', "line 2"),
    "truncated in a string": (GOOD_HEAD + ' "rolling/sho', "line 3, column 2"),
    "truncated after a value": (GOOD_HEAD + ' "x": "y"', "line 3"),
    "empty": ("", "line 1, column 1"),
    "only blanks": (" \n\n", "line 1, column 1"),
    "a number": (GOOD_HEAD + ' "rolling/shop/blendpercent": 50\n}', "line 3, column 31"),
    "null": (GOOD_HEAD + ' "rolling/shop/blendpercent": null\n}', "line 3, column 31"),
    "an object inside": (GOOD_HEAD + ' "rolling/shop": {"blendpercent": "50"}\n}', "line 3, column 18"),
    "a list": ('["rolling/null", "-"]', "line 1, column 1"),
    "a key twice": (GOOD_HEAD + ' "rolling/null": "-"\n}', "line 3, column 2"),
    "no JSON at all": ("blend=50\n", "line 1, column 1"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_bad_edit_is_named_with_line_and_column_and_changes_nothing(router: Router, fault: str) -> None:
    text, where = FAULTS[fault]
    router.write_text(text)
    said = trouble(router, where)
    assert str(router.store) in said
    assert said in router.output(), "the log says it, too"
    assert router.status()["snapshot"]["stable"]["version"] == "1.0"
    assert router.status()["store"]["age_seconds"] > 0
    assert router.get("/readyz")[0] == 200
    serves(router)


def test_bytes_that_are_no_utf_8_are_named(router: Router) -> None:
    router.store.write_bytes(b'{\n "a": "\xff"\n}')
    trouble(router, "line 2, column 8", "UTF-8")
    serves(router)


def test_a_file_that_is_written_in_two_halves_is_never_seen_half(router: Router, start_instance: StartInstance) -> None:
    text = json.dumps(rollout([start_instance("1.5")]))
    with router.store.open("w") as file:
        file.write(text[: len(text) // 2])
        file.flush()
        trouble(router, "line 1")
        serves(router)
        file.write(text[len(text) // 2 :])
    until(lambda: router.ask(get()).version == "1.5")


def test_a_file_that_is_taken_away_is_missed_and_no_more(router: Router) -> None:
    router.store.unlink()
    trouble(router, "not there")
    serves(router)


def test_a_file_that_is_moved_aside_and_back_is_followed_again(
    router: Router, instance: Instance, start_instance: StartInstance
) -> None:
    aside = router.store.with_suffix(".old")
    router.store.rename(aside)
    trouble(router, "not there")
    aside.rename(router.store)
    until(lambda: router.status()["store"]["trouble"] is None)
    router.store.write_text(json.dumps(rollout([start_instance("1.6")])))
    until(lambda: router.ask(get()).version == "1.6")


def test_something_unreadable_in_its_place_is_named(router: Router) -> None:
    router.store.unlink()
    router.store.mkdir()
    trouble(router, "cannot be read")
    serves(router)


def test_the_age_grows_while_the_store_is_away_and_ends_with_it(router: Router) -> None:
    assert router.status()["store"]["age_seconds"] == 0
    router.store.unlink()
    trouble(router, "not there")
    until(lambda: router.status()["store"]["age_seconds"] > 0.3)
    assert "rolling_router_store_up" in router.metrics()
    assert f'rolling_router_store_up{{app="{APP}"}} 0.0' in router.metrics()


def test_ten_thousand_keys_are_no_burden(router: Router, instance: Instance, start_instance: StartInstance) -> None:
    new = start_instance("1.7")
    others = {f"apps/app-other-{n}-80/containers/{n}": f"10.0.{n // 250}.{n % 250}:80" for n in range(10_000)}
    before = router.cpu_seconds()
    router.put({**others, **rollout([instance], [new], 50)})
    router.put({**others, **rollout([instance], [new], 100)})
    assert router.ask(get()).version == "1.7"
    computed = router.cpu_seconds() - before
    print(f"10,000 keys: two changes in {computed:.2f} s of computing")
    assert computed < 5


def test_ten_instances_under_a_thousand_keys_are_ten_and_nine_dead_ones_cost_nothing(
    router: Router, instance: Instance
) -> None:
    keys = rollout([instance])
    for number in range(1000):
        keys[f"apps/app-1.0-80/containers/z{number}"] = f"127.0.0.1:{number % 9 + 1}"
    router.put(keys)
    with router.wire() as wire:
        assert {wire.ask(get()).status for _ in range(50)} == {200}
    assert len(router.status()["snapshot"]["stable"]["instances"]) == 10


BAD_VALUES = {
    f"rolling/{APP}/blendpercent": ["-1", "101", "fifty", "50%", "", "1e2", "٥٠"],
    f"rolling/{APP}/stickyness": ["2", "yes", "", "no-such-strategy"],
    f"rolling/{APP}/candidate/id": ["", "nonsense", "apps/app-x/containers", "apps/app-1.1-99999/containers"],
}


@pytest.mark.parametrize(("key", "value"), [(key, value) for key, values in BAD_VALUES.items() for value in values])
def test_a_bad_value_is_named_and_stops_nothing(router: Router, instance: Instance, key: str, value: str) -> None:
    router.put({**rollout([instance]), key: value})
    (problem,) = router.status()["snapshot"]["problems"]
    assert (problem["key"], problem["value"]) == (key, value)
    until(lambda: key in router.output())
    serves(router)


def test_a_missing_value_is_named_and_read_as_its_default(router: Router, instance: Instance) -> None:
    keys = rollout([instance], [instance], 50, 1)
    for name in ("blendpercent", "stickyness", "candidate/id"):
        del keys[f"rolling/{APP}/{name}"]
    router.put(keys)
    status = router.status()["snapshot"]
    assert (status["blend"], status["stickiness"], status["candidate"]) == (0, None, None)
    assert {problem["key"].rpartition("shop/")[2] for problem in status["problems"]} == {
        "blendpercent",
        "stickyness",
        "candidate/id",
    }
    serves(router)


@pytest.mark.parametrize(
    "address", ["localhost", "127.0.0.1:", "127.0.0.1:99999", ":80", "127.0.0.1:80:80", "", "a b:80"]
)
def test_a_bad_instance_is_left_out_and_named(router: Router, instance: Instance, address: str) -> None:
    router.put({**rollout([instance]), "apps/app-1.0-80/containers/bad": address})
    (problem,) = router.status()["snapshot"]["problems"]
    assert (problem["key"], problem["value"]) == ("apps/app-1.0-80/containers/bad", address)
    with router.wire() as wire:
        assert {wire.ask(get()).status for _ in range(4)} == {200}


def test_the_original_s_way_to_write_none_is_understood(router: Router, instance: Instance) -> None:
    keys = rollout([instance], [], 50)
    keys[f"rolling/{APP}/candidate/id"] = "apps/app-rolling/null-3000/containers"
    router.put(keys)
    assert router.status()["snapshot"]["candidate"] is None
    assert router.status()["snapshot"]["problems"] == []
    serves(router)


# Starts


def test_a_start_without_the_file_says_so_and_goes_on_when_it_comes(
    start_router: StartRouter, instance: Instance
) -> None:
    router = start_router(None)
    trouble(router, "not there")
    assert router.get("/healthz")[0] == 200
    assert router.get("/readyz")[0] == 503
    answer = router.ask(get())
    assert answer.status == 503
    assert b"not set up" in answer.body
    router.put(rollout([instance]))
    serves(router)
    assert router.get("/readyz")[0] == 200


def test_a_start_without_the_file_s_directory_goes_on_when_that_comes(
    start_router: StartRouter, instance: Instance
) -> None:
    router = start_router(rollout([instance]))
    directory = router.store.parent / "mounted-later"
    other = start_router(None, "--store", f"file:{directory / 'rollout.json'}")
    assert other.ask(get()).status == 503
    directory.mkdir()
    other.store = directory / "rollout.json"
    other.put(rollout([instance]))
    serves(other)
    shutil.rmtree(directory)
    trouble(other, "not there")
    serves(other)
    directory.mkdir()
    other.put(rollout([instance], blend=7))


def test_a_start_without_the_store_serves_what_was_saved_and_says_how_old_it_is(
    start_router: StartRouter, instance: Instance
) -> None:
    router = start_router(rollout([instance], [], 0, 1), "--state-dir", "state")
    saved = router.directory / "state" / f"snapshot-{APP}.json"
    until(saved.exists)
    written = time.time()
    assert router.stop() == 0
    router.store.unlink()
    time.sleep(max(0.0, written + 0.2 - time.time()))  # so that there is an age to tell
    router.start()
    until(lambda: router.status()["store"]["source"] == "saved")
    serves(router)
    trouble(router, "not there")
    assert 0.2 <= router.status()["store"]["age_seconds"] < 60
    assert router.status()["snapshot"]["stickiness"] == "cookie"
    assert router.get("/readyz")[0] == 200
    router.put(rollout([instance], blend=1))
    assert router.status()["store"]["source"] == "store"
    assert router.status()["store"]["age_seconds"] == 0


def test_a_damaged_saved_snapshot_is_ignored_and_named(start_router: StartRouter, instance: Instance) -> None:
    router = start_router(rollout([instance]), "--state-dir", "state")
    saved = router.directory / "state" / f"snapshot-{APP}.json"
    until(saved.exists)
    router.stop()
    router.store.unlink()
    saved.write_text('{"keys": {')
    router.start()
    trouble(router, "not there")
    assert router.ask(get()).status == 503
    assert "saved snapshot" in router.output()
    router.put(rollout([instance]))
    serves(router)
