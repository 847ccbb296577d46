"""Building networks and training them: the FP32 baseline and QAT fine-tuning share one loop."""
