"""The OCCS emulator from an installed wheel: with its extra it runs the demo and the router, without it says so."""

from __future__ import annotations

import urllib.request

import pytest

from tests.live.router import until
from tests.occs import deployment, emulating

pytestmark = pytest.mark.timeout(300)  # an environment of its own is made first, by pip
SECONDS = 90.0


def test_it_runs_from_a_wheel(make_environment, wheel, tmp_path):
    environment = make_environment()
    ended = environment.run("twistd", "-n", "occs-emulator", "--state-dir", str(tmp_path))
    assert ended.returncode == 1
    assert ended.stderr == "occs-emulator: PyYAML is not installed; pip install 'rolling-router[emulator]'\n"

    environment.pip("install", f"{wheel}[emulator]")
    ended = environment.run("twistd", "occs-emulator", "--version")
    assert (ended.returncode, ended.stdout.split()[0]) == (0, "occs-emulator")
    twistd = str(environment.bin / "twistd")
    with emulating(tmp_path, "--ready-seconds=0", "--publish", "*=free", twistd=twistd) as emulator:
        emulator.json("POST", "/api/v2/deployments/", deployment("hello-1"))
        four = ["OCCS_API_TOKEN={{api_token}}", "KV_IP=172.17.0.1", "KV_PORT=9109", "APP_NAME=hello"]
        image, ports = "me/rolling-router-sticky-sessions:1", ["80:80/tcp", "8080:8080/tcp"]
        router = deployment("router-1", image=image, ports=ports, environment=four)
        emulator.json("POST", "/api/v2/deployments/", router)
        until(lambda: len(emulator.keys("apps/")) == 3, SECONDS, "both run")
        emulator.put("rolling/hello/stable/id", "apps/app-hello-1-3000/containers")
        (address,) = emulator.keys("apps/app-router-1-80/").values()

        def page():
            try:
                with urllib.request.urlopen(f"http://{address}/", timeout=30) as answer:
                    return answer.read().decode()
            except OSError as not_yet:
                return str(not_yet)

        until(lambda: "Running Hello World v. 1.0.0" in page(), SECONDS)
