"""What is particular to the study of K-FAC: its net, its start and its counts of blocks."""

import jax.numpy as jnp
import numpy as np
import pytest

from thalweg.studies.martens2015_kfac import structure, training


def test_the_start_is_sparse_and_drawn_as_the_paper_says():
    """Known digits of the specification: h = 104.58 at the start of seed 0."""
    start = training.sparse_start(training.WIDTHS, 0)
    assert [layer["weight"].shape for layer in start] == [
        (100, 64), (50, 100), (10, 50), (50, 10), (100, 50), (64, 100),
    ]  # fmt: skip
    counts = [set(np.count_nonzero(layer["weight"], axis=1)) for layer in start]
    assert counts == [{15}, {15}, {15}, {10}, {15}, {15}]
    problem = training.problem_of(training.digits(1797), training.WIDTHS)
    assert float(problem.objective(start)) == pytest.approx(104.58, abs=0.005)


def test_code_and_logits_are_linear():
    layers = [{"weight": jnp.full((1, 1), 3.0), "bias": jnp.ones(1)} for _ in range(4)]
    x = jnp.ones((1, 1))
    h = np.tanh(4.0)
    code = 3 * h + 1
    expected = 3 * np.tanh(3 * code + 1) + 1
    assert float(training.autoencoder(layers, x)[0, 0]) == pytest.approx(expected, rel=1e-14)


def test_the_entropy_is_the_floor_of_the_loss():
    assert training.entropy(training.digits(1797)) == pytest.approx(13.658, abs=5e-4)
    assert training.entropy(np.array([[0.5, 1.0, 0.0]])) == pytest.approx(np.log(2))


def test_blocks_are_measured_by_the_diagonal_ones():
    M = np.block([[4 * np.ones((2, 2)), np.ones((2, 1))], [np.ones((1, 2)), np.ones((1, 1))]])
    np.testing.assert_allclose(structure.block_ratios_of(M, (2, 1)), [[1, 0.5], [0.5, 1]])
