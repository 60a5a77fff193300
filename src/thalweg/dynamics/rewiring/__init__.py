"""Training weights and connectivity together, as Optax transformations for any model."""
