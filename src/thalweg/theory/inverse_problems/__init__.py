"""Inverse problems with a solver in closed form: boundary control of the wave equation."""
