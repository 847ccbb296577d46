"""The command `harness`."""

from harness.cli.commands import app, main

__all__ = ["app", "main"]
