# What the tutorial's commands go by, for bash: `. examples/tutorial/variables.sh` in the checkout, in each terminal.
# What is set before stays: `make tutorial` sets other ports and another folder.

: "${TUTORIAL:=$PWD/.tutorial}"             # where all that the tutorial makes is kept
: "${APP_PORT:=8000}"                       # where port 80 of the worker is on this machine
: "${SETTINGS_PORT:=8080}"                  # the same of port 8080
: "${SERVICE_MANAGER:=https://127.0.0.1:8443}"
# Where port 8443 or 9109 is taken: OCCS_EMULATOR_MANAGER and OCCS_EMULATOR_NODE move the emulator, as in
# tcp:9443:interface=127.0.0.1 (export both), and SERVICE_MANAGER is to say the same as the first.

# The workflow's variables, as in Wercker; API_TOKEN and DOCKER_PASSWORD are secrets.
: "${APP_NAME:=docker-hello-world}"
: "${APP_FRIENDLY_NAME:=Hello World}"
: "${DOCKER_REGISTRY:=me}"
: "${IMAGE_NAME:=hello-world}"
: "${APP_TAG:=latest}"
: "${DOCKER_USERNAME:=me}"
: "${DOCKER_PASSWORD:=not-needed-here}"
: "${DOCKER_EMAIL:=me@example.com}"
: "${EXPOSED_PORT:=3000}"
: "${SCALE_AMOUNT:=2}"
: "${DOCKER_CMD:=npm start}"

# The emulator tells its token and shows its certificate in files, once it has been started.
if [ -r "$TUTORIAL/occs/token" ]; then
    API_TOKEN=$(<"$TUTORIAL/occs/token")
    OCCS_CA=$TUTORIAL/occs/certificate.pem
    export API_TOKEN OCCS_CA
    # The same for the `rolling-router` command's steps beside deploy.
    export OCCS_API_TOKEN_FILE=$TUTORIAL/occs/token ROLLING_ROUTER_STORE=occs:$SERVICE_MANAGER
fi

export TUTORIAL APP_PORT SETTINGS_PORT SERVICE_MANAGER APP_NAME APP_FRIENDLY_NAME DOCKER_REGISTRY IMAGE_NAME APP_TAG \
    DOCKER_USERNAME DOCKER_PASSWORD DOCKER_EMAIL EXPOSED_PORT SCALE_AMOUNT DOCKER_CMD
export CHECKOUT=$PWD PYTHONPATH=$PWD PATH=$PWD/.venv/bin:$PATH
mkdir -p "$TUTORIAL"
