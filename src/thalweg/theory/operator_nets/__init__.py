"""Operator recurrent networks: how large, how steep, how many numbers, and solvers as networks."""
