"""delivery: the deploy step. From a new image, or from instances that run already, to a candidate at blend 0."""
