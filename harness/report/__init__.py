"""The report of a run: HTML, Markdown and CSV from the record alone."""

from harness.report.render import render

__all__ = ["render"]
