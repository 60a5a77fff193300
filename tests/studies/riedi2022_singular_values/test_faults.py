"""Planted faults: every claim of the study fails when what it rests on is wrong."""

import jax.numpy as jnp
import numpy as np

from planting import Fault, fault_table
from thalweg.curvature import LayerHessian
from thalweg.models import piecewise_affine as pieces
from thalweg.models.residual import ResidualMLP
from thalweg.studies.riedi2022_singular_values import random
from thalweg.theory.landscape import singular_values as sv


def inside(right, W, slopes, skip=0.0, branch=1.0, join="add"):
    """The skip inside the activation, D (W + rho I)."""
    if join != "add":
        return right(W, slopes, skip, branch, join)
    return right(jnp.asarray(W) + skip * jnp.eye(W.shape[-1]), slopes, 0.0, branch)


def without_own_slopes(right, model, params, slopes, layer):
    return jnp.eye(len(slopes[layer]))


def swapped(right, self, order="columns"):
    return right(self, "columns" if order == "rows" else "rows")


def doubled(right, *a, **k):
    return 2 * right(*a, **k)


def first(wrong):
    return lambda right, A: right(A)._replace(first=wrong(*np.linalg.svd(A)))


NEGATIVE = first(lambda U, s, Vt: -np.einsum("ki,ik->i", U, Vt))
TRANSPOSED = first(lambda U, s, Vt: np.einsum("ik,ki->i", U, Vt))


def halved(right, A):
    return right(A)._replace(second=right(A).second / 2)


def without_the_sum(right, A):
    """E5 without the terms in s_i + s_k."""
    U, s, Vt = np.linalg.svd(A)
    G = U.T @ Vt.T
    gap = s[:, None] - s + np.diag(np.full(len(s), np.inf))
    return right(A)._replace(second=np.sum((G + G.T) ** 2 / (2 * gap), 1))


def of_twice_the_skip(right, A, rho):
    return right(A, 2 * rho)._replace(rho=rho)


def scaling(about, **wrong):
    """A field of the bounds on scaled rows, computed wrongly from the right ones."""

    def planted(right, A, off, eta):
        known = right(A, off, eta)
        return known._replace(**{name: change(known, eta) for name, change in wrong.items()})

    return Fault("C3", sv, "row_scaling", planted, about, {"stacks": 5})


def one_too_few(known, eta):
    return np.concatenate([known.upper[:1], known.lower_interlacing[:-1]])


def half_the_norm(right, norm, rho):
    return right(norm / 2, rho)


def no_twice(right, norm, rho):
    return (rho + norm) / rho


def doubled_identity(right, *a, join="add", **k):
    return right(*a, join=join, **k).at[-1].mul(2.0)


def frobenius(right, s):
    return np.linalg.norm(s, axis=-1) / s[..., -1]


def squared(right, s):
    return right(s) ** 2


def second_smallest(right, s):
    return right(s[..., :-1])


def weaker(right, W, slopes, skip=0.0, **k):
    return right(W, slopes, skip / 4, **k)


def without_skip(right, W, slopes, skip=0.0):
    return right(W, slopes, 0.0)


def always_skip(right, W, slopes, skip=0.0):
    return right(W, slopes, 1.0)


def first_layer_only(right, stack):
    return np.asarray(stack)[0]


def no_skip(right, self, layers, x):
    return right(self.__class__(self.hidden, self.activation, 0.0, readout=False), layers, x)


def slow(right, self, *a, **k):
    return right(self, *a, **k).at[0].mul(30.0)


FEW = {"draws": 5}


@fault_table(
    Fault("C1", pieces, "affine_piece", inside, "skip inside D", compiled=True),
    Fault("C1", pieces, "own_slopes", without_own_slopes, "D_0 forgotten", compiled=True),
    Fault("C1", LayerHessian, "dense", swapped, "stacked by columns"),
    Fault("C1", LayerHessian, "dense", doubled, "factor 2"),
    Fault("C2", sv, "derivatives", NEGATIVE, "sign"),
    Fault("C2", sv, "derivatives", TRANSPOSED, "rows for columns"),
    Fault("C2", sv, "derivatives", halved, "second derivative halved"),
    Fault("C2", sv, "derivatives", without_the_sum, "terms missing"),
    Fault("C2", sv, "singular_paths", of_twice_the_skip, "branches of twice the skip"),
    scaling("lower bound s_i", lower_scale=lambda k, eta: k.upper),
    scaling("interlacing by one too few", lower_interlacing=one_too_few),
    scaling("eta for eta squared", lost=lambda k, eta: k.lost / (1 + eta + 1e-9)),
    scaling("twice the scale", upper=lambda k, eta: k.upper / 2),
    scaling("scaled rows left out", upper_off=lambda k, eta: np.minimum(k.upper_off, 0.0)),
    Fault("C3", sv, "shift_bounds", half_the_norm, "half the norm", {"stacks": 5}),
    Fault("C3", sv, "shift_condition_bound", no_twice, "no twice", {"stacks": 5}),
    Fault("C4", sv, "stacked_singular_values", lambda right, s: 1 + s, "1 + s", FEW),
    Fault("C4", sv, "stacked_singular_values", lambda right, s: s, "identity left out", FEW),
    Fault("C4", pieces, "affine_piece", doubled_identity, "identity doubled", FEW),
    Fault("C4", sv, "condition_number", lambda right, s: 1 / right(s), "reciprocal", FEW),
    Fault("C5", sv, "condition_number", frobenius, "Frobenius norm"),
    Fault("C5", sv, "condition_number", squared, "squared"),
    Fault("C5", sv, "condition_number", second_smallest, "second smallest"),
    Fault("C6", pieces, "affine_piece", inside, "skip inside D"),
    Fault("C6", pieces, "affine_piece", weaker, "skip too weak"),
    Fault("C6", sv, "shift_condition_bound", half_the_norm, "bound without s_1"),
    Fault("C6", sv, "gaussian_norm", lambda right, c, kept: right(c), "all rows kept in the limit"),
    Fault("C6", sv, "condition_number", squared, "squared"),
    Fault("C7", pieces, "affine_piece", inside, "skip inside D"),
    Fault("C7", pieces, "affine_piece", without_skip, "skip left out"),
    Fault("C7", pieces, "affine_piece", always_skip, "skip always"),
    Fault("C7", random, "_product", first_layer_only, "first layer only"),
    Fault("C8", ResidualMLP, "_forward", no_skip, "skips left out of the net"),
    Fault("C8", LayerHessian, "spectrum", slow, "step size of the wrong order"),
)
def test_faults(fault, noticed):
    assert noticed(fault) == "not reproduced"
