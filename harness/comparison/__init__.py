"""Two runs, or a run and its limits: what changed and why, gates, baselines."""
