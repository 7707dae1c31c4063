"""Which cell runs when and where: the loop, the cluster, the worker of one cell."""
