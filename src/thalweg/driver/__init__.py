"""Every loop over steps: one path, a recorded run, many side by side, until something holds."""
