"""Linear nets, deep, normalised or factorised: modes, depth, invariants, singular values."""
