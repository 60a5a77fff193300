"""How the product of a deep linear net moves when each of its matrices descends a gradient."""

from __future__ import annotations

import jax.numpy as jnp
from jaxtyping import Array, Float

from thalweg.core.errors import require


def end_to_end_field(W: Float[Array, "k d"], G: Float[Array, "k d"], N: int) -> Float[Array, "k d"]:
    """The direction that depth N makes of a gradient: sum_j [W W^T]^a_j G [W^T W]^b_j.

    a_j = (j - 1)/N, b_j = (N - j)/N, j = 1..N. The powers are fractional powers of positive
    semidefinite matrices and the power 0 is the whole identity, on the null space too. Depth 1
    leaves G as it is; at W = 0 the field of any greater depth vanishes.

    Taken from the thin singular value decomposition of W: that of W^T W would turn the rounding of
    zero eigenvalues, 1e-16, into (1e-16)^(1/N). Exact up to rounding; not to be differentiated
    where singular values coincide or vanish.

    Args:
        W: The product of the matrices.
        G: The gradient of the loss in W (unit: loss/parameter).
        N: The number of matrices, at least 1.

    Raises:
        InputError: If the shapes differ, or the depth is below 1.

    Cost: one decomposition, N products of matrices; no gradients.
    Source: Arora, Cohen and Hazan (2018), Theorem 1.
    """
    check_depth(N)
    require(
        W.ndim == 2 and W.shape == G.shape,
        f"W has shape {W.shape} and G {G.shape}; give two matrices of one shape",
    )
    if N == 1:
        return G
    U, s, Vt = jnp.linalg.svd(W, full_matrices=False)

    def left(power: float, M: Array) -> Array:
        return M if power == 0 else (U * s ** (2 * power)) @ (U.T @ M)

    def right(power: float, M: Array) -> Array:
        return M if power == 0 else ((M @ Vt.T) * s ** (2 * power)) @ Vt

    terms = [left((j - 1) / N, right((N - j) / N, G)) for j in range(1, N + 1)]
    return jnp.sum(jnp.stack(terms), axis=0)


def end_to_end_velocity(
    W: Float[Array, "k d"], G: Float[Array, "k d"], N: int, weight_decay: Array | float = 0.0
) -> Float[Array, "k d"]:
    """dW/dt = -(lambda N W + `end_to_end_field`(W, G, N)), W the product of N balanced matrices.

    Every matrix follows gradient flow of L(W_N ... W_1) + (lambda/2) sum_j ||W_j||_F^2. Exact for
    balanced matrices, W_{j+1}^T W_{j+1} = W_j W_j^T, whatever the hidden widths.

    Args:
        W: The product.
        G: The gradient of L in W, without the decay.
        N: The number of matrices.
        weight_decay: lambda, at least 0.

    Raises:
        InputError: As `end_to_end_field`.

    Source: Arora, Cohen and Hazan (2018), Theorem 1.
    """
    return -(weight_decay * N * W + end_to_end_field(W, G, N))


def check_depth(N: int) -> None:
    """Raise unless there is at least one matrix."""
    require(N >= 1, f"the depth came as {N}; give the number of matrices, at least 1")
