"""Kronecker factors of the Fisher matrix: layers, statistics, and operators with inverses."""
