"""Runs: from a scenario to a plan, and from the results of its tasks to rows."""
