"""Separability and the hard margin against exact rational arithmetic, whatever the units."""

import itertools
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from thalweg.core.errors import InputError
from thalweg.theory.limits.max_margin import absorb, hard_margin_svm, separability, stack_classes

FIVE = np.repeat([1, -1], 5)
PLUS_MINUS = np.repeat([1, -1], 6)


def solved(A, b):
    """The solution of a square system in fractions, or None."""
    n = len(A)
    M = [[*row, value] for row, value in zip(A, b, strict=True)]
    for i in range(n):
        pivot = next((r for r in range(i, n) if M[r][i] != 0), None)
        if pivot is None:
            return None
        M[i], M[pivot] = M[pivot], M[i]
        M[i] = [v / M[i][i] for v in M[i]]
        for r in range(n):
            if r != i:
                M[r] = [a - M[r][i] * c for a, c in zip(M[r], M[i], strict=True)]
    return [row[-1] for row in M]


def dot(a, b):
    return sum(x * y for x, y in zip(a, b, strict=True))


def exact(X):
    """The hard-margin vector of the floats of X as fractions, or None: all sets of support."""
    rows = [[Fraction(float(v)) for v in row] for row in X]
    d = len(rows[0])
    for k in range(1, d + 1):
        for chosen in itertools.combinations(rows, k):
            alpha = solved([[dot(a, b) for b in chosen] for a in chosen], [Fraction(1)] * k)
            if alpha is None or min(alpha) < 0:
                continue
            w = [sum(a * x[c] for a, x in zip(alpha, chosen, strict=True)) for c in range(d)]
            if all(dot(x, w) >= 1 for x in rows):
                return w
    return None


def sized(w):
    return np.array([float(v) for v in w])


def timestamps(scale):
    rng = np.random.default_rng(3)
    X = np.c_[scale * (1 + 0.1 * rng.random(10)), FIVE * (1 + rng.random(10))]
    return absorb(X, FIVE)


def epochs(seconds):
    """Unix time alone, and a bias: its columns differ by 1 in 10^9 only."""
    t = 1.6e9 + np.r_[np.arange(1, 7), -np.arange(1, 7)] * float(seconds)
    return absorb(t[:, None], PLUS_MINUS, bias=True)


def salaries(unit):
    rng = np.random.default_rng(0)
    ratio = unit * (PLUS_MINUS + 0.1 * rng.random(12))
    return absorb(np.c_[rng.normal(5e4, 1e4, 12), rng.normal(40, 5, 12), ratio], PLUS_MINUS)


ODD_SCALES = {
    **{f"timestamps of {s:g}": timestamps(s) for s in (1e3, 1e7, 1.6e9, 1e10, 1e13)},
    "epochs, hours": epochs(3600),
    "epochs, seconds": epochs(1),
    **{f"salaries, ratios of {u:g}": salaries(u) for u in (1e-3, 1e-9, 1e9)},
    "years": absorb(np.r_[2001.0:2007, 1995:2001][:, None], PLUS_MINUS, bias=True),
    "small second column": np.array([[1, 1e-9], [-1, 1e-9], [0.5, 1e-9]]),
    "large second column": np.array([[1, 1e9], [-1, 1e9], [0.5, 1e9]]),
    "nearly opposed": np.array([[1.0, 0], [-1, 1e-12], [-3, 1e-5]]),
    "repeated": np.repeat([[1e9, 1e-9], [-1e9, 2e-9], [3e8, 5e-9]], 3, axis=0),
    "rows of all sizes": np.array([[1e9, 1], [1e-9, 2e-9], [-1e-3, 1e-2]]),
}


@pytest.mark.parametrize("name", ODD_SCALES)
def test_odd_scales_against_exact_fractions(name):
    X = ODD_SCALES[name]
    truth = exact(X)
    told = separability(X)
    assert told.separable is True
    svm = hard_margin_svm(X)
    w = sized(truth)
    off = np.linalg.norm(svm.w - w) / np.linalg.norm(w)
    assert svm.error < 1e-12
    # Where the columns agree to nine digits, or one example takes 1e-18 of another, w has fewer.
    near = 1e-7 if name in ("epochs, seconds", "large second column") else 1e-11
    assert off <= near
    np.testing.assert_allclose(svm.margin, 1 / np.linalg.norm(w), rtol=near)
    # The plane itself, in fractions, and the bound above its margin.
    rows = [[Fraction(float(v)) for v in row] for row in X]
    least = min(dot(row, [Fraction(float(v)) for v in told.w]) for row in rows)
    assert least > 0
    assert float(least) == pytest.approx(told.margin, rel=1e-6)
    box = 1 / np.abs(w).max()  # the margin of the hard-margin vector in the box
    assert told.margin + told.error >= box * (1 - 1e-9)
    assert told.error <= 1e-6 * told.margin + 4 * np.finfo(float).eps * np.abs(X).max()


def test_one_plane_that_numpy_shows():
    rng = np.random.default_rng(3)
    for scale in (1e3, 1e5, 1e6, 1e7, 1e8, 1e9, 1.6e9):
        X = absorb(np.c_[scale * (1 + 0.1 * rng.random(10)), FIVE * (1 + rng.random(10))], FIVE)
    assert (X @ [0, 1]).min() > 1
    assert hard_margin_svm(X).margin == pytest.approx(1.0960850527, rel=1e-10)
    assert separability(ODD_SCALES["small second column"]).margin == pytest.approx(1e-9, rel=1e-9)


@pytest.mark.parametrize(
    "X",
    [
        [(1, 0), (-1, 0)],
        [(1, 0), (0, 1), (-1, -1)],
        [(1.0, 1.0), (0.0, 0.0)],
        [(1e9, 1e-9), (-1e9, -1e-9)],
        [(1e9, 1), (-1e9, 1), (0, -1e-9)],
        [(0.1, 0.2), (0.2, 0.4), (-0.3, -0.6)],  # 0.1 + 0.2 - 0.3 is not 0 in floats
        [(1.6e9, 1), (1.6e9 + 1, -1), (-1.6e9, 0)],
        np.vstack([timestamps(1e9), -timestamps(1e9)[:1] * 1e-6]),
        stack_classes(np.eye(3)[[0, 0, 1, 2]] * 1e8, np.array([0, 1, 1, 2])),
    ],
)  # fmt: skip
def test_a_refusal_has_weights_that_prove_it(X):
    X = np.asarray(X, float)
    told = separability(X)
    assert told.separable is False
    p = [Fraction(float(v)) for v in told.weights]
    assert min(p) >= 0
    assert float(sum(p)) == pytest.approx(1)
    for column in X.T:
        terms = [a * Fraction(float(v)) for a, v in zip(p, column, strict=True)]
        assert abs(sum(terms)) <= Fraction(1e-14) * sum(map(abs, terms))
    assert (told.margin, told.w.any()) == (0, False)
    with pytest.raises(InputError, match="no plane"):
        hard_margin_svm(X)


def test_near_rounding_no_answer_is_false():
    """Margins from 1e-17 to 1e-12 of random data: planes and refusals are proven, or it is None."""
    rng = np.random.default_rng(0)
    for size in (1e-17, 1e-16, 1e-15, 1e-14, 1e-12):
        for _ in range(12):
            n, d = int(rng.integers(6, 12)), int(rng.integers(2, 6))
            X, w = rng.normal(size=(n, d)), rng.normal(size=d)
            w /= np.linalg.norm(w)
            X += np.outer(size * np.abs(rng.normal(size=n)) - X @ w, w)
            told = separability(X)
            assert size < 1e-12 or told.separable is True
            if told.separable:
                plane = [Fraction(float(v)) for v in told.w]
                assert min(dot(map(Fraction, row), plane) for row in X.tolist()) > 0
            elif told.separable is False:
                p = [Fraction(float(v)) for v in told.weights]
                for column in X.T.tolist():
                    terms = [a * Fraction(v) for a, v in zip(p, column, strict=True)]
                    assert abs(sum(terms)) <= Fraction(1e-14) * sum(map(abs, terms))
            else:
                with pytest.raises(InputError, match="hidden by rounding"):
                    hard_margin_svm(X)


columns = st.integers(-3, 3)


@pytest.mark.thorough
@settings(max_examples=70, deadline=None)
@example(rows=[(0, 1, 1), (0, 2, 0), (1, -1, 0)], powers=[-1, 3, 4])  # alpha over ten decades
@given(
    st.integers(2, 3).flatmap(
        lambda d: st.lists(st.tuples(*[columns] * d), min_size=1, max_size=6)
    ),
    st.lists(st.integers(-4, 4), min_size=3, max_size=3),
)  # fmt: skip
def test_small_tables_in_any_units(rows, powers):
    """Units of the features change neither the answer nor, in those units, the machine."""
    X = np.array(rows, float) * 10.0 ** np.array(powers[: len(rows[0])])
    truth = exact(np.array(rows, float))
    told = separability(X)
    assert told.separable is (truth is not None)
    if truth is None:
        return
    w = sized(exact(X))
    svm = hard_margin_svm(X)
    # An alpha far below the others keeps fewer digits, which `error` tells; w does not suffer.
    assert svm.error < 1e-6
    assert np.linalg.norm(svm.w - w) <= 1e-7 * np.linalg.norm(w)
    assert told.margin + told.error >= (1 - 1e-9) / np.abs(w).max()


def test_a_machine_that_units_hide_is_refused():
    """Separable, nine decades apart: the support could not be told, and no plane is made up."""
    rows = [[0, -2, -2], [-1, -3, -2], [-2, 0, -2], [-2, -3, 0], [0, 3, -1]]
    X = np.array(rows) * 10.0 ** np.array([1, 0, -8])
    assert separability(X).separable
    with pytest.raises(InputError, match="bring the features nearer to one unit"):
        hard_margin_svm(X)
    assert hard_margin_svm(np.array(rows, float)).error < 1e-12


def test_many_features_of_random_units():
    """No fractions here: the conditions of the optimum, and invariance of the answer."""
    rng = np.random.default_rng(1)
    for trial in range(6):
        n, d = (40, 7) if trial % 2 else (60, 12)
        X = rng.normal(size=(n, d))
        y = np.sign(X @ rng.normal(size=d))
        units = 10.0 ** rng.integers(-9, 10, d)
        X = absorb(X * units, y)
        svm = hard_margin_svm(X)
        terms = np.abs(X) @ np.abs(svm.w)
        assert np.all((X @ svm.w - 1) / terms >= -1e-9)
        assert svm.alpha.min() >= 0
        assert np.all(np.abs(X[svm.alpha > 0] @ svm.w - 1) <= 1e-9 * terms[svm.alpha > 0])
        np.testing.assert_allclose(svm.alpha.sum(), svm.w @ svm.w, rtol=1e-8)
        flipped = X * np.where(rng.random(n) < 0.5, 1, -1)[:, None]
        assert separability(flipped).separable is False
