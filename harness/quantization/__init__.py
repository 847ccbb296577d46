"""Quantizers: where they stand, how ranges are chosen, PTQ and QAT on captured graphs."""
