"""tutorial.section_i: what a deploy does."""

from __future__ import annotations

import re
import time

from examples.tutorial.platform import NULL
from examples.tutorial.player import Section
from examples.tutorial.walk import APP, Walk

section = Section("I", "What a deploy does")
GONE = f"{APP}-20200101-000000"


@section.item(39, "A new image is in the registry, tagged with the time.")
def image(walk: Walk) -> str:
    (tag,) = walk.tags()
    assert (walk.folder / "registry" / "me" / "hello-world" / tag / "server.js").exists()
    assert abs(int(tag) - time.time()) < 3600
    return f"me/hello-world:{tag}, a folder"


@section.item(40, "A new deployment is there, named after application and time, running and healthy.")
def deployment(walk: Walk) -> str:
    id_ = walk.candidate
    assert re.fullmatch(rf"{APP}-\d{{8}}-\d{{6}}", id_)
    found = walk.platform.deployments()[id_]
    assert found["current_state"] == found["desired_state"] == 1
    assert found["deployment_name"] == f"Hello World {walk.tags()[0]}"
    assert found["stack"]["subtype"] == "service"
    assert found["quantities"] == {"app": 2}
    assert len(walk.platform.instances(id_)) == 2
    return f"{id_}, with SCALE_AMOUNT's 2 instances"


@section.item(41, "It is the candidate at blend 0, and gets no traffic.")
def no_traffic(walk: Walk) -> str:
    assert walk.platform.settings()[:3] == (NULL, walk.path(walk.candidate), "0")
    assert walk.look_often(100) == [None] * 100
    return "100 requests: none on it, and no stable to go to"


@section.item(42, "The page shows it by itself, with Promote, at blend 0.")
def shown(walk: Walk) -> None:
    walk.page.shows(candidate=walk.candidate, stable=NULL, blend="0")
    assert walk.page.promote_is_offered()


@section.item(43, "A candidate that is replaced is removed; one that is gone already is told, and all ends well.")
def gone(walk: Walk) -> str:
    # Of another application, so that the walk's own candidate stays.
    other = "docker-hello-gone"
    for name, text in {
        "stable/id": NULL,
        "candidate/id": walk.path(GONE),
        "blendpercent": "0",
        "stickyness": "0",
    }.items():
        walk.platform.put(f"rolling/{other}/{name}", text)
    printed = walk.machine.run(f"APP_NAME={other}; rolling-router deploy --registry demo --tag 1.0.0 --grace-seconds 0")
    assert re.search(rf"{GONE}.*(gone|does not exist)", printed), printed
    (made,) = [id_ for id_ in walk.platform.deployments() if id_.startswith(f"{other}-")]
    assert walk.platform.keys(f"rolling/{other}/")[f"rolling/{other}/candidate/id"] == walk.path(made)
    walk.platform.json("DELETE", f"/api/kv/rolling/{other}/?recurse")
    walk.platform.remove(made)
    return "the removal itself is item 57"


@section.item(44, "A deployment that does not get ready in time fails the step, and the keys stay as they were.")
def never_ready(walk: Walk) -> str:
    settings, deployments = walk.platform.settings(), set(walk.platform.deployments())
    printed = walk.machine.run("rolling-router deploy --image no-such-image --tag 1 --timeout 3", expected=None)
    assert walk.platform.settings() == settings
    assert set(walk.platform.deployments()) == deployments, "a deployment that failed was left behind"
    assert printed
    return "with --timeout 3; what failed is not left behind"
