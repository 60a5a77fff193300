"""Wide two-layer ReLU nets on the line, as a law of neurons: finite and zero temperature."""
