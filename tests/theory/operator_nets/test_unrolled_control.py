"""The solver as a network: iterate by iterate, for part of the times, scaled, with factors."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import thalweg as tw
from thalweg.models import factor_regulariser
from thalweg.theory.inverse_problems.boundary_control import control_operators
from thalweg.theory.inverse_problems.time_reversal import landweber
from thalweg.theory.operator_nets.unrolled_control import unrolled_control

N, LAYERS = 6, 5
MEDIA = tw.problems.wave_media(jax.random.key(4), 2, N, 0.7)
OPERATORS = jnp.asarray(MEDIA.operators)


def solver(**options):
    return unrolled_control(
        N, MEDIA.time_step, LAYERS, **{"bound": 0.1, "readout": False} | options
    )


@pytest.mark.parametrize("reach", [1, 4, N])
def test_layers_are_iterations(reach):
    """Every state is the next iterate and its time-reversed average; scaling the maps is undone."""
    net = solver(penalty=0.03, reach=reach, scale=3.0)
    states = np.asarray(net.model.states(net.start, OPERATORS / 3.0))
    for i, response in enumerate(MEDIA.responses):
        control = control_operators(response, MEDIA.time_step)
        for m in range(LAYERS + 1):
            f = landweber(control, m, 0.03, 0.1, reach)
            np.testing.assert_allclose(states[m, i, :N], f, rtol=1e-12, atol=1e-14)
            assert not states[m, i, N : 2 * N].any()


def test_tied_or_with_factors_beside_it_starts_alike():
    shape, X = (2 * N, 2 * N), OPERATORS
    starts = []
    for options in ({}, {"tied": True}, {"rank": 3}, {"rank": 3, "tied": True}):
        net = solver(**options)
        params = net.init(jax.random.key(0), shape, 4 * N)
        starts.append(np.asarray(net.apply(params, X)))
        if "rank" in options:
            assert float(factor_regulariser(params)) > 0
    for other in starts[1:]:
        np.testing.assert_allclose(other, starts[0], rtol=1e-12, atol=1e-14)


def test_factors_beside_it_are_trained():
    net = unrolled_control(N, MEDIA.time_step, LAYERS, 0.1, rank=2)
    problem = tw.problems.supervised(net, (MEDIA.operators, MEDIA.volumes[:, None]))
    params = problem.init(jax.random.key(0))
    b = control_operators(MEDIA.responses[0], MEDIA.time_step).b
    f = landweber(control_operators(MEDIA.responses[0], MEDIA.time_step), LAYERS, 0.0, 0.1)
    assert float(problem.outputs(params)[0, 0]) == pytest.approx(float(b @ f), rel=1e-12)
    slopes = jax.grad(problem.objective)(params)
    assert float(jnp.max(jnp.abs(slopes[1]["B0"]["right"]))) > 0
    assert float(jnp.max(jnp.abs(slopes[1]["B0"]["left"]))) == 0  # its partner is zero at first


@pytest.mark.parametrize(
    "wrong",
    [
        {"reach": 0}, {"reach": N + 1}, {"bound": 0.0}, {"penalty": 0.2}, {"penalty": -0.1},
        {"scale": 0.0},
    ],
)  # fmt: skip
def test_what_cannot_be_is_told(wrong):
    with pytest.raises(tw.InputError, match="came as"):
        solver(**wrong)
