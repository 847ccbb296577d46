"""Running tasks: the graph, the artifact store, workers, the measuring lock.

It knows stages as names of functions, and nothing of networks.
"""
