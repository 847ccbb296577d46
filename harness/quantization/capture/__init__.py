"""From an eager network to the graph that quantizers are placed in."""
