"""Lanczos' method against dense eigenvalues, on spectra chosen to be awkward."""

from __future__ import annotations

import math
from functools import partial

import jax
import jax.numpy as jnp
import matfree.decomp
import numpy as np
import pytest
from scipy.sparse.linalg import LinearOperator, eigsh

from thalweg.core.lanczos import (
    lanczos_smallest,
    missed_fraction,
    track_largest,
    tridiagonalise,
)

KEY = jax.random.key(7)


def rotation(p: int, seed: int = 0) -> np.ndarray:
    return np.linalg.qr(np.random.default_rng(seed).normal(size=(p, p)))[0]


def symmetric(spectrum, seed: int = 0) -> np.ndarray:
    Q = rotation(len(spectrum), seed)
    A = Q @ np.diag(np.asarray(spectrum, float)) @ Q.T
    return (A + A.T) / 2


@partial(jax.jit, static_argnames="depth")
def decompose(A, start, depth, key=KEY):
    return tridiagonalise(lambda v: A @ v, start, depth, key)


@partial(jax.jit, static_argnames=("depth", "failure"))
def smallest(A, guess, depth, failure=0.01, key=KEY):
    return lanczos_smallest(lambda v: A @ v, guess, key, depth, failure)


@partial(jax.jit, static_argnames=("most_products", "width"))
def largest(A, block, tolerance=1e-8, least_products=0, most_products=200, width=12):
    return track_largest(lambda v: A @ v, block, tolerance, least_products, most_products, width)


SPECTRA = {
    "one": [3.0],
    "two": [2.0, -5.0],
    "twice": [4.0, 4.0],
    "three": [1.0, 0.0, -1.0],
    "identity": np.ones(6),
    "zero": np.zeros(6),
    "rank one": [9.0, 0, 0, 0, 0, 0],
    "degenerate": [2.0, 2, 2, -1, -1, 5],
    "saddle": [4.0, 1.0, -7.0, 0.0, 1e-9, 1e-12],
    "huge": 1e150 * np.array([3.0, -1, 2, 2, 0, 1]),
    "tiny": 1e-150 * np.array([3.0, -1, 2, 2, 0, 1]),
    "geometric": 10.0 ** -np.arange(6),
}


@pytest.mark.parametrize("start", ["random", "axis", "eigenvector"])
@pytest.mark.parametrize("name", SPECTRA)
def test_full_depth_is_exact_from_any_start(name, start):
    spectrum = np.sort(np.asarray(SPECTRA[name], float))
    p, scale = len(spectrum), np.abs(spectrum).max()
    A = symmetric(spectrum)
    begin = {
        "random": np.random.default_rng(1).normal(size=p),
        "axis": np.eye(p)[0] * 1e-3,
        "eigenvector": rotation(p)[:, 0] * 1e3,
    }[start]
    krylov = decompose(A, begin, p)
    assert np.allclose(krylov.basis @ krylov.basis.T, np.eye(p), atol=1e-13)
    assert np.abs(krylov.basis @ A @ krylov.basis.T - krylov.projected).max() <= 1e-12 * scale
    assert np.abs(np.linalg.eigvalsh(krylov.projected) - spectrum).max() <= 1e-13 * p * scale
    assert krylov.remainder <= 1e-11 * scale


def test_partial_depth_agrees_with_matfree():
    A = symmetric(np.random.default_rng(3).normal(size=40))
    start = np.random.default_rng(4).normal(size=40)
    ours = decompose(A, start, 9)
    theirs = matfree.decomp.tridiag_sym(9, reortho="full", materialize=True)(lambda v: A @ v, start)
    assert np.allclose(ours.basis, theirs.Q_tall, atol=1e-11)
    assert np.allclose(ours.projected, theirs.J_small, atol=1e-11)
    assert np.allclose(ours.remainder, np.linalg.norm(theirs.residual), atol=1e-11)


@pytest.mark.parametrize("depth", [1, 2, 5, 20, 29])
def test_residuals_bound_the_distance_to_an_eigenvalue(depth):
    spectrum = np.concatenate([np.random.default_rng(5).normal(size=25), [7, 7, 7.001, -9, 0]])
    A = symmetric(spectrum)
    krylov = decompose(A, np.random.default_rng(6).normal(size=30), depth)
    ritz, s = np.linalg.eigh(krylov.projected)
    assert spectrum.min() - 1e-12 <= ritz.min()
    assert ritz.max() <= spectrum.max() + 1e-12
    for value, rotated in zip(ritz, s.T, strict=True):
        vector = krylov.basis.T @ rotated
        claimed = float(krylov.remainder) * abs(rotated[-1])
        assert np.linalg.norm(A @ vector - value * vector) == pytest.approx(claimed, abs=1e-12)
        assert np.abs(spectrum - value).min() <= claimed + 1e-12


def test_tridiagonalisation_keeps_float32():
    spectrum = np.linspace(-1, 3, 12)
    krylov = decompose(symmetric(spectrum).astype(np.float32), jnp.ones(12, jnp.float32), 12)
    assert {leaf.dtype for leaf in krylov} == {jnp.dtype(jnp.float32)}
    assert np.allclose(np.linalg.eigvalsh(krylov.projected), spectrum, atol=2e-6)


@pytest.mark.parametrize(("k", "p", "failure"), [(20, 1000, 0.01), (60, 10**6, 0.005)])
def test_missed_fraction_is_the_formula(k, p, failure):
    fraction = missed_fraction(k, p, failure)
    assert fraction == pytest.approx((math.log(1.648 * math.sqrt(p) / failure) / (2 * k - 1)) ** 2)
    # Solved for the failure, it is the theorem's 1.648 sqrt(p) e^{-sqrt(fraction) (2k - 1)}.
    exponent = -math.sqrt(fraction) * (2 * k - 1)
    assert 1.648 * math.sqrt(p) * math.exp(exponent) == pytest.approx(failure)


def test_missed_fraction_at_its_ends():
    assert missed_fraction(50, 50, 0.01) == missed_fraction(51, 50, 0.01) == 0.0
    assert missed_fraction(1, 50, 0.01) == 1.0
    fractions = [missed_fraction(k, 200, 0.01) for k in range(1, 201)]
    assert fractions == sorted(fractions, reverse=True)


def nasty(name: str, p: int, rng: np.random.Generator) -> np.ndarray:
    """Spectra whose smallest eigenvalue is hard to see."""
    bulk = {
        "uniform": lambda: rng.uniform(-1, 1, p),
        "clustered at the bottom": lambda: np.concatenate(
            [-1 + 1e-3 * rng.uniform(size=p // 2), rng.uniform(-1, 50, p - p // 2)]
        ),
        "one negative outlier": lambda: np.append(rng.uniform(0, 1, p - 1), -1e-3),
        "one deep outlier": lambda: np.append(1 + 1e-6 * rng.uniform(size=p - 1), -1e3),
        "heavy top": lambda: np.append(rng.exponential(size=p - 1) ** 4, -0.5),
        "Chebyshev": lambda: np.cos(np.pi * (np.arange(p) + 0.5) / p),
        "edge of a Chebyshev grid": lambda: 1 - np.cos(np.pi * np.arange(p) / (2 * p)),
        "degenerate": lambda: rng.choice([-2.0, -1.0, 5.0], p),
    }
    return bulk[name]()


NASTY = (
    "uniform",
    "clustered at the bottom",
    "one negative outlier",
    "one deep outlier",
    "heavy top",
    "Chebyshev",
    "edge of a Chebyshev grid",
    "degenerate",
)


@pytest.mark.parametrize(("p", "depth"), [(2000, 4), (2000, 12), (2000, 40), (300, 60)])
def test_the_bound_holds_as_often_as_it_promises(p, depth):
    """A Gaussian start knows no directions, so that diagonal matrices stand for all."""
    failure, each = 0.05, 25
    rng = np.random.default_rng(p + depth)
    spectra = np.stack([nasty(name, p, rng) for name in NASTY for _ in range(each)])
    keys = jax.random.split(jax.random.key(depth), len(spectra))

    def one(spectrum, key):
        found = lanczos_smallest(lambda v: spectrum * v, jnp.zeros(p), key, depth, failure)
        return found.value, found.missed, found.residual

    value, missed, residual = map(np.asarray, jax.jit(jax.vmap(one))(jnp.asarray(spectra), keys))
    truth, scale = spectra.min(1), np.abs(spectra).max(1)
    assert np.all(value >= truth - 1e-12 * scale)
    covered = value - missed <= truth + 1e-12 * scale
    assert covered.mean() >= 1 - 2 * failure
    near = np.abs(spectra - value[:, None]).min(1)
    assert np.all(near <= residual + 1e-12 * scale)
    assert np.all(missed >= 0)


def test_few_products_promise_nothing():
    """Below half the spread seen, the spread itself is not known: no bound, said as infinity."""
    p, depth = 2000, 4
    assert missed_fraction(depth, p, 0.05) >= 0.5
    found = smallest(jnp.eye(p), jnp.zeros(p), depth, 0.05)
    assert found.missed == np.inf


@pytest.mark.parametrize("name", SPECTRA)
@pytest.mark.parametrize("guess", ["zeros", "exact", "random"])
def test_smallest_is_exact_at_full_depth(name, guess):
    spectrum = np.asarray(SPECTRA[name], float)
    p, scale = len(spectrum), np.abs(spectrum).max()
    given = {
        "zeros": np.zeros(p),
        "exact": rotation(p)[:, np.argmin(spectrum)],
        "random": np.random.default_rng(0).normal(size=p),
    }[guess]
    found = smallest(symmetric(spectrum), given, 3 * p)
    assert found.value == pytest.approx(spectrum.min(), abs=1e-13 * p * scale)
    assert found.largest == pytest.approx(spectrum.max(), abs=1e-13 * p * scale)
    assert found.missed <= 1e-13 * p * scale
    assert found.residual <= 1e-12 * p * scale
    assert jnp.linalg.norm(found.vector) == pytest.approx(1)


def test_a_guess_helps_and_never_hurts():
    rng = np.random.default_rng(11)
    spectrum = np.append(rng.uniform(0, 100, 399), -0.1)
    A, vector = symmetric(spectrum), rotation(400)[:, -1]
    alone = smallest(A, np.zeros(400), 8)
    guesses = {
        "exact": vector,
        "near": vector + 0.002 * rng.normal(size=400),
        "tiny": 1e-100 * vector,
        "random": rng.normal(size=400),
        "in the Krylov space": jax.random.normal(jax.random.split(KEY)[0], (400,)),
        "twice": alone.vector,
        "wrong": rotation(400)[:, np.argmax(spectrum)],
    }
    found = {name: smallest(A, guess, 8) for name, guess in guesses.items()}
    for name, one in found.items():
        assert spectrum.min() - 1e-11 <= one.value <= alone.value + 1e-11, name
        # What the random start promises stays promised.
        assert one.value - one.missed <= spectrum.min() + 1e-11, name
        residual = np.linalg.norm(A @ one.vector - one.value * one.vector)
        assert residual == pytest.approx(float(one.residual), abs=1e-10), name
        assert np.linalg.norm(one.vector) == pytest.approx(1), name
    assert alone.value > spectrum.min() + 0.1
    for name in ("exact", "tiny"):
        assert found[name].value == pytest.approx(spectrum.min(), abs=1e-11)
    assert found["near"].value < alone.value


def test_an_unused_guess_adds_no_eigenvalue():
    for scale in (1e-12, 1.0, 1e30):
        found = smallest(scale * jnp.eye(5), jnp.zeros(5), 5)
        assert found.value == pytest.approx(scale)
        assert jnp.linalg.norm(found.vector) == pytest.approx(1)
        found = smallest(-scale * jnp.eye(5), jnp.zeros(5), 3)
        assert found.value == pytest.approx(-scale)


def test_smallest_agrees_with_scipy():
    A = symmetric(np.random.default_rng(2).normal(size=150) ** 3, 9)
    operator = LinearOperator(A.shape, matvec=lambda v: A @ v, dtype=float)
    found = smallest(A, np.zeros(150), 80)
    assert found.value == pytest.approx(eigsh(operator, 1, which="SA")[0][0], rel=1e-9)
    assert found.largest == pytest.approx(eigsh(operator, 1, which="LA")[0][0], rel=1e-9)


def test_smallest_keeps_float32_and_survives_nan():
    A = symmetric(np.linspace(-1, 3, 30)).astype(np.float32)
    found = smallest(A, jnp.zeros(30, jnp.float32), 30)
    assert {leaf.dtype for leaf in found} == {jnp.dtype(jnp.float32)}
    assert found.value == pytest.approx(-1, abs=1e-5)
    assert np.isnan(smallest(jnp.full((5, 5), jnp.nan), jnp.zeros(5), 4).value)


# The largest eigenvalue, tracked.


@pytest.mark.parametrize("name", SPECTRA)
@pytest.mark.parametrize("b", [2, pytest.param(1, marks=pytest.mark.thorough)])
def test_tracking_finds_the_largest_from_cold(name, b):
    spectrum = np.asarray(SPECTRA[name], float)
    p, scale = len(spectrum), np.abs(spectrum).max()
    block = np.random.default_rng(0).normal(size=(min(b, p), p))
    # Enough products that the whole space is spanned.
    found = largest(symmetric(spectrum), block, 1e-10, 2 * p)
    assert found.values[0] == pytest.approx(spectrum.max(), abs=1e-12 * p * scale)
    assert np.linalg.norm(found.vectors[0]) == pytest.approx(1)


# Each compiles a program of its own: a block as large as the space, and smaller ones.
FEW = [(1, 1), (3, 3), (5, 2)]
FURTHER = [(p, b) for p in (1, 2, 3, 4, 5, 9) for b in (1, 2, 3) if b <= p and (p, b) not in FEW]


@pytest.mark.parametrize(
    ("p", "b"), [*FEW, *(pytest.param(*case, marks=pytest.mark.thorough) for case in FURTHER)]
)
def test_tracking_in_few_dimensions(p, b):
    spectrum = np.random.default_rng(p).normal(size=p)
    found = largest(symmetric(spectrum), np.random.default_rng(b).normal(size=(b, p)), 1e-8)
    assert found.values[0] == pytest.approx(spectrum.max(), abs=1e-10)
    assert found.residuals[0] <= 1e-8 * abs(spectrum.max()) + 1e-13
    assert found.products <= 200


SHAPES = {
    "indefinite": lambda rng: rng.normal(size=120),
    "positive": lambda rng: rng.exponential(size=120),
    "negative": lambda rng: -1 - rng.exponential(size=120),
    "net-like": lambda rng: np.concatenate([[50, 30, 29.9], 1e-3 * rng.normal(size=117)]),
    "close pair": lambda rng: np.concatenate([[10, 9.99], rng.normal(size=118)]),
}


@pytest.mark.parametrize("b", [1, 2, 4])
@pytest.mark.parametrize("name", SHAPES)
def test_tracking_converges_and_says_the_truth(name, b):
    rng = np.random.default_rng(8)
    spectrum = SHAPES[name](rng)
    A, counted = symmetric(spectrum), []

    def product(v):
        jax.debug.callback(lambda nonzero: counted.append(bool(nonzero)), jnp.any(v != 0))
        return A @ v

    # A single vector in a spectrum as dense as this needs more products than a probe would spend.
    found = track_largest(product, jnp.asarray(rng.normal(size=(b, 120))), 1e-6, 0, 2000)
    jax.effects_barrier()
    assert found.values[0] <= spectrum.max() + 1e-12 * np.abs(spectrum).max()
    assert found.values[0] == pytest.approx(spectrum.max(), rel=1e-6)
    for value, residual, vector in zip(found.values, found.residuals, found.vectors, strict=True):
        actual = np.linalg.norm(A @ vector - value * vector)
        assert actual == pytest.approx(float(residual), abs=1e-11)
        assert np.abs(spectrum - value).min() <= actual + 1e-12
    assert np.allclose(found.vectors @ found.vectors.T, np.eye(b), atol=1e-9)
    assert found.products == sum(counted)


def test_tracking_gives_up_at_its_limit():
    A = symmetric(np.linspace(0, 1, 400))
    found = largest(A, np.random.default_rng(0).normal(size=(2, 400)), 1e-14, 0, 30)
    assert 30 <= found.products <= 32
    assert found.values[0] <= 1 + 1e-12
    assert found.residuals[0] > 1e-14


def test_tracking_spends_what_it_is_told_to():
    spectrum = np.concatenate([[5.0, 4.0], np.linspace(0, 1, 98)])
    A, Q = symmetric(spectrum), rotation(100)
    warm = Q[:, :2].T
    assert largest(A, warm, 1e-2).products == 2
    near = warm + 1e-6 * np.random.default_rng(0).normal(size=warm.shape)  # nothing grows from an
    assert 16 <= largest(A, near, 1e-2, 16).products <= 18  # invariant space but by its rounding


def test_more_products_see_a_third_eigenvalue_above_a_converged_pair():
    spectrum = np.concatenate([[5.0, 4.0, 9.0], np.linspace(0, 1, 97)])
    A, Q = symmetric(spectrum), rotation(100)
    blind = largest(A, Q[:, :2].T, 1e-2)
    assert blind.values[0] == pytest.approx(5)
    block = np.stack([Q[:, 0], np.random.default_rng(0).normal(size=100)])
    assert largest(A, block, 1e-2, 16).values[0] == pytest.approx(9, rel=1e-3)


def test_tracking_float32_dependent_rows_zeros_and_nan():
    A = symmetric(np.linspace(-1, 3, 30)).astype(np.float32)
    rows = np.random.default_rng(0).normal(size=(2, 30)).astype(np.float32)
    found = largest(A, rows, 1e-3)
    assert found.values.dtype == found.vectors.dtype == jnp.float32
    assert found.values[0] == pytest.approx(3, rel=1e-4)
    twice = largest(A.astype(float), np.stack([rows[0], rows[0]]).astype(float), 1e-8)
    assert twice.values[0] == pytest.approx(3, rel=1e-6)
    nothing = largest(A.astype(float), np.zeros((2, 30)), 1e-8)
    assert nothing.products == 0
    assert np.all(np.isnan(nothing.values))
    broken = largest(np.full((30, 30), np.nan), rows.astype(float), 1e-8)
    assert np.isnan(broken.values[0])


def test_a_crossing_is_seen_by_the_pair_that_is_carried():
    """The second eigenvalue, in the block, overtakes the first: no record is late."""
    p = 80
    Q = rotation(p)
    rest = np.linspace(-1, 1, p - 2)
    block = np.random.default_rng(0).normal(size=(2, p))
    for t in np.linspace(0, 1, 41):
        spectrum = np.concatenate([[5.0, 4.0 + 2 * t], rest])
        # The eigenvectors turn a little as well.
        turn = np.eye(p)
        c, s = np.cos(0.3 * t), np.sin(0.3 * t)
        turn[np.ix_([1, 2], [1, 2])] = [[c, -s], [s, c]]
        A = Q @ turn @ np.diag(spectrum) @ turn.T @ Q.T
        found = largest(A, block, 1e-2)
        block = found.ahead
        assert found.values[0] <= spectrum.max() + 1e-12
        # Second order in the tolerance; without the second vector it would lag by per cents.
        assert found.values[0] == pytest.approx(spectrum.max(), rel=1e-3)
