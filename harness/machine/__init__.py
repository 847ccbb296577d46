"""The machine: hardware, environment, installed libraries, and counters of memory and energy.

Every counter can be absent, and says why.
"""
