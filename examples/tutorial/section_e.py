"""tutorial.section_e: the application's keyvalues are created, on the page and by script."""

from __future__ import annotations

from examples.tutorial import commands
from examples.tutorial.machine import until
from examples.tutorial.platform import NULL
from examples.tutorial.player import Section
from examples.tutorial.walk import APP, ROUTER, ROUTER_ID, Walk

section = Section("E", "Create the keyvalues")
FIRST = f"{APP}-0"
EMPTY = (NULL, NULL, "0", "0")

# Oracle's deploy_keyvalues.sh TOKEN MANAGER, call for call, written anew.
DEPLOY_KEYVALUES = r"""
put() { curl -ksi -X PUT -H "Authorization: Bearer $1" -d "$4" "$2/api/kv/$3"; echo; }
set -- "$API_TOKEN" "$SERVICE_MANAGER"
put "$1" "$2" rolling/null -
put "$1" "$2" rolling/$APP_NAME/stable/id rolling/null
put "$1" "$2" rolling/$APP_NAME/candidate/id rolling/null
put "$1" "$2" rolling/$APP_NAME/blendpercent 0
put "$1" "$2" rolling/$APP_NAME/stickyness 0
"""


@section.item(19, "Stable's and candidate's dropdowns list every deployment as ID (NAME), and rolling/null last.")
def dropdowns(walk: Walk) -> None:
    for role in ("stable", "candidate"):
        until(lambda role=role: f"{ROUTER_ID} (" in str(walk.page.choices(role)), f"{role}'s dropdown has {ROUTER_ID}")
        choices = walk.page.choices(role)
        assert any(text.startswith(f"{ROUTER_ID} (Rolling router)") for text in choices), choices
        assert choices[-1] == f"{NULL} ({NULL})"


@section.item(20, "Choosing none, none, 0 and false shows just these, and the notice is gone.")
def chosen(walk: Walk) -> None:
    walk.page.choose("stable", NULL)
    walk.page.expect(walk.page.notice("unset")).to_have_count(0)
    walk.page.shows(stable=NULL, candidate=NULL, sticky="false", blend="0")


@section.item(21, "The platform then has the four keys, and rolling/null.")
def written(walk: Walk) -> str:
    # They are written one by one, and the page shows the first at once.
    until(lambda: walk.platform.settings() == EMPTY, "the four keys are there")
    assert walk.platform.keys(NULL) == {NULL: "-"}
    # The original's page wrote this for "none".
    walk.platform.set(candidate=f"apps/app-{NULL}-3000/containers", blend="50")
    walk.page.shows(candidate=NULL, blend="50")
    walk.page.set_blend(0)
    walk.platform.set(candidate=NULL)
    walk.page.shows(candidate=NULL, blend="0")
    return "none as the original's page wrote it is read as none, too"


@section.item(22, "The port of the setup is part of the paths that are written.")
def port(walk: Walk) -> None:
    path = walk.platform.deploy(FIRST, "demo/hello-world:0.0.1")
    until(lambda: f"{FIRST} (" in str(walk.page.choices("candidate")), "the dropdown has the new deployment")
    walk.await_page()
    walk.page.choose("candidate", FIRST)
    assert walk.platform.setting("candidate/id") == path == f"apps/app-{FIRST}-3000/containers"
    walk.page.choose("candidate", NULL)


@section.item(23, "The router's own discovery keys are in the same store.")
def own_keys(walk: Walk) -> None:
    found = sorted(key.rpartition("/containers/")[0] for key in walk.platform.keys(f"apps/{ROUTER}-"))
    assert found == [f"apps/{ROUTER}-{ROUTER_ID}-{port}" for port in (80, 8080)]


@section.item(24, "A script can make the same keys, and the page shows them.")
def by_script(walk: Walk) -> None:
    walk.platform.json("DELETE", f"/api/kv/rolling/{APP}/?recurse")
    walk.page.expect(walk.page.notice("unset")).to_be_visible()
    printed = walk.machine.run(DEPLOY_KEYVALUES)
    assert printed.count("HTTP/1.1 200 OK") == 5
    walk.page.expect(walk.page.notice("unset")).to_have_count(0)
    walk.page.shows(stable=NULL, candidate=NULL, sticky="false", blend="0")
    assert walk.platform.settings() == EMPTY
    walk.machine.run(commands.SETUP)  # makes what is missing, and here nothing is
    assert walk.platform.settings() == EMPTY
