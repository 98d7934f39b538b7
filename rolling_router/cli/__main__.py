"""``python -m rolling_router.cli``: the same as `rolling-router`."""

import sys

from rolling_router.cli import main

if __name__ == "__main__":
    sys.exit(main())
