"""Singular values of the weights of any model, against NumPy with the axes moved by hand."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import thalweg as tw
from thalweg.probes import balancedness, effective_rank, measure, singular_values, weight_matrices

RNG = np.random.default_rng(0)
IMAGES, LABELS = RNG.normal(size=(4, 1, 6, 6)), RNG.integers(0, 3, 4)
KERNEL = RNG.normal(size=(3, 2, 5, 7))  # height, width, in, out


def spectrum(matrix: np.ndarray, length: int) -> np.ndarray:
    s = np.linalg.svd(matrix, compute_uv=False)
    return np.pad(s, (0, length - s.size))


def test_of_a_convolutional_net_each_kernel_is_a_matrix_of_a_row_for_each_output():
    net = tw.models.parse_model("conv:4k3-3k2/5")
    problem = tw.problem((IMAGES, LABELS), model=net)
    params = problem.init(jax.random.key(1))
    weights = [np.asarray(layer["weight"]) for layer in params]
    assert any(w.ndim == 4 for w in weights)
    flat = [w.reshape(w.shape[0], -1) for w in weights]
    rank = max(min(w.shape) for w in flat)
    found = measure(problem, params, singular_values()).value
    np.testing.assert_allclose(found, [spectrum(w, rank) for w in flat], rtol=1e-12, atol=1e-12)
    assert list(weight_matrices(params)) == [f"[{k}]['weight']" for k in range(len(weights))]
    for probe in (balancedness(), effective_rank()):
        with pytest.raises(
            tw.InputError, match=r"needs a dense net .* weights of any model one by"
        ):
            measure(problem, params, probe)


def test_of_any_tree_names_or_the_word_given_say_which_axis_is_that_of_the_outputs():
    params = {
        "flax": {"kernel": jnp.asarray(KERNEL), "bias": jnp.ones(7)},
        "own": {"weight": jnp.asarray(KERNEL)},
        "plain": jnp.asarray(KERNEL[0, 0]),
    }
    problem = tw.problems.Function(lambda p: jnp.sum(p["plain"] ** 2), start=params)
    last = np.moveaxis(KERNEL, -1, 0).reshape(7, -1)
    first = KERNEL.reshape(3, -1)
    plain = KERNEL[0, 0]
    found = measure(problem, params, singular_values()).value
    np.testing.assert_allclose(found, [spectrum(w, 7) for w in (last, first, plain)], rtol=1e-12)
    found = measure(problem, params, singular_values("last")).value
    np.testing.assert_allclose(found, [spectrum(w, 7) for w in (last, last, plain)], rtol=1e-12)
    found = measure(problem, params, singular_values("first")).value
    np.testing.assert_allclose(found[:, :3], [spectrum(w, 5)[:3] for w in (first, first, plain)])


def test_where_there_is_no_matrix_a_sentence_says_so():
    line = tw.problems.Function(lambda x: jnp.sum(x**2), start=jnp.ones(3))
    with pytest.raises(tw.InputError, match=r"a weight of two axes at least; .* at most 1"):
        measure(line, jnp.ones(3), singular_values())
    with pytest.raises(tw.InputError, match="outputs"):
        singular_values("middle")
