"""Ranks and norms of the product, against NumPy and by hand."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import thalweg as tw
from thalweg.core import rank
from thalweg.probes import (
    effective_rank,
    end_to_end_singular_values,
    measure,
    nuclear_norm,
    reconstruction_error,
    stable_rank,
)
from thalweg.problems.matrix_sensing import MatrixFactorisation, observed_entries


def problem():
    return MatrixFactorisation(observed_entries(jax.random.key(0), np.ones((4, 5)), 8), 3, 1.0)


def test_against_numpy():
    params = problem().init(jax.random.key(1))
    low, middle, top = (np.asarray(layer["weight"]) for layer in params)
    W = top @ middle @ low
    s = np.linalg.svd(W, compute_uv=False)
    p = s / s.sum()
    target = np.arange(20.0).reshape(4, 5)
    expected = {
        end_to_end_singular_values(): s,
        nuclear_norm(): np.linalg.norm(W, "nuc"),
        stable_rank(): np.linalg.norm(W) ** 2 / np.linalg.norm(W, 2) ** 2,
        effective_rank(): np.exp(-np.sum(p * np.log(p))),
    }
    for probe, value in expected.items():
        np.testing.assert_allclose(measure(problem(), params, probe).value, value, rtol=1e-12)
    found = measure(problem(), params, reconstruction_error(target)).value
    assert found == pytest.approx(np.mean((W - target) ** 2))


def test_ranks_by_hand():
    assert rank.effective_rank_from(jnp.array([2.0, 2.0, 2.0, 0.0])) == pytest.approx(3)
    assert rank.stable_rank_from(jnp.array([2.0, 2.0, 1.0])) == pytest.approx(9 / 4)
    half = rank.effective_rank_from(jnp.array([[3.0, 1.0], [1.0, 0.0]]))
    np.testing.assert_allclose(half, [4 / 3**0.75, 1.0])
    assert np.isnan(rank.effective_rank_from(jnp.zeros(3)))


def test_a_wrong_target_is_told():
    params = problem().init(jax.random.key(1))
    with pytest.raises(tw.InputError, match="target"):
        measure(problem(), params, reconstruction_error(np.ones((5, 4))))
