"""Deployments, as a live manager told them, and its ways to say no."""

from __future__ import annotations

import pytest

from rolling_router.errors import StoreLost
from rolling_router.occs.calls import Refused
from rolling_router.occs.deployments import RUNNING, STOPPED, Container
from tests.occs_fakes import Bench, said

DOCUMENT = {
    "deployment_id": "shop-20300101-120000",
    "placement": {"pool_id": "default"},
    "created_by": "admin",
    "created_on": "2030-01-01T12:00:00Z",
    "stack": {"service_id": "app", "service_name": "app", "subtype": "service", "content": "version: 2"},
    "creation_info_generation": 1,
    "deployment_name": "Shop 1.0",
    "quantities": {"app": 1},
    "desired_state": 1,
    "desired_state_changed_at": "2030-01-01T12:00:00.123456789Z",
    "generation": 2,
    "current_state": 0,
    "pending_state": 1,
}
COLLECTION = "/api/v2/deployments/"
ONE = f"{COLLECTION}shop-20300101-120000"


def call(answer, act, target, method):
    bench = Bench(answer)
    result = bench.ended(act(bench.client.deployments))
    assert [(one.method, one.target) for one in bench.manager.asked] == [(method, target)]
    return result


def test_all():
    (found,) = call(said({"deployments": [DOCUMENT]}), lambda them: them.all(), COLLECTION, "GET")
    assert (found.id, found.name) == ("shop-20300101-120000", "Shop 1.0")
    assert call(said({"deployments": []}), lambda them: them.all(), COLLECTION, "GET") == ()
    assert call(said({"deployments": None}), lambda them: them.all(), COLLECTION, "GET") == ()


def test_one():
    found = call(said({"deployment": DOCUMENT}), lambda them: them.get(DOCUMENT["deployment_id"]), ONE, "GET")
    assert found.document == DOCUMENT
    assert not found.is_in(RUNNING)
    assert not found.is_in(STOPPED)


def test_none():
    answer = said({"errors": [{"message": "deployment ID not found"}]}, 404)
    assert call(answer, lambda them: them.get("rolling/null"), f"{COLLECTION}rolling/null", "GET") is None


@pytest.mark.parametrize("state", [STOPPED, RUNNING])
def test_ready_is_wanted_and_reached(state):
    document = {**DOCUMENT, "desired_state": state, "current_state": state}
    found = call(said({"deployment": document}), lambda them: them.get(DOCUMENT["deployment_id"]), ONE, "GET")
    assert [found.is_in(one) for one in (STOPPED, RUNNING)] == [state == STOPPED, state == RUNNING]


@pytest.mark.parametrize("answer", [{"deployment": DOCUMENT}, DOCUMENT], ids=["wrapped", "bare"])
def test_create_put_and_start(answer):
    id = DOCUMENT["deployment_id"]
    assert call(said(answer), lambda them: them.create(DOCUMENT), COLLECTION, "POST").id == id
    assert call(said(answer), lambda them: them.put(id, DOCUMENT), ONE, "PUT").id == id
    assert call(said(answer), lambda them: them.start(id), f"{ONE}/start", "POST").id == id


def test_stop_and_delete():
    id = DOCUMENT["deployment_id"]
    assert call((200, b""), lambda them: them.stop(id), f"{ONE}/stop", "POST") is None
    assert call(said({"deleted": id}), lambda them: them.delete(id), ONE, "DELETE") is None
    assert call((404, b""), lambda them: them.delete(id), ONE, "DELETE") is None


def test_containers():
    told = {"containers": [{"container_id": "c1", "container_name": "0.app.shop", "state": "Running", "more": 1}]}
    found = call(said(told), lambda them: them.containers(DOCUMENT["deployment_id"]), f"{ONE}/containers/", "GET")
    assert found == (Container("c1", "0.app.shop", "Running"),)


@pytest.mark.parametrize("status", [200, 400, 409, 500])
def test_a_refusal_has_the_manager_s_own_words(status):
    bench = Bench(said({"errors": [{"message": "it runs"}, {"message": "stop it"}]}, status))
    with pytest.raises(Refused, match="it runs; stop it"):
        bench.ended(bench.client.deployments.delete("shop-1"), 5.0)


@pytest.mark.parametrize(
    "answer", [(400, b"<html>"), said({"errors": []}, 409), said({"errors": ["no"]}, 200)], ids=repr
)
def test_a_refusal_without_words(answer):
    bench = Bench(answer)
    with pytest.raises(Refused):
        bench.ended(bench.client.deployments.delete("shop-1"))


ODD = [(200, b""), (200, b"null"), said([]), said({}), said({"deployment": None}), said({"deployment": {}}), (302, b"")]
ODD += [said({"deployment": {**DOCUMENT, "current_state": "1"}}), (500, b"<html>"), (200, b'{"deployment": {"dep')]


@pytest.mark.parametrize("answer", ODD, ids=lambda answer: repr(answer)[:60])
def test_an_odd_answer_is_lost(answer):
    bench = Bench(answer)
    with pytest.raises(StoreLost, match="GET https://"):
        bench.ended(bench.client.deployments.get("shop-1"), 5.0)
