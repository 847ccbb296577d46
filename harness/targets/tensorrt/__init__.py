"""TensorRT: number format and Q/DQ placement."""
