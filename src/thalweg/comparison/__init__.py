"""Runs held against each other and against theory: distances, regimes, certificates."""
