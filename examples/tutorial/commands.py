"""
tutorial.commands: what a reader types, word for word. The walk runs these, and docs/tutorial.md may show no others.

All are for bash, in the checkout, after `. examples/tutorial/variables.sh`.
"""

from __future__ import annotations

VARIABLES = ". examples/tutorial/variables.sh"

# A. The router's image
IMAGE = "make image REGISTRY_NAME=me"
LOGIN = "docker login"
PUBLISH = "make publish REGISTRY_NAME=me"

# B. The platform, and the router as its service
EMULATOR = """\
twistd -n --pidfile= occs-emulator --state-dir "$TUTORIAL/occs" \\
    --publish "80=$APP_PORT" --publish "8080=$SETTINGS_PORT" \\
    --image "me/hello-world:*=env -C $TUTORIAL/registry/me/hello-world/{tag} {command}\""""

RUN_ROUTER = """\
jq -n --rawfile content examples/occs/rolling-router-sticky.yml '{
    deployment_id: "rolling-router-sticky-1",
    deployment_name: "Rolling router",
    desired_state: 1,
    placement: {pool_id: "default"},
    quantities: {"rolling-router-sticky": 1},
    stack: {service_id: "rolling-router-sticky", service_name: "Rolling router", subtype: "service", content: $content}
}' | curl --silent --show-error --fail --cacert "$OCCS_CA" --header "Authorization: Bearer $API_TOKEN" \\
    --data @- "$SERVICE_MANAGER/api/v2/deployments/\""""

NOT_YET = 'curl "http://127.0.0.1:$APP_PORT/"'

# C. Addresses and token
HOSTS = """\
curl --silent --show-error --cacert "$OCCS_CA" --header "Authorization: Bearer $API_TOKEN" \\
    "$SERVICE_MANAGER/api/hosts/" | jq .hosts"""
TOKEN = 'echo "$API_TOKEN"'

# E, F. Keys
KEYS = """\
curl --silent --show-error --cacert "$OCCS_CA" --header "Authorization: Bearer $API_TOKEN" \\
    "$SERVICE_MANAGER/api/kv/rolling/$APP_NAME/?recurse" | jq -r '.[] | "\\(.Key) = \\(.Value | @base64d)"'"""
SETUP = "rolling-router setup"
STATUS = "rolling-router status"
BLEND_BY_CURL = """\
curl --cacert "$OCCS_CA" --header "Authorization: Bearer $API_TOKEN" \\
    --request PUT --data 20 "$SERVICE_MANAGER/api/kv/rolling/$APP_NAME/blendpercent\""""

# G, H, I. The application, its repository and its workflow
SOURCE = """\
cp -R examples/hello-world-node "$TUTORIAL/source"
git -C "$TUTORIAL/source" init --quiet --initial-branch=main
git -C "$TUTORIAL/source" add .
git -C "$TUTORIAL/source" commit --quiet --message "Version 1.0.0, in yellow\""""
START_APP = 'npm start --prefix "$TUTORIAL/source"'
FIRST_RUN = 'python -m examples.tutorial.workflow "$TUTORIAL/source"'
HOOK = """\
git init --quiet --bare "$TUTORIAL/hello-world.git"
ln -s "$CHECKOUT/examples/tutorial/post-receive" "$TUTORIAL/hello-world.git/hooks/"
git -C "$TUTORIAL/source" remote add origin "$TUTORIAL/hello-world.git\""""
BROWSE = 'curl "http://127.0.0.1:$APP_PORT/"'

# K. New candidates
GREEN = """\
cd "$TUTORIAL/source"
npm version 1.0.1 --no-git-tag-version
npm pkg set config.colour=green
git commit --quiet --all --message "Version 1.0.1, in green"
git push origin main
cd "$CHECKOUT\""""
BLEND_50 = "rolling-router blend 50"
BLEND_100 = "rolling-router blend 100"
BLEND_0 = "rolling-router blend 0"
ORANGE = """\
cd "$TUTORIAL/source"
npm version 1.0.2 --no-git-tag-version
npm pkg set config.colour=orange
git commit --quiet --all --message "Version 1.0.2, in orange"
git push origin main
cd "$CHECKOUT\""""
RELOAD = 'for n in {1..10}; do curl --silent "http://127.0.0.1:$APP_PORT/" | grep Running; done'

# J, L
PROMOTE = "rolling-router promote"
STICKY_ON = "rolling-router sticky on"
STICKY_OFF = "rolling-router sticky off"
RELOAD_STICKY = """\
jar=$TUTORIAL/cookies
for n in {1..10}; do
    curl --silent --cookie "$jar" --cookie-jar "$jar" "http://127.0.0.1:$APP_PORT/" | grep Running
done"""
ROLLBACK = "rolling-router rollback"

NOT_RUN = {
    IMAGE: "by make's dry run; make test-image builds it",
    PUBLISH: "by make's dry run; make test-image pushes it",
    LOGIN: "there is no account to sign in with",
}
"""What the walk does not run as it stands, and what is done instead."""

ALL = {name: text for name, text in globals().items() if name.isupper() and isinstance(text, str)}
