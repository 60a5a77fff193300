"""A small example of every kind of problem: a new one adds a line, and contract tests meet it."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from thalweg.core.tensors import perfect_tree
from thalweg.models import (
    CPFactorisation,
    HierarchicalFactorisation,
    Model,
    OperatorRecurrent,
    factor_regulariser,
    linear,
    mlp,
    weight_normalised,
)
from thalweg.models.spiking.dense import spiking_mlp
from thalweg.problems.closed_form import Factorisation, Quadratic
from thalweg.problems.difference_of_squares import over_parametrised_linear
from thalweg.problems.frozen import trained_part
from thalweg.problems.hard_for_first_order import hard_chain, heavy_ball_trap
from thalweg.problems.last_layer import last_layer_problem
from thalweg.problems.linear_classification import linear_classifier
from thalweg.problems.linear_targets import DeepLinear, scalar_chain
from thalweg.problems.locality import long_range
from thalweg.problems.lp_norm import lp_regression
from thalweg.problems.matrix_sensing import (
    MatrixFactorisation,
    gaussian_measurements,
    observed_entries,
)
from thalweg.problems.penalties import penalised
from thalweg.problems.problem import Function, Problem, Supervised, supervised
from thalweg.problems.robust import robust_regression
from thalweg.problems.scale_invariant import (
    NormalisedCompletion,
    NormalisedRegression,
    circle_of_minima,
)
from thalweg.problems.streams import geoff_stream, shifted_labels_stream, stream
from thalweg.problems.tensor_entries import tensor_completion, tensor_sensing
from thalweg.problems.weight_decay import Decayed

DRAWN = np.random.default_rng(5)
X, Y = DRAWN.normal(size=(6, 3)), DRAWN.normal(size=(6, 2))
LABELS = np.array([0, 1, 2, 0, 1, 2])
MATRIX, TENSOR = DRAWN.normal(size=(3, 2)), DRAWN.normal(size=(2, 2, 2, 2))
LAYERS = [DRAWN.normal(size=shape) for shape in ((2, 2), (3, 2))]


def _key() -> jax.Array:
    """Made when it is asked for: JAX takes hold of a device for it, which no import should."""
    return jax.random.key(5)


def _regression(model: Model | None = None, **options: object) -> Supervised:
    return supervised(model or mlp([3]), (X, Y), **options)  # type: ignore[arg-type]


def _valley(params: dict[str, jax.Array]) -> jax.Array:
    """Rosenbrock's function."""
    x, y = params["x"], params["y"]
    return (1 - x) ** 2 + 10 * (y - x**2) ** 2


PROBLEMS: dict[str, Callable[[], Problem]] = {
    "regression": _regression,
    "summed": lambda: _regression(mlp([3], "relu"), reduction="sum"),
    "one-input": lambda: supervised(mlp([4], "relu"), (X[:, :1], Y[:, :1])),
    "microbatches": lambda: _regression(microbatch=4),
    "classification": lambda: supervised(mlp([4]), (X, LABELS)),
    "one-matrix": lambda: _regression(linear([])),
    "scaled-directions": lambda: _regression(weight_normalised(linear([]), sphere=True)),
    "lp-regression": lambda: lp_regression(X, Y[:, 0], 4, (1, 1)),
    "long-range": lambda: long_range(
        supervised(mlp([3]), (X, Y[:, :1])), [[[True, False, False], [False, True, True]]], 0.3
    ),
    "part": lambda: _part(_regression()),
    "scalar-chain": lambda: scalar_chain(3, 2.0, 0.5),
    "last-layer": lambda: last_layer_problem(_regression(), _regression().init(_key())),
    "part-of-a-function": lambda: _part(PROBLEMS["function"]()),
    "weight-decay": lambda: Decayed(_regression(), jnp.asarray(0.1)),
    "function": lambda: Function(_valley, {"x": jnp.asarray(-1.2), "y": jnp.asarray(1.0)}),
    "quadratic": lambda: Quadratic(
        jnp.array([2.0, 0.5, -0.1]), jnp.array([1.0, 0.0, 0.2]), jnp.ones(3)
    ),
    "factorisation": lambda: Factorisation(jnp.asarray(MATRIX), [jnp.asarray(w) for w in LAYERS]),
    "deep-linear": lambda: DeepLinear(
        jnp.asarray(MATRIX), jnp.array([[2.0, 0.5], [0.5, 1.0]]), _layers
    ),
    "linear-classifier": lambda: linear_classifier(np.abs(X), "logistic", np.full(3, 0.1)),
    "matrix-completion": lambda: MatrixFactorisation(observed_entries(_key(), MATRIX, 4), 2, 0.5),
    "matrix-sensing": lambda: MatrixFactorisation(
        gaussian_measurements(_key(), MATRIX, 5), 3, 0.5, "balanced", reduction="sum"
    ),
    "tensor-completion": lambda: tensor_completion(
        CPFactorisation((2, 2, 2, 2), 3), jnp.asarray(TENSOR), 9, _key(), 0.5
    ),
    "tensor-sensing": lambda: tensor_sensing(
        HierarchicalFactorisation((2, 2, 2, 2), perfect_tree(4), (2, 2)),
        jnp.asarray(TENSOR), 7, _key(), 0.5,
    ),
    "normalised-regression": lambda: NormalisedRegression(
        jnp.asarray(X.T), jnp.asarray(Y[:3, 0]), jnp.asarray(2.0)
    ),
    "normalised-completion": lambda: NormalisedCompletion(observed_entries(_key(), MATRIX, 4)),
    "circle-of-minima": circle_of_minima,
    "stream": lambda: stream(mlp([3]), (X, Y), lengths=(4, 2), stages=["A", "B"]),
    "geoff-stream": lambda: geoff_stream(
        mlp([3]), length=4, inputs=5, features=3, precision="float64"
    ),
    "shifted-labels-stream": lambda: shifted_labels_stream(
        mlp([3]), (X, LABELS), (0, 1), precision="float64"
    ),
    "over-parametrised-linear": lambda: over_parametrised_linear(X[:2], Y[:2, 0], 0.9),
    "hard-chain": lambda: hard_chain(5, 2.0, 0.1),
    "heavy-ball-trap": heavy_ball_trap,
    "robust-regression": lambda: robust_regression(6, 3),
    "spiking": lambda: _regression(spiking_mlp([6, 4], steps=4, gain=8.0)),
    "penalised": lambda: _factored(),
}  # fmt: skip


def _factored() -> Problem:
    """Operators that a net with rank-one factors applies, with a penalty on their number."""
    net = OperatorRecurrent(2, rank=2, activation="tanh")
    plain = supervised(net, (np.stack([X[:3], X[3:]]), Y[:2]))
    return penalised(plain, factor_regulariser, 0.1, is_smooth=False)


def _part(problem: Problem) -> Problem:
    params = problem.init(_key())
    first = jax.tree_util.keystr(
        jax.tree_util.tree_leaves_with_path(params)[0][0], simple=True, separator="."
    )
    return trained_part(problem, params, lambda path: path == first)


def _layers(key: jax.Array) -> list[jax.Array]:
    return [jnp.asarray(w) for w in LAYERS]
