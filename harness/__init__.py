"""Benchmark post-training and quantization-aware INT8 networks on the engine they deploy to."""

__version__ = "0.1.0"
