"""Two-layer (leaky) ReLU nets of one input: two lines while no kink has passed an example.

    f(x) = c + sum_i w_i phi(a_i x + b_i),   phi(z) = max(z, alpha z)
    L = 1/2 sum_j p_j (y_j - f(x_j))^2,      sum_j p_j = 1

Unit i belongs to the side sign(a_i), and its kink lies at -b_i/a_i. While all kinks lie nearer to 0
than every x_j, f is affine on either side of 0: v = (slope, intercept) on the right, then on the
left. All arrays may have leading axes: many nets, many weights of the examples, at once.

Source: Holzmueller and Steinwart (2022), arXiv 2002.04861; E1, E2, E5 and E6 of the study.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from numpy.typing import ArrayLike

from thalweg.core.errors import require
from thalweg.core.tree import Params
from thalweg.models import layer_weights

SIDES = (1, -1)
INTERCEPTS = (1, 3)
SMALLEST = 1e-12  # of the eigenvalues of M over the largest: below it a side has one point


class OneInputNet(NamedTuple):
    """A net, or many: the last axis is that of the units.

    Attributes:
        a: Input weights, (..., n).
        b: Hidden biases, (..., n).
        w: Output weights, (..., n).
        c: Output bias, (...).
    """

    a: Float[np.ndarray, "... n"]
    b: Float[np.ndarray, "... n"]
    w: Float[np.ndarray, "... n"]
    c: Float[np.ndarray, "..."]

    @property
    def theta(self) -> Float[np.ndarray, "... n 3"]:
        """theta_i = (a_i, b_i, w_i)."""
        return np.stack([self.a, self.b, self.w], axis=-1)

    def sides(self) -> list[np.ndarray]:
        """Which units belong to the right, which to the left, (..., n) each."""
        return [self.a * sign > 0 for sign in SIDES]

    def outputs(self, x: ArrayLike, leak: float = 0.0) -> Float[np.ndarray, "... N"]:
        """Outputs f(x) at inputs, (N,)."""
        z = self.a[..., None, :] * np.asarray(x, float)[:, None] + self.b[..., None, :]
        active = np.where(z > 0, z, leak * z)
        return np.asarray(self.c)[..., None] + np.einsum("...ji,...i->...j", active, self.w)

    def reach(self) -> Float[np.ndarray, "..."]:
        """max_i |b_i/a_i|, how far from 0 the farthest kink is (unit: input)."""
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.max(np.where(self.b == 0, 0.0, np.abs(self.b / self.a)), axis=-1)


class OneInputData(NamedTuple):
    """Examples of one input with weights, or many weights of the same examples.

    Attributes:
        x: Inputs, (N,), none of them 0.
        y: Targets, (N,).
        p: Weights, (..., N), at least 0, of sum 1.
    """

    x: Float[np.ndarray, " N"]
    y: Float[np.ndarray, " N"]
    p: Float[np.ndarray, "... N"]

    @property
    def nearest(self) -> float:
        """min_j |x_j|, how far a kink may move."""
        return float(np.min(np.abs(self.x)))

    def moments(self) -> Float[np.ndarray, "... 4 4"]:
        """M, block-diagonal: sum p [[x^2, x], [x, 1]] over the right side, then over the left."""
        M = np.zeros((*self.p.shape[:-1], 4, 4))
        powers = np.stack([self.x, np.ones_like(self.x)])
        for side, sign in enumerate(SIDES):
            own = slice(2 * side, 2 * side + 2)
            kept = self.p * (self.x * sign > 0)
            M[..., own, own] = np.einsum("...j,aj,bj->...ab", kept, powers, powers)
        return M

    def targets(self) -> Float[np.ndarray, "... 4"]:
        """M v_opt = (sum p x y, sum p y), over the right side, then over the left."""
        parts = []
        for sign in SIDES:
            kept = self.p * (self.x * sign > 0) * self.y
            parts += [kept @ self.x, kept.sum(-1)]
        return np.stack(parts, axis=-1)

    def best_lines(self) -> Float[np.ndarray, "... 4"]:
        """v_opt, the lines of least squares of either side; of least norm where they are many."""
        inverse = np.linalg.pinv(self.moments(), rcond=SMALLEST, hermitian=True)
        return np.einsum("...ij,...j->...i", inverse, self.targets())

    def degenerate(self) -> np.ndarray:
        """Whether a side has fewer than two different inputs of positive weight, (...)."""
        values = np.linalg.eigvalsh(self.moments())
        return values[..., 0] <= SMALLEST * values[..., -1]


def one_input_data(x: ArrayLike, y: ArrayLike, weights: ArrayLike | None = None) -> OneInputData:
    """Examples of one input, their weights scaled to the sum 1; equal ones by default.

    Raises:
        InputError: If shapes do not fit, an input is 0, a number is not finite, or a weight is
            negative or they are all 0.

    Examples:
        >>> from thalweg.theory.relu_nets.one_input import one_input_data
        >>> data = one_input_data([-2.0, -1.0, 1.0, 2.0], [0.0, 1.0, 1.0, 3.0])
        >>> data.best_lines().round(12).tolist()  # 2 x - 1 on the right, x + 2 on the left
        [2.0, -1.0, 1.0, 2.0]
    """
    x, y = np.asarray(x, float), np.asarray(y, float)
    require(
        x.ndim == 1 and x.shape == y.shape and x.size > 0,
        f"x and y came with shapes {x.shape} and {y.shape}; give one number each per example",
    )
    require(
        bool(np.all(np.isfinite(x)) and np.all(x != 0)),
        "an input is 0 or not finite: a kink starts at 0, so that neither side has it; leave it "
        "out, or move all inputs",
    )
    require(bool(np.all(np.isfinite(y))), "a target is not finite; leave its example out")
    p = np.ones(x.size) if weights is None else np.asarray(weights, float)
    require(
        p.ndim >= 1
        and p.shape[-1] == x.size
        and bool(np.all((p >= 0) & (p < np.inf)) and np.all(p.sum(-1) > 0)),
        f"weights came with shape {p.shape}; give {x.size} finite numbers of at least 0, not all 0",
    )
    return OneInputData(x, y, p / p.sum(-1, keepdims=True))


def one_input_net(params: Params) -> OneInputNet:
    """The net of the parameters of an `mlp` of one hidden layer and one input, one output.

    Raises:
        InputError: If they are those of another net.

    Examples:
        >>> from thalweg.theory.relu_nets.one_input import one_input_net
        >>> params = tw.models.mlp([5], "relu").init(jax.random.key(0), (1,), 1)
        >>> one_input_net(params).w.shape
        (5,)
    """
    layers = layer_weights(params)
    shapes = [W.shape[-2:] for W in layers]
    require(
        len(shapes) == 2 and shapes[0][1] == 1 and shapes[1][0] == 1 and "bias" in params[0],
        f"the layers came with shapes {shapes}; give the parameters of a net of one input, one "
        "hidden layer with biases, and one output, as mlp([16], 'relu')",
    )
    (first, last), (W, V) = params, layers
    c = np.asarray(last["bias"])[..., 0] if "bias" in last else np.zeros(V.shape[:-2])
    return OneInputNet(
        np.asarray(W)[..., 0], np.asarray(first["bias"]), np.asarray(V)[..., 0, :], c
    )


def parameters_of(net: OneInputNet) -> Params:
    """The parameters of an `mlp` that is this net, the inverse of `one_input_net`.

    Examples:
        >>> from thalweg.theory.relu_nets.one_input import he_net, one_input_net, parameters_of
        >>> net = he_net(np.random.default_rng(0), 4)
        >>> bool(np.all(one_input_net(parameters_of(net)).w == net.w))
        True
    """
    first = {"weight": net.a[..., None], "bias": net.b}
    return [first, {"weight": net.w[..., None, :], "bias": np.asarray(net.c)[..., None]}]


def he_net(rng: np.random.Generator, width: int, nets: tuple[int, ...] = ()) -> OneInputNet:
    """Nets with a ~ N(0, 2), w ~ N(0, 2/n), drawn in this order, and zero biases.

    Args:
        rng: The source of randomness.
        width: n, the number of units.
        nets: Leading axes; none for one net.

    Raises:
        InputError: If the width is below 1.

    Examples:
        >>> from thalweg.theory.relu_nets.one_input import he_net
        >>> he_net(np.random.default_rng(0), width=16, nets=(3,)).a.shape
        (3, 16)
    """
    require(width >= 1, f"width came as {width}; give at least 1")
    a = np.sqrt(2) * rng.normal(size=(*nets, width))
    w = np.sqrt(2 / width) * rng.normal(size=(*nets, width))
    return OneInputNet(a, np.zeros_like(a), w, np.zeros(nets))


def second_moments(net: OneInputNet) -> Float[np.ndarray, "... 2 3 3"]:
    """Sigma_s = sum theta_i theta_i^T over the units of the right side, then of the left.

    Examples:
        >>> from thalweg.theory.relu_nets.one_input import OneInputNet, second_moments
        >>> a, w = np.array([2.0, -1.0]), np.array([3.0, 1.0])
        >>> net = OneInputNet(a, np.zeros(2), w, np.zeros(()))
        >>> second_moments(net)[0].tolist()  # of the one unit with a > 0
        [[4.0, 0.0, 6.0], [0.0, 0.0, 0.0], [6.0, 0.0, 9.0]]
    """
    kept = [net.theta * own[..., None] for own in net.sides()]
    return np.stack([np.einsum("...ia,...ib->...ab", t, t) for t in kept], axis=-3)


def two_lines(sigma: ArrayLike, c: ArrayLike, leak: float = 0.0) -> Float[np.ndarray, "... 4"]:
    """Slope and intercept of f on the right, then on the left (E1), while no kink has crossed.

    Args:
        sigma: `second_moments`, (..., 2, 3, 3).
        c: Output bias, (...).
        leak: alpha of the activation.

    Examples:
        >>> from thalweg.theory.relu_nets.one_input import he_net, second_moments, two_lines
        >>> net = he_net(np.random.default_rng(0), 8)
        >>> slope = two_lines(second_moments(net), net.c)[0]
        >>> bool(np.isclose(slope, net.outputs([2.0])[0] - net.outputs([1.0])[0]))
        True
    """
    own = np.asarray(sigma)[..., 2, :2]
    both = own + leak * own[..., ::-1, :]
    v = both.reshape(*both.shape[:-2], 4)
    v[..., INTERCEPTS] += np.asarray(c)[..., None]
    return v


def reference_matrix(sigma: ArrayLike, leak: float = 0.0) -> Float[np.ndarray, "... 4 4"]:
    """A = C + B G B (E5): the errors of v shrink by I - h A M a step, up to O(h^2).

    G_s = Sigma_s[ab, ab] + Sigma_s[w, w] I; C is 1 between intercepts, which share c; B couples
    the sides by the leak.

    Args:
        sigma: `second_moments`, (..., 2, 3, 3).
        leak: alpha of the activation.

    Examples:
        >>> from thalweg.theory.relu_nets.one_input import reference_matrix
        >>> sigma = np.stack([np.diag([5.0, 0.0, 2.0]), np.diag([7.0, 0.0, 3.0])])
        >>> np.diag(reference_matrix(sigma)).tolist()
        [7.0, 3.0, 10.0, 4.0]
    """
    sigma = np.asarray(sigma)
    G = np.zeros((*sigma.shape[:-3], 4, 4))
    for side in range(2):
        own = slice(2 * side, 2 * side + 2)
        ww = sigma[..., side, 2, 2]
        G[..., own, own] = sigma[..., side, :2, :2] + ww[..., None, None] * np.eye(2)
    B = np.kron(np.array([[1.0, leak], [leak, 1.0]]), np.eye(2))
    C = np.zeros((4, 4))
    C[np.ix_(INTERCEPTS, INTERCEPTS)] = 1
    return C + B @ G @ B


def square_root(M: ArrayLike, power: float = 0.5) -> Float[np.ndarray, "... k k"]:
    """A power of a symmetric positive semi-definite matrix; negative ones on its range alone.

    Examples:
        >>> from thalweg.theory.relu_nets.one_input import square_root
        >>> square_root(np.diag([4.0, 9.0])).round(12).tolist()
        [[2.0, 0.0], [0.0, 3.0]]
    """
    values, U = np.linalg.eigh(np.asarray(M))
    kept = values > SMALLEST * values[..., -1:]
    raised = np.where(kept, np.where(kept, values, 1.0) ** power, 0.0)
    return np.einsum("...ik,...k,...jk->...ij", U, raised, U)


def largest_step_size(
    net: OneInputNet, data: OneInputData, leak: float = 0.0
) -> Float[np.ndarray, "..."]:
    """1/lambda_max(M^(1/2) A M^(1/2)) at a net (E6), about 1/n; the paper's step size.

    Examples:
        >>> from thalweg.theory.relu_nets.one_input import (
        ...     OneInputNet, largest_step_size, one_input_data)
        >>> data = one_input_data([-1.0, 1.0], [0.0, 0.0])
        >>> net = OneInputNet(np.array([3.0, -3.0]), np.zeros(2), np.zeros(2), np.zeros(()))
        >>> bool(1 / 11 < largest_step_size(net, data) < 1 / 4.5)  # a^2/2 alone would give 1/4.5
        True
    """
    root = square_root(data.moments())
    A = reference_matrix(second_moments(net), leak)
    return 1 / np.linalg.eigvalsh(root @ A @ root)[..., -1]
