"""Running stages: the task graph, the artifact store, local execution, the measuring lock.

Nothing outside the command line and the pytest plugin imports this package.
"""
