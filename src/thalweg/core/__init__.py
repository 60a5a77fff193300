"""Shapes and numerics that everything else stands on."""
