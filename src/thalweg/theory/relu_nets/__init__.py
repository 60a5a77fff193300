"""Two-layer nets of rectified units: kinks that move, and when they cannot."""
