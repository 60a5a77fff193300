"""thalweg: the dynamics of training, integrated, measured, compared with theory and explained."""

import jax

# Float64 is the truth this library measures against. Arrays that are float32 stay float32.
jax.config.update("jax_enable_x64", True)

__version__ = "0.1.0.dev0"
