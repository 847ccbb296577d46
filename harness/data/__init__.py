"""Data sets: where they are found, and how they are split into disjoint train, calibration and test samples.

`locate.locate` finds a data set without loading torch; `load.load_splits` reads it.
"""
