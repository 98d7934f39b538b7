"""traffic: what a worker or a successor runs: twistd with the arguments that `crew` or `succession` gives it."""

import sys

from twisted.scripts.twistd import run

sys.argv[:1] = ["twistd", "--nodaemon", "--pidfile="]
run()
