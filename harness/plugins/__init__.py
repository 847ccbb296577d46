"""Plug-ins of the user: found, checked against the contract of their kind, and loaded where they run."""
