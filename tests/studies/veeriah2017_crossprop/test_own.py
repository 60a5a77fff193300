"""What is particular to the study of crossprop: ends of stages, ratios, what a window holds."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import xarray as xr

from thalweg.dynamics import gradient_descent
from thalweg.models import gaussian_start, mlp
from thalweg.problems import geoff_stream
from thalweg.studies.veeriah2017_crossprop import claims, streams


def test_the_end_of_a_stage_is_its_last_tenth():
    example = 5 * np.arange(1, 21)  # two stages of 50
    loss = xr.DataArray([np.where(example % 50 == 0, 7.0, 1.0)], dims=("run", "example"))
    found = xr.Dataset({"loss": loss}, {"example": example}).assign_attrs(length=50)
    assert claims.ends(found, "loss").values.tolist() == [7.0, 7.0]


def test_a_ratio_is_of_means_at_the_last_record():
    values = xr.DataArray([[1.0, 4.0], [2.0, 1.0]], dims=("learner", "example"))
    found = xr.Dataset({"features_mean": values}, {"learner": ["backpropagation", "crossprop"]})
    assert float(claims.ratio(found, "features", "crossprop")) == 0.25


def test_curves_are_those_of_a_plain_loop():
    model = gaussian_start(mlp([3]), 1.0)
    stream = geoff_stream(model, length=4, inputs=3, features=5, stages=["A", "B"])
    start = stream.init(jax.random.key(0))
    found = streams.curves_of(gradient_descent(0.01), [stream], [start], 2)
    params, losses, drift = start, [], []
    for k in range(8):
        one = stream.on(jnp.array([k]))
        loss, slope = jax.value_and_grad(one.objective)(params)
        losses.append(float(loss))
        params = jax.tree.map(lambda p, g: p - jnp.float32(0.01) * g, params, slope)
        drift.append(
            sum(
                float(jnp.sum((a - b) ** 2))
                for a, b in zip(jax.tree.leaves(params[0]), jax.tree.leaves(start[0]), strict=True)
            )
        )
    assert found["example"].values.tolist() == [2, 4, 6, 8]
    expected = np.array(losses).reshape(4, 2).mean(axis=1)
    np.testing.assert_allclose(found["loss"].values[0], expected, rtol=1e-5)
    np.testing.assert_allclose(found["features"].values[0], drift[1::2], rtol=1e-4)


def test_every_rule_and_optimiser_has_a_name():
    learners = streams.RULES | streams.OPTIMISERS
    assert len(learners) == 8
    for make in learners.values():
        assert make(0.1).name
    with pytest.raises(KeyError):
        streams.RULES["nothing"]
