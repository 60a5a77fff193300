"""The study of adaptive geometry: sound declarations, and what holds on a small part of it."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from thalweg.lab.claims import judge
from thalweg.lab.study import Lab
from thalweg.problems import Function
from thalweg.report.drawing import draw
from thalweg.studies.jiang2022_adaptive_geometry import STUDY, linear, network

LAB = Lab(progress=False)


@pytest.fixture(scope="module")
def results():
    """Every experiment in small."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(linear, "SIZES", (16, 64, 128))
        patch.setattr(network, "SEEDS", (0,))
        patch.setattr(network, "STEPS", 70)
        patch.setattr(network, "LEVELS", (1.4, 0.24))
        patch.setattr(network, "SAMPLE", 50)
        patch.setattr(network, "PRODUCTS", {10: 64, 100: 16})
        return {name: experiment(LAB) for name, experiment in STUDY.experiments.items()}


def test_declarations_are_sound():
    ids = [claim.id for claim in STUDY.claims]
    assert ids == ["C1", "C2", "C3", "C4", "C5", "C6", "C7", "C8", "C10"]
    for claim in STUDY.claims:
        assert set(claim.needs) <= set(STUDY.experiments)
        assert not claim.failures
    used = {name for claim in STUDY.claims for name in claim.needs}
    drawn = {name for figure in STUDY.figures for name in figure.data_names()}
    assert used | drawn == set(STUDY.experiments)


@pytest.mark.slow
def test_every_figure_draws_what_is_there(results):
    for figure in STUDY.figures:
        assert draw(figure, results.__getitem__)["data"]


@pytest.mark.slow
def test_every_variable_says_what_it_is(results):
    for data in results.values():
        for name, array in data.data_vars.items():
            assert array.attrs.get("units"), name
            assert array.attrs.get("long_name"), name


@pytest.mark.slow
@pytest.mark.parametrize("claim", [claim.id for claim in STUDY.claims])
def test_claims_hold(results, claim):
    (verdict,) = judge([c for c in STUDY.claims if c.id == claim], results)
    assert verdict.word == "reproduced", verdict.check


def test_the_optimisers_are_those_of_the_paper():
    """V <- mu V + g, W <- W - eta V; Adam with bias correction and epsilon outside the root."""
    d, target = 4, np.array([1.0, -2.0, 0.5, 3.0])
    problem = Function(lambda w: jnp.sum((w**2 - target) ** 2), np.full(d, 0.3))

    def steps(name):
        dynamics = linear.optimiser(name, d, epsilon=1e-2)
        state = dynamics.init(problem, problem.start)
        for _ in range(5):
            state = dynamics.step(problem, state, jax.random.key(0))[0]
        return np.asarray(state.params)

    w, V = np.full(d, 0.3), np.zeros(d)
    for _ in range(5):
        V = 0.9 * V + 4 * w * (w**2 - target)
        w = w - 0.001 * V
    np.testing.assert_allclose(steps("SGD with momentum"), w, rtol=1e-13)
    w, m, v = np.full(d, 0.3), np.zeros(d), np.zeros(d)
    for t in range(1, 6):
        g = 4 * w * (w**2 - target)
        m, v = 0.9 * m + 0.1 * g, 0.9 * v + 0.1 * g**2
        w = w - 5e-4 * (m / (1 - 0.9**t)) / (np.sqrt(v / (1 - 0.9**t)) + 1e-2)
    np.testing.assert_allclose(steps("Adam"), w, rtol=1e-12)


def test_the_network_has_its_own_step_sizes():
    one, seven = (network.optimiser("SGD with momentum", seed) for seed in (1, 7))
    assert float(one.step_size) == 0.1
    assert float(seven.step_size) == 0.05
    assert float(network.optimiser("Adam", 7).step_size) == 5e-4
    assert isinstance(one.transform, optax.GradientTransformationExtraArgs)


@pytest.mark.slow
def test_training_to_the_matched_steps_is_the_same_run(results):
    """Both runs of a start pass the same losses, to the bit."""
    data = results["X2"].isel(seed=0)
    for name in data["optimiser"].values:
        one = data.sel(optimiser=name)
        at = one["loss"].sel(step=one["matched_step"]).values
        np.testing.assert_array_equal(at, one["matched_loss"].values)


@pytest.mark.slow
def test_full_scale_runs(monkeypatch):
    """The larger sizes in short."""
    lab = Lab("full", progress=False)
    for name, value in (("RECORDS", 3), ("SIZES", (8,)), ("EPSILONS", (1e-8,))):
        monkeypatch.setattr(linear, name, value)
    for name, value in (("FULL_SEEDS", (0, 3)), ("FULL_LEVELS", (2.0,)), ("SAMPLE", 20)):
        monkeypatch.setattr(network, name, value)
    monkeypatch.setattr(network, "FULL_STEPS", 20)
    monkeypatch.setattr(network, "FULL_PRODUCTS", {10: 2})
    monkeypatch.setattr(network, "STEPS", 20)
    monkeypatch.setattr(network, "LEVELS", (2.0,))
    found = {name: experiment(lab) for name, experiment in STUDY.experiments.items()}
    assert found["X1"].sizes["seed"] == 20
    assert found["X1"]["d"].values.tolist() == [8, 256, 512]
    assert found["X2"]["seed"].values.tolist() == [0, 3]
    assert found["X2-estimators"].sizes["products"] == 1
