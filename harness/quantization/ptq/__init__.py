"""Post-training quantization beyond ranges: steps that change weights and biases."""
