# Sourced by Wercker's runner into the one shell that all steps share: so it must not exit when all went well, and leaves
# nothing behind. Without Wercker: bash -c 'source run.sh'
# shellcheck shell=bash

_rolling_router_deploy() (
    package=${WERCKER_ROLLING_ROUTER_DEPLOY_PACKAGE:-}
    if ! command -v rolling-router >/dev/null; then
        for wheel in "$(dirname "${BASH_SOURCE[0]}")"/rolling_router-*.whl; do
            if [ -z "$package" ] && [ -e "$wheel" ]; then package=$wheel; fi
        done
        if [ -z "$package" ]; then
            echo "The box has no rolling-router; put a wheel of it beside run.sh, or name one in the property package." >&2
            exit 1
        fi
        folder=$(mktemp -d) && python3 -m venv "$folder" && "$folder/bin/pip" install --quiet "$package" || exit 1
        PATH=$folder/bin:$PATH
    fi
    options=(--timeout "${WERCKER_ROLLING_ROUTER_DEPLOY_TIMEOUT:-60}")
    if [ "${WERCKER_ROLLING_ROUTER_DEPLOY_KEEP_FAILED:-false}" = true ]; then options+=(--keep-failed); fi
    if [ -n "${LOADERIO_KEY:-}" ]; then options+=(--env LOADERIO_KEY); fi # the original's containers had it
    rolling-router deploy "${options[@]}"
)

_rolling_router_status=0
_rolling_router_deploy </dev/null || _rolling_router_status=$?
unset -f _rolling_router_deploy
if [ "$_rolling_router_status" != 0 ]; then
    if declare -F fail >/dev/null; then
        fail "rolling-router deploy ended with status $_rolling_router_status; its last line says why"
    fi
    exit "$_rolling_router_status"
fi
unset _rolling_router_status
