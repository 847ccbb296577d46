"""Runs: from a scenario to a plan, from the results of its tasks to rows, and the jobs that consist of runs."""
