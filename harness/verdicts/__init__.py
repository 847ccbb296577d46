"""What the figures of one run prove: a verdict for every row, and which variant to ship."""
