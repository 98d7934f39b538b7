"""What the engine did: counts, metrics, access log."""
