"""The quadratic laboratory: linear methods on quadratics, exactly, and lower bounds."""
