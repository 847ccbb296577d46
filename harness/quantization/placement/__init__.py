"""Which tensors of a captured graph are quantized, and how."""
