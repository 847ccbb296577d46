"""Weights files as people save them: read without running code, matched with the network, and checked."""

from harness.training.weights.fit import Loaded, load_into

__all__ = ["Loaded", "load_into"]
