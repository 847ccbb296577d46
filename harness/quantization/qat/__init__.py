"""Quantization-aware training: the graph that is trained, and the way back from it."""
