"""A third party's strategy and store, written against `rolling_router.interfaces` alone."""
