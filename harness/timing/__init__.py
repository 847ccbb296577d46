"""Timing engines: several sessions take turns in rounds, in process after process, until the verdicts are clear."""
