"""Stages: what is computed for a variant, as functions that workers run."""
