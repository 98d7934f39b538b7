"""The units in examples/systemd: systemd itself reads them, and the options file is one."""

import re
import shutil
import subprocess
from pathlib import Path

from rolling_router.environment import read_options_file

UNITS = Path(__file__).parent.parent / "examples" / "systemd"


def settings_of(unit):
    return dict(line.split("=", 1) for line in (UNITS / unit).read_text().splitlines() if re.match("[A-Z]", line))


def test_systemd_finds_nothing_wrong_with_the_units(tmp_path):
    verify = shutil.which("systemd-analyze")
    texts = {unit.name: unit.read_text() for unit in UNITS.glob("rolling-router.*")}
    assert set(texts) == {"rolling-router.service", "rolling-router.socket"}
    if verify is None:  # nobody to ask: at least they are sections and settings
        for text in texts.values():
            lines = [line for line in text.splitlines() if line and not line.startswith("#")]
            assert all(line.startswith("[") or "=" in line for line in lines)
        return
    for name, text in texts.items():
        # The one thing that is not on this machine.
        (tmp_path / name).write_text(text.replace("/opt/rolling-router/bin/twistd", "/bin/true"))
    units = [str(tmp_path / name) for name in texts]
    checked = subprocess.run([verify, "verify", "--man=no", *units], capture_output=True, text=True, timeout=60)
    said = [line for line in checked.stderr.splitlines() if "rolling-router" in line]
    assert (checked.returncode, said) == (0, []), checked.stderr


def test_the_options_are_known():
    assert read_options_file(str(UNITS / "options"))["ROLLING_ROUTER_LISTEN"] == "systemd:name=web"


def test_store_and_state_are_where_the_service_may_write():
    service, options = settings_of("rolling-router.service"), read_options_file(str(UNITS / "options"))
    assert (service["DynamicUser"], service["ProtectSystem"]) == ("yes", "strict")
    writable = f"/var/lib/{service['StateDirectory']}"
    assert options["ROLLING_ROUTER_STATE_DIR"] == writable
    assert options["ROLLING_ROUTER_STORE"].startswith(f"file:{writable}/")


def test_the_service_can_do_little_and_all_that_it_needs():
    service = settings_of("rolling-router.service")
    assert service["CapabilityBoundingSet"] == ""
    assert {"AF_INET", "AF_INET6", "AF_UNIX"} == set(service["RestrictAddressFamilies"].split())
    # Without the second, a call that is not allowed would kill the router rather than fail.
    assert (service["SystemCallFilter"], service["SystemCallErrorNumber"]) == ("@system-service", "EPERM")
    assert "MemoryDenyWriteExecute" not in service, "OpenSSL's callbacks by cffi need it"


def test_the_socket_takes_both_kinds_of_addresses():
    assert settings_of("rolling-router.socket")["ListenStream"] == "80"
