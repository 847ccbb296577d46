"""Whether every step on the way from the eager network to the engine computes the same, whole and layer by layer."""
