"""What is particular to the study of piecewise linear solutions: its data and what it averages."""

import jax
import numpy as np

from thalweg.models import MeanFieldNet
from thalweg.studies.shevchenko2021_piecewise_linear import particles, wide
from thalweg.theory.mean_field.cold import cold_net


def test_the_data_are_those_of_the_paper():
    assert wide.PLATEAUS.x.round(12).tolist() == [
        1, 1.1, 1.2, 1.3, 2, 2.1, 2.2, 2.3, 3, 3.1, 3.2, 3.3,
    ]  # fmt: skip
    assert wide.PLATEAUS.y.tolist() == 4 * [0] + 4 * [1] + 4 * [0]
    assert dict(zip(*wide.SEVEN, strict=True)) == {2: -1, 3: -2, 4: -1, 5: -1, 6: -2, 7: -1, 8: 1}


def test_polynomials_at_knots_and_between():
    """Two points: f_1 = (10 x + 1)^2/101 on the only gap, its mirror image the other."""
    net = cold_net(*wide.TWO_POINTS, 1.0)
    least, zero = wide.polynomials_at(net.arcs.x, net.R, 1.0, net.knots)
    assert -1e-12 < least < 3e-3  # between the points of a grid
    assert zero < 1e-12
    _, off = wide.polynomials_at(net.arcs.x, net.R, 1.0, np.array([0.0]))
    np.testing.assert_allclose(off, 1 / 101)


def test_the_mean_is_that_of_the_last_half():
    values = np.arange(12.0).reshape(2, 6)
    assert particles.late(values).tolist() == [4.0, 10.0]


def test_what_is_followed_is_the_net():
    """The observed outputs and moments are those of the parameters at the end."""
    size = particles.Particles((7,), 0.01, 0.1, 50.0, 20, seeds=2, records=4)
    run = particles.followed(wide.TWO_POINTS, 7, size, np.array([-1.0, 0.5, 3.0]))
    net = MeanFieldNet(7)
    assert run.outputs.shape == (2, 5, 3)
    np.testing.assert_allclose(run.time, 0.02 * np.arange(0, 21, 5))
    for seed in range(2):
        params = jax.tree.map(lambda leaf, seed=seed: leaf[seed], run.params)
        a, w, b = np.asarray(net.neurons(params)).T
        for x, seen in zip([-1.0, 0.5, 3.0], run.outputs[seed, -1], strict=True):
            np.testing.assert_allclose(seen, np.mean(a * np.maximum(w * x + b, 0)), rtol=1e-12)
        np.testing.assert_allclose(run.square[seed, -1], np.mean(a**2 + w**2 + b**2))
    assert np.abs(run.outputs[0] - run.outputs[1]).max() > 0.1
