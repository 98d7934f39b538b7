"""
The calls of the original's scripts and of its page, one by one as they made them: curl, its content types, no
verification. Written anew from what they are known to send; only the waits are shorter.
"""

from __future__ import annotations

import base64
import json
import os
import subprocess
import time
import urllib.request

import pytest

from tests.occs import deployment, emulating

from .router import until

KEYVALUES = """
put() { curl -ksi -X PUT -H "Authorization: Bearer $API_TOKEN" -d "$2" "$SERVICE_MANAGER/api/kv/$1"; echo; }
put rolling/null -
put rolling/$APP_NAME/stable/id rolling/null
put rolling/$APP_NAME/candidate/id rolling/null
put rolling/$APP_NAME/blendpercent 0
put rolling/$APP_NAME/stickyness 0
"""

# What the shell gets out of JSON with jq; ours are a line of Python, so that the tests need no jq.
COMMON = """
decoded() {
    if [ -n "$DECODES" ]; then "$PYTHON" -c 'import html, sys; print(html.unescape(sys.stdin.read()))'; else cat; fi
}
field() { decoded | "$PYTHON" -c 'import json, sys
found = json.load(sys.stdin)
for name in sys.argv[1].split("."):
    found = (found or {}).get(name)
print("null" if found is None else found)' "$1"; }
call() { curl -ks -X "$1" -H "Authorization: Bearer $API_TOKEN" "$SERVICE_MANAGER$2" "${@:3}"; }
is_ready() { # ID
    local told current desired
    told=$(call GET "/api/v2/deployments/$1")
    current=$(echo "$told" | field deployment.current_state)
    desired=$(echo "$told" | field deployment.desired_state)
    [ "$current" = "$desired" ]
}
poll() { # TRIES COMMAND...
    local tries=$1 n
    shift
    for n in $(seq "$tries"); do
        if "$@"; then return 0; fi
        sleep 0.5
    done
    return 1
}
"""

DEPLOY = (
    COMMON
    + r"""
stamp=$(date +%Y%m%d-%H%M%S)
deployment=$APP_NAME-$stamp
image=$DOCKER_REGISTRY/$IMAGE_NAME:$WERCKER_MAIN_PIPELINE_STARTED
name="$APP_FRIENDLY_NAME $WERCKER_MAIN_PIPELINE_STARTED"
scale=${SCALE_AMOUNT:-1}

previous=$(call GET "/api/kv/rolling/$APP_NAME/candidate/id?raw=true")

content="version: 2\nservices:\n  app:\n    image: \"$image\"\n    command: $DOCKER_CMD\n    environment:\n"
content="$content      - 'occs:availability=per-pool'\n      - 'occs:scheduler=random'\n"
content="$content    ports:\n      - $EXPOSED_PORT/tcp"
content=${content//\"/\\\"}
created=$(call POST /api/v2/deployments/ -d '{
  "deployment_id": "'"$deployment"'",
  "deployment_name": "'"$name"'",
  "desired_state": 1,
  "placement": {"pool_id": "default"},
  "quantities": {"app": '"$scale"'},
  "stack": {"content": "'"$content"'", "service_id": "app", "service_name": "'"$name"'", "subtype": "service"}
}')
echo "created $(echo "$created" | field deployment.deployment_id)"
echo "ready at once: $(echo "$created" | field deployment.current_state)"
poll 120 is_ready "$deployment" || { echo "it does not get ready"; exit 1; }

call PUT "/api/kv/rolling/$APP_NAME/blendpercent" -d 0; echo
call PUT "/api/kv/rolling/$APP_NAME/candidate/id" -d "apps/app-$deployment-$EXPOSED_PORT/containers"; echo

old=${previous#apps/app-}
old=${old%-"$EXPOSED_PORT"/containers}
if [ "$(call GET "/api/v2/deployments/$old" -o /dev/null -w '%{http_code}')" = 404 ]; then
    echo "previous $old does not exist"
    exit 0
fi
stopping=$(call POST "/api/v2/deployments/$old/stop")
echo "stopped at once: $(echo "$stopping" | field deployment.current_state)"
poll 120 is_ready "$old" || echo "previous $old does not stop"
is_deleted() {
    deleted=$(call DELETE "/api/v2/deployments/$old")
    echo "$deleted" | field errors
    [ "$(echo "$deleted" | field errors)" = null ]
}
poll 30 is_deleted || echo "previous $old cannot be deleted"
echo "deleted $(echo "$deleted" | field deleted)"
"""
)

PROMOTE = (
    COMMON
    + """
candidate=$(call GET "/api/kv/rolling/$APP_NAME/candidate/id?raw=true")
call PUT "/api/kv/rolling/$APP_NAME/stable/id" -d "$candidate"; echo
call PUT "/api/kv/rolling/$APP_NAME/blendpercent" -d 0; echo
call PUT "/api/kv/rolling/$APP_NAME/candidate/id" -d rolling/null; echo
"""
)

# The page asked its own server, whose curl sent these on.
PAGE = """
for key in stable/id candidate/id blendpercent stickyness; do
    curl -ksf -X GET -H 'Content-Type: application/json' -H "Authorization: Bearer $API_TOKEN" \\
        "$SERVICE_MANAGER/api/kv/rolling/$APP_NAME/$key" || exit 22
    echo
done
curl -ksf -X GET -H 'Content-Type: application/json' -H "Authorization: Bearer $API_TOKEN" \\
    "$SERVICE_MANAGER/api/v2/deployments/" || exit 22
"""


@pytest.fixture(scope="module")
def emulator(tmp_path_factory):
    options = ("--ready-seconds=0.5", "--stop-seconds=0.5", "--delete-refusals=2")
    with emulating(tmp_path_factory.mktemp("emulator"), *options) as emulator:
        yield emulator


class Scripts:
    """Runs scripts for one app."""

    def __init__(self, emulator, app, **variables):
        self.emulator = emulator
        self.app = app
        self.variables = variables
        self._ended = 0

    def run(self, script, expected=0, **variables):
        """What it prints. Never two in one second: that is what deployments are named by."""
        until(lambda: int(time.time()) > self._ended)
        environ = {
            "PATH": os.environ["PATH"],
            "PYTHON": "python3",
            "SERVICE_MANAGER": self.emulator.manager,
            "API_TOKEN": self.emulator.token,
            "APP_NAME": self.app,
            "APP_FRIENDLY_NAME": "Hello World",
            "DOCKER_EMAIL": "me@example.com",
            "DOCKER_USERNAME": "me",
            "DOCKER_PASSWORD": "secret",
            "DOCKER_REGISTRY": "me",
            "EXPOSED_PORT": "3000",
            "IMAGE_NAME": "hello-world",
            "APP_TAG": "latest",
            "SCALE_AMOUNT": "2",
            "DOCKER_CMD": "npm start",
            "WERCKER_MAIN_PIPELINE_STARTED": "1497966712",
            **self.variables,
            **variables,
        }
        ended = subprocess.run(
            ["bash", "-c", script], env=environ, capture_output=True, text=True, timeout=110, check=False
        )
        self._ended = int(time.time())
        assert ended.returncode == expected, ended.stdout + ended.stderr
        return ended.stdout

    def key(self, name):
        return self.emulator.get(f"rolling/{self.app}/{name}")

    def versions(self):
        told = self.emulator.json("GET", "/api/v2/deployments/")["deployments"]
        return {one["deployment_id"]: one for one in told if one["deployment_id"].startswith(f"{self.app}-")}


def test_deploy_keyvalues(emulator):
    scripts = Scripts(emulator, "keys")
    printed = scripts.run(KEYVALUES)
    assert printed.count("HTTP/1.1 200 OK") == 5
    assert printed.count("Content-Type: text/plain; charset=utf-8") == 5
    assert printed.splitlines().count("true") == 5
    assert emulator.get("rolling/null") == "-"
    assert emulator.keys("rolling/keys/") == {
        "rolling/keys/blendpercent": "0",
        "rolling/keys/candidate/id": "rolling/null",
        "rolling/keys/stable/id": "rolling/null",
        "rolling/keys/stickyness": "0",
    }


@pytest.mark.parametrize("decodes", ["", "1"], ids=["Oracle's script", "the registry step"])
def test_a_deploy_a_promote_and_two_more_deploys(emulator, decodes):
    scripts = Scripts(emulator, f"walk{decodes}", DECODES=decodes)
    scripts.run(KEYVALUES)

    printed = scripts.run(DEPLOY)
    (first,) = scripts.versions()
    assert f"created {first}\nready at once: 0\n" in printed
    assert "previous rolling/null does not exist" in printed
    assert scripts.versions()[first]["deployment_name"] == "Hello World 1497966712"
    assert scripts.key("candidate/id") == f"apps/app-{first}-3000/containers"
    addresses = emulator.keys(f"apps/app-{first}-3000/containers/").values()
    assert len(addresses) == 2
    for address in addresses:
        with urllib.request.urlopen(f"http://{address}/", timeout=30) as answer:
            assert b"Running Hello World v. 1497966712<" in answer.read()

    scripts.run(PROMOTE)
    assert scripts.key("stable/id") == f"apps/app-{first}-3000/containers"
    assert (scripts.key("candidate/id"), scripts.key("blendpercent")) == ("rolling/null", "0")

    assert "does not exist" in scripts.run(DEPLOY, WERCKER_MAIN_PIPELINE_STARTED="1497967818")
    (second,) = set(scripts.versions()) - {first}
    emulator.put(f"rolling/{scripts.app}/blendpercent", "50")
    printed = scripts.run(DEPLOY, WERCKER_MAIN_PIPELINE_STARTED="1497968000", SCALE_AMOUNT="")
    assert "stopped at once: 1\n" in printed  # its current state, and 0 is desired
    assert f"deleted {second}" in printed
    assert printed.count("cannot be deleted yet") == 2
    (third,) = set(scripts.versions()) - {first}
    assert scripts.versions()[third]["quantities"] == {"app": 1}
    assert scripts.key("candidate/id") == f"apps/app-{third}-3000/containers"
    assert scripts.key("blendpercent") == "0"
    assert emulator.keys(f"apps/app-{second}-") == {}
    assert len(emulator.keys(f"apps/app-{first}-")) == 2


def test_a_previous_candidate_that_is_gone_is_told(emulator):
    scripts = Scripts(emulator, "gone")
    scripts.run(KEYVALUES)
    emulator.put("rolling/gone/candidate/id", "apps/app-gone-20200101-000000-3000/containers")
    assert "previous gone-20200101-000000 does not exist" in scripts.run(DEPLOY)


def test_a_deployment_that_does_not_get_ready_fails_and_changes_no_key(emulator):
    scripts = Scripts(emulator, "never", IMAGE_NAME="no-such-image")
    scripts.run(KEYVALUES)
    assert "it does not get ready" in scripts.run(DEPLOY.replace("poll 120", "poll 4"), expected=1)
    assert scripts.key("candidate/id") == "rolling/null"


def test_the_pages_five_calls(emulator):
    scripts = Scripts(emulator, "page")
    emulator.json("POST", "/api/v2/deployments/", deployment("page-1"))
    before = [json.loads(line) for line in scripts.run(PAGE).splitlines()]
    assert before[:4] == [[]] * 4  # the page says then that there are no keyvalues
    scripts.run(KEYVALUES)
    *keys, deployments = [json.loads(line) for line in scripts.run(PAGE).splitlines()]
    values = [base64.b64decode(element["Value"]).decode() for (element,) in keys]
    assert values == ["rolling/null", "rolling/null", "0", "0"]
    assert {"deployment_id", "deployment_name"} <= set(deployments["deployments"][0])


def test_the_page_cannot_connect_with_a_wrong_token(emulator):
    assert Scripts(emulator, "page").run(PAGE, expected=22, API_TOKEN="wrong") == ""
