"""The modified flow against its closed form on a quadratic, and its order against descent."""

from __future__ import annotations

import numpy as np
import pytest

import thalweg as tw
from thalweg.dynamics import gradient_flow, modified_flow
from thalweg.problems import Function


def test_on_a_quadratic_it_is_the_closed_form():
    """Rates a + eta a^2/2 where descent has -log(1 - eta a)/eta."""
    a, eta = np.array([0.5, 1.0, 3.0]), 0.2
    bowl = Function(lambda x: 0.5 * (x**2 * a).sum(), start=np.ones(3))
    path = tw.run(bowl, modified_flow(eta, error=1e-9), until=1.0, records=2, progress=False)
    expected = np.exp(-(a + eta * a**2 / 2))
    np.testing.assert_allclose(path.parameters.values[0, -1], expected, rtol=1e-7)
    assert path.dataset["evaluations"].values[0, -1] % 3 == 0
    spent = path.dataset["solver_evaluations"].sum("spent_on")
    np.testing.assert_array_equal(spent, path.dataset["evaluations"])


@pytest.mark.thorough
def test_descent_is_nearer_to_it_by_an_order():
    data = np.random.default_rng(0).normal(size=(8, 3)), np.eye(2)[np.arange(8) % 2]
    problem = tw.problems.supervised(tw.models.mlp([4], "tanh"), data)
    off = {"modified": [], "gradient": []}
    for eta in (0.2, 0.1):
        steps = tw.run(problem, tw.gradient_descent(eta), until=4.0, records=1, progress=False)
        for name, flow in (
            ("modified", modified_flow(eta, error=1e-8)),
            ("gradient", gradient_flow(error=1e-8)),
        ):
            path = tw.run(problem, flow, until=4.0, records=1, progress=False)
            off[name].append(np.linalg.norm((path.parameters - steps.parameters).values[0, -1]))
    assert off["modified"][0] / off["modified"][1] == pytest.approx(4, rel=0.15)
    assert off["gradient"][0] / off["gradient"][1] == pytest.approx(2, rel=0.15)
    assert off["modified"][0] < off["gradient"][0] / 4
