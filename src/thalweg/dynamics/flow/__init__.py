"""Gradient flow: solvers of its path, the error of that path, and where it ends."""
