"""Modules that are replaced by quantization-friendly counterparts before capture."""
