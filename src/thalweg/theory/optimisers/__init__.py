"""Rates of optimisers: what their theorems bound, under which assumption."""
