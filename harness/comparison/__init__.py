"""What the figures of a run prove: statistics, verdicts and conclusions in words."""
