"""Quantization by the harness: settings, capture, quantizers and calibrators, placement, PTQ, QAT, sensitivity."""
