"""The shipped strategies and stores, written against `rolling_router.interfaces` alone."""
