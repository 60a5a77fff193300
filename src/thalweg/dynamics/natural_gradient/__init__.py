"""Natural-gradient training with Kronecker factors: K-FAC, its quadratic model and its damping."""
