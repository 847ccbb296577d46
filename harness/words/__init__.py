"""Figures, variants and verdicts in words, the same everywhere."""
