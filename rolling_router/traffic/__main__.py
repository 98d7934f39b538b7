"""traffic: what a worker runs: ``twistd -n rolling-router`` with the parent's arguments. Started by `crew` alone."""

import sys

from twisted.scripts.twistd import run

sys.argv[:1] = ["twistd", "--nodaemon", "--pidfile=", "rolling-router"]
run()
