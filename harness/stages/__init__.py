"""Stages: what tasks compute, as functions that workers run; `catalog.py` lists them."""
