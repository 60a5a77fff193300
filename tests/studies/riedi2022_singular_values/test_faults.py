"""Planted faults: every claim of the study fails when what it rests on is wrong."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from thalweg.lab.claims import judge
from thalweg.lab.study import Lab
from thalweg.models.residual import ResidualMLP
from thalweg.studies.riedi2022_singular_values import STUDY, exact, random, training
from thalweg.theory.landscape import piecewise_affine as pieces
from thalweg.theory.landscape import singular_values as sv

LAB = Lab(progress=False)


@pytest.fixture
def fault(monkeypatch):
    """A function that replaces `place.name` by wrong(right, *arguments)."""

    def plant(place, name, wrong):
        right = getattr(place, name)
        monkeypatch.setattr(place, name, lambda *a, **k: wrong(right, *a, **k))

    return plant


@pytest.fixture
def compiled_anew():
    """What was compiled with the right function must not be met again, nor the wrong one after."""
    jax.clear_caches()
    yield
    jax.clear_caches()


def word(claim, **found):
    (verdict,) = judge([c for c in STUDY.claims if c.id == claim], found)
    return verdict.word


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


C1 = {
    "skip inside D": (pieces, "affine_piece", inside),
    "D_0 forgotten": (pieces, "own_slopes", without_own_slopes),
    "stacked by columns": (pieces.LayerHessian, "dense", swapped),
    "factor 2": (pieces.LayerHessian, "dense", doubled),
}


@pytest.mark.usefixtures("compiled_anew")
@pytest.mark.parametrize("name", C1)
def test_c1_fails(fault, monkeypatch, name):
    monkeypatch.setattr(exact, "ACTIVATIONS", ("leaky-relu:0.1",))
    monkeypatch.setattr(exact, "SKIPS", (1.0,))
    fault(*C1[name])
    found = exact.hessians_of(n=5, frozen=2, batch=2, seeds=1)
    assert word("C1", hessian=found) == "not reproduced"


def first(wrong):
    return lambda right, A: right(A)._replace(first=wrong(*np.linalg.svd(A)))


def without_the_sum(right, A):
    """E5 without the terms in s_i + s_k."""
    U, s, Vt = np.linalg.svd(A)
    G = U.T @ Vt.T
    gap = s[:, None] - s + np.diag(np.full(len(s), np.inf))
    return right(A)._replace(second=np.sum((G + G.T) ** 2 / (2 * gap), 1))


C2 = {
    "sign": (sv, "derivatives", first(lambda U, s, Vt: -np.einsum("ki,ik->i", U, Vt))),
    "rows for columns": (sv, "derivatives", first(lambda U, s, Vt: np.einsum("ik,ki->i", U, Vt))),
    "second derivative halved": (
        sv,
        "derivatives",
        lambda right, A: right(A)._replace(second=right(A).second / 2),
    ),
    "terms missing": (sv, "derivatives", without_the_sum),
    "branches of twice the skip": (sv, "singular_paths", lambda right, A, rho: right(A, 2 * rho)),
}


@pytest.mark.parametrize("name", C2)
def test_c2_fails(fault, name):
    fault(*C2[name])
    found = {"derivatives": exact.derivatives(LAB), "X3": exact.singular_paths(LAB)}
    if name == "branches of twice the skip":
        found["X3"] = found["X3"].assign_coords(rho=found["X3"]["rho"] / 2)
    assert word("C2", **found) == "not reproduced"


def scaling(**wrong):
    """A field of the bounds on scaled rows, computed wrongly from the right ones."""

    def planted(right, A, off, eta):
        known = right(A, off, eta)
        return known._replace(**{name: change(known, eta) for name, change in wrong.items()})

    return sv, "row_scaling", planted


C3 = {
    "lower bound s_i": scaling(lower_scale=lambda k, eta: k.upper),
    "interlacing by one too few": scaling(
        lower_interlacing=lambda k, eta: np.concatenate([k.upper[:1], k.lower_interlacing[:-1]])
    ),
    "eta for eta squared": scaling(lost=lambda k, eta: k.lost / (1 + eta + 1e-9)),
    "twice the scale": scaling(upper=lambda k, eta: k.upper / 2),
    "scaled rows left out": scaling(upper_off=lambda k, eta: np.minimum(k.upper_off, 0.0)),
    "half the norm": (sv, "shift_bounds", lambda right, norm, rho: right(norm / 2, rho)),
    "no twice": (sv, "shift_condition_bound", lambda right, norm, rho: (rho + norm) / rho),
}


@pytest.mark.parametrize("name", C3)
def test_c3_fails(fault, name):
    fault(*C3[name])
    assert word("C3", bounds=exact.bounds_of(draws=100, stacks=5)) == "not reproduced"


C4 = {
    "1 + s": (sv, "stacked_singular_values", lambda right, s: 1 + s),
    "identity left out": (sv, "stacked_singular_values", lambda right, s: s),
    "identity doubled": (
        pieces,
        "affine_piece",
        lambda right, *a, join="add", **k: right(*a, join=join, **k).at[-1].mul(2.0),
    ),
    "reciprocal": (sv, "condition_number", lambda right, s: 1 / right(s)),
}


@pytest.mark.parametrize("name", C4)
def test_c4_fails(fault, name):
    fault(*C4[name])
    assert word("C4", bounds=exact.bounds_of(draws=5, stacks=100)) == "not reproduced"


C5 = {
    "Frobenius norm": (
        sv,
        "condition_number",
        lambda right, s: np.linalg.norm(s, axis=-1) / s[..., -1],
    ),
    "squared": (sv, "condition_number", lambda right, s: right(s) ** 2),
    "second smallest": (sv, "condition_number", lambda right, s: right(s[..., :-1])),
}


@pytest.mark.parametrize("name", C5)
def test_c5_fails(fault, name):
    fault(*C5[name])
    found = exact.gaussian_of(draws=200, sizes=(8, 16, 32, 64))
    assert word("C5", gaussian=found) == "not reproduced"


def weaker(right, W, slopes, skip=0.0, **k):
    return right(W, slopes, skip / 4, **k)


C6 = {
    "skip inside D": (pieces, "affine_piece", inside),
    "skip too weak": (pieces, "affine_piece", weaker),
    "bound without s_1": (
        sv,
        "shift_condition_bound",
        lambda right, norm, rho: right(norm / 2, rho),
    ),
    "all rows kept in the limit": (sv, "gaussian_norm", lambda right, c, kept: right(c)),
    "squared": (sv, "condition_number", lambda right, s: right(s) ** 2),
}


@pytest.mark.parametrize("name", C6)
def test_c6_fails(fault, name):
    fault(*C6[name])
    assert word("C6", X1=random.layers(LAB)) == "not reproduced"


C7 = {
    "skip inside D": (pieces, "affine_piece", inside),
    "skip left out": (
        pieces,
        "affine_piece",
        lambda right, W, slopes, skip=0.0: right(W, slopes, 0.0),
    ),
    "skip always": (
        pieces,
        "affine_piece",
        lambda right, W, slopes, skip=0.0: right(W, slopes, 1.0),
    ),
    "first layer only": (random, "_product", lambda right, stack: np.asarray(stack)[0]),
}


@pytest.mark.parametrize("name", C7)
def test_c7_fails(fault, name):
    fault(*C7[name])
    assert word("C7", X2=random.depth_of(draws=5)) == "not reproduced"


def no_skip(right, self, layers, x):
    return right(self.__class__(self.hidden, self.activation, 0.0, readout=False), layers, x)


def slow(right, self, *a, **k):
    return right(self, *a, **k).at[0].mul(30.0)


C8 = {
    "skips left out of the net": (ResidualMLP, "_forward", no_skip),
    "step size of the wrong order": (pieces.LayerHessian, "spectrum", slow),
}


@pytest.mark.slow
@pytest.mark.usefixtures("compiled_anew")
@pytest.mark.parametrize("name", C8)
def test_c8_fails(fault, name):
    fault(*C8[name])
    assert word("C8", X4=training.training_of(seeds=3)) == "not reproduced"
