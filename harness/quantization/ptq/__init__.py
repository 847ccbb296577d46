"""Post-training quantization beyond choosing ranges."""
