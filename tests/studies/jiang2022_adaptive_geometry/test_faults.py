"""Planted faults: every claim of the study fails when what it rests on is wrong."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import xarray as xr

from planting import LAB, Fault, fault_table
from thalweg.comparison import equal_loss
from thalweg.core.result import Reading
from thalweg.curvature import diagonal_ratio
from thalweg.problems.linear_targets import DeepLinear
from thalweg.studies.jiang2022_adaptive_geometry import linear, network
from thalweg.theory.landscape import adaptive_geometry as theory

DESCENT, ADAM = linear.OPTIMISERS


def transposed(right, W1, W2, correlation):
    return right(W1.T, W2, correlation)


def white(right, W1, W2, correlation):
    return right(W1, W2)


def other_index(right, W1, W2, correlation):
    found = right(W1, W2, correlation)
    return type(found)(found.first.T, found.second)


def difference(right, W1, W2, a):
    return right(W1, -W2, a)


def first_layer_only(right, W1, W2, a):
    return right(W1, 0 * W2, a)


def target_not_normed(right, W1, W2, a):
    return right(W1 * jnp.linalg.norm(a), W2, a)


def rows_for_columns(right, W1, W2, a):
    return right(W1.T, W2, a)


def unsquared(right, W1, W2):
    return jnp.sqrt(right(W1, W2))


def large_start(right, d, seed):
    return right(d, seed, scale=1.0)


def only(name):
    return lambda right, other, d, *a: right(name, d, *a)


def gradient_sized_epsilon(right, name, d, *a):
    return right(name, d, 0.1)


def stopped_early(right, *a):
    run = right(*a)
    stopped = run.loss.copy()
    stopped[:, 40:] = stopped[:, 40:41]
    return run._replace(loss=stopped)


def over_mean(right, values):
    size = jnp.abs(values)
    return jnp.max(size, axis=-1) / jnp.mean(size, axis=-1)


def planted(claim, place, name, wrong, about, **sizes):
    return Fault(claim, place, name, wrong, about, sizes)


@fault_table(
    planted("C1", theory, "two_layer_diagonals", transposed, "W_1^T Lambda W_1"),
    planted("C1", theory, "two_layer_diagonals", white, "Lambda left out"),
    planted("C1", theory, "two_layer_diagonals", other_index, "i and j exchanged"),
    planted("C2", theory, "growing_vector", difference, "decaying mode"),
    planted("C2", theory, "growing_vector", first_layer_only, "without W_2"),
    planted("C2", theory, "growing_vector", target_not_normed, "|a| left out"),
    planted("C2", theory, "growing_vector", rows_for_columns, "W_1 transposed"),
    planted("C2", linear, "optimiser", only(ADAM), "Adam in its place"),
    planted("C2", linear, "follow", stopped_early, "loss not reached"),
    planted("C3", linear, "optimiser", only(DESCENT), "descent in its place"),
    planted("C3", linear, "optimiser", gradient_sized_epsilon, "large epsilon"),
    planted("C4", linear, "optimiser", only(ADAM), "Adam in its place"),
    planted("C5", theory, "max_over_median", over_mean, "mean for median"),
    planted("C5", theory, "max_over_median", lambda r, v: 2 * r(v), "factor 2"),
    planted("C5", theory, "max_over_median", lambda r, v: jnp.sqrt(r(v)), "normals not squared"),
    planted("C6", linear, "draw", large_start, "start not small"),
)
def test_faults(fault, noticed):
    assert noticed(fault) == "not reproduced"


@fault_table(
    planted("C1", DeepLinear, "objective", lambda right, *a: 2 * right(*a), "no factor 1/2"),
    planted("C2", theory, "white_ratios", unsquared, "entries not squared"),
    planted("C4", theory, "white_ratios", unsquared, "entries not squared"),
)
def test_faults_in_what_is_compiled(fault, noticed):
    jax.clear_caches()
    assert noticed(fault) == "not reproduced"
    jax.clear_caches()


# The network: trained once, looked at wrongly.


@pytest.fixture(scope="module")
def small():
    """Both optimisers from one start, at a large and at a small loss."""
    return network.matched_runs(LAB, 0, network.network_ratios.sizes["smoke"])


def ratios_of(runs):
    return network.at_levels(runs).expand_dims("seed")


@pytest.fixture
def words(word):
    return lambda data: {word(claim, X2=data) for claim in ("C7", "C8")}


def test_one_optimiser_has_no_advantage(results, words):
    right = results["X2"]
    assert words(right) == {"reproduced"}
    adam = right.sel(optimiser=ADAM)
    alike = xr.concat([adam, adam], xr.Variable("optimiser", right["optimiser"].values))
    assert words(alike) == {"not reproduced"}
    exchanged = right.assign_coords(optimiser=right["optimiser"].values[::-1])
    assert words(exchanged) == {"not reproduced"}


def inverted(right, values):
    return 1 / right(values)


def always(right, losses, levels):
    return np.array([10, 20])


@fault_table(
    planted("C7", diagonal_ratio, "max_over_median", inverted, "median over largest"),
    planted("C8", diagonal_ratio, "max_over_median", inverted, "median over largest"),
)
def test_ratios_notice(fault, plant, small, word):
    plant(fault.place, fault.name, fault.wrong)
    assert word(fault.claim, X2=ratios_of(small)) == "not reproduced"


def test_equal_steps_are_not_equal_losses(plant, words):
    plant(equal_loss, "records_at", always)
    short = network.Training(seeds=(0,), steps=20, levels=(1.4, 0.24), sample=10)
    assert words(ratios_of(network.matched_runs(LAB, 0, short))) == {"not reproduced"}


def always_ten(right, operator, key, *, method, products=60):
    return right(operator, key, method=method, products=10)


def spread_for_error(right, operator, key, *, method, products=60):
    read = right(operator, key, method=method, products=products)
    return Reading(read.value, read.error * products**0.5, read.result)


def biased(right, operator, key, *, method, products=60):
    read = right(operator, key, method=method, products=products)
    factor = 3.0 if method == "hutchinson" else 1.0
    return Reading(factor * read.value, read.error, read.result)


@fault_table(
    planted("C10", network, "diagonal", always_ten, "always ten products"),
    planted("C10", network, "diagonal", spread_for_error, "spread for standard error"),
    planted("C10", network, "diagonal", biased, "factor in the estimate"),
)
def test_the_estimator_notices(fault, noticed, plant, small):
    plant(network, "matched_runs", lambda right, *a: small)
    assert noticed(fault) == "not reproduced"
