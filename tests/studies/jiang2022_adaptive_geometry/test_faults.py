"""Planted faults: every claim of the study fails when what it rests on is wrong."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import xarray as xr

from thalweg.comparison import equal_loss as matched_loss
from thalweg.core.result import Reading
from thalweg.curvature import diagonal_ratio
from thalweg.lab.claims import judge
from thalweg.lab.study import Lab
from thalweg.problems.linear_targets import DeepLinear
from thalweg.studies.jiang2022_adaptive_geometry import STUDY, linear, network
from thalweg.theory.landscape import adaptive_geometry

LAB = Lab(progress=False)


@pytest.fixture
def fault(monkeypatch):
    """A function that replaces `place.name` by wrong(right, *arguments)."""

    def plant(place, name, wrong):
        right = getattr(place, name)
        monkeypatch.setattr(place, name, lambda *a, **k: wrong(right, *a, **k))

    return plant


def word(claim, **found):
    results = {name.replace("_", "-"): data for name, data in found.items()}
    (verdict,) = judge([c for c in STUDY.claims if c.id == claim], results)
    return verdict.word


def transposed(right, W1, W2, correlation):
    return right(W1.T, W2, correlation)


def white(right, W1, W2, correlation):
    return right(W1, W2)


def other_index(right, W1, W2, correlation):
    found = right(W1, W2, correlation)
    return type(found)(found.first.T, found.second)


C1 = {
    "W_1^T Lambda W_1": (adaptive_geometry, "two_layer_diagonals", transposed),
    "Lambda left out": (adaptive_geometry, "two_layer_diagonals", white),
    "i and j exchanged": (adaptive_geometry, "two_layer_diagonals", other_index),
    "no factor 1/2 in the loss": (DeepLinear, "objective", lambda right, *a: 2 * right(*a)),
}


@pytest.mark.parametrize("name", C1)
def test_c1_fails(fault, name):
    jax.clear_caches()
    fault(*C1[name])
    assert word("C1", X1_hessian=linear.hessian_diagonals(LAB)) == "not reproduced"
    jax.clear_caches()


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


def stopped_early(right, dynamics, starts):
    path = right(dynamics, starts)
    return path._replace(loss=path.loss.at[:, 40:].set(path.loss[:, 40:41]))


X1 = {
    "C2: decaying mode": ("C2", adaptive_geometry, "growing_vector", difference),
    "C2: without W_2": ("C2", adaptive_geometry, "growing_vector", first_layer_only),
    "C2: |a| left out": ("C2", adaptive_geometry, "growing_vector", target_not_normed),
    "C2: W_1 transposed": ("C2", adaptive_geometry, "growing_vector", rows_for_columns),
    "C2: entries not squared": ("C2", adaptive_geometry, "white_ratios", unsquared),
    "C2: Adam in its place": ("C2", linear, "optimiser", only("Adam")),
    "C2: loss not reached": ("C2", linear, "follow", stopped_early),
    "C3: descent in its place": ("C3", linear, "optimiser", only("SGD with momentum")),
    "C3: large epsilon": ("C3", linear, "optimiser", gradient_sized_epsilon),
    "C4: entries not squared": ("C4", adaptive_geometry, "white_ratios", unsquared),
    "C4: Adam in its place": ("C4", linear, "optimiser", only("Adam")),
    "C6: start not small": ("C6", linear, "draw", large_start),
}


@pytest.mark.parametrize("name", X1)
def test_the_linear_net_notices(fault, monkeypatch, name):
    monkeypatch.setattr(linear, "SIZES", (16,))
    claim, *planted = X1[name]
    fault(*planted)
    assert word(claim, X1=linear.linear_net(LAB)) == "not reproduced"


def over_mean(values):
    size = jnp.abs(values)
    return jnp.max(size, axis=-1) / jnp.mean(size, axis=-1)


C5 = {
    "mean for median": lambda right, values: over_mean(values),
    "factor 2": lambda right, values: 2 * right(values),
    "normals not squared": lambda right, values: jnp.sqrt(right(values)),
}


@pytest.mark.parametrize("name", C5)
def test_c5_fails(fault, name):
    fault(adaptive_geometry, "max_over_median", C5[name])
    assert word("C5", X1_expectation=linear.expectation(LAB)) == "not reproduced"


# The network: trained once, looked at wrongly.


@pytest.fixture(scope="module")
def small():
    """Both optimisers from one start, few coordinates, at a large and at a small loss."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(network, "SAMPLE", 50)
        yield network.matched_runs(LAB, 0, 70, (1.4, 0.24))


def inverted(right, values):
    return 1 / right(values)


def ratios_of(runs):
    return network.at_levels(runs).expand_dims("seed")


def words(data):
    return {word(claim, X2=data) for claim in ("C7", "C8")}


def test_one_optimiser_has_no_advantage(small):
    right = ratios_of(small)
    assert words(right) == {"reproduced"}
    adam = right.sel(optimiser="Adam")
    alike = xr.concat([adam, adam], xr.Variable("optimiser", right["optimiser"].values))
    assert words(alike) == {"not reproduced"}
    assert words(right.assign_coords(optimiser=right["optimiser"].values[::-1])) == {
        "not reproduced"
    }


def test_median_over_largest_is_noticed(fault, small):
    fault(diagonal_ratio, "max_over_median", inverted)
    assert words(ratios_of(small)) == {"not reproduced"}


def test_equal_steps_are_not_equal_losses(fault, monkeypatch):
    monkeypatch.setattr(network, "SAMPLE", 10)
    fault(matched_loss, "records_at", lambda right, losses, levels: np.array([10, 20]))
    runs = network.matched_runs(LAB, 0, 20, (1.4, 0.24))
    assert words(ratios_of(runs)) == {"not reproduced"}


def always_ten(right, operator, key, *, method, products=60):
    return right(operator, key, method=method, products=10)


def spread_for_error(right, operator, key, *, method, products=60):
    read = right(operator, key, method=method, products=products)
    return Reading(read.value, read.error * products**0.5, read.result)


def biased(right, operator, key, *, method, products=60):
    read = right(operator, key, method=method, products=products)
    factor = 3.0 if method == "hutchinson" else 1.0
    return Reading(factor * read.value, read.error, read.result)


C10 = {
    "always ten products": always_ten,
    "spread for standard error": spread_for_error,
    "factor in the estimate": biased,
}


@pytest.mark.parametrize("name", C10)
def test_c10_fails(fault, monkeypatch, small, name):
    monkeypatch.setattr(network, "SAMPLE", 50)
    monkeypatch.setattr(network, "PRODUCTS", {10: 8, 100: 2})
    fault(network, "matched_runs", lambda right, *a: small)
    fault(network, "diagonal", C10[name])
    assert word("C10", X2_estimators=network.estimators(LAB)) == "not reproduced"
