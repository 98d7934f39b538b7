"""Who carries the traffic: an engine in this process, or a crew of worker processes."""
