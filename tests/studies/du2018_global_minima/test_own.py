"""What is particular to the study of wide nets: its descent, its limits, its larger sizes."""

import importlib

import jax
import numpy as np
import pytest

from thalweg.driver.recorded import run
from thalweg.dynamics import gradient_descent
from thalweg.lab.experiment import Lab
from thalweg.models import TwoLayerNet
from thalweg.problems import supervised
from thalweg.studies.du2018_global_minima import gram, training

LAB = Lab("smoke", progress=False)


def test_descent_of_the_study_is_that_of_a_run():
    x, y = gram.unit((6, 5)), np.ones((6, 1))
    problem = supervised(TwoLayerNet(40), (x, y), reduction="sum")
    start = problem.init(jax.random.key(0))
    descent = gradient_descent(0.1)
    whole = run(problem, descent, 2.0, start=start, records=20, progress=False)
    losses, seen = training.descend(problem, start, 0.1, 20, training._two_layer_look)
    assert np.allclose(losses, whole.dataset["loss"][0], rtol=1e-12)
    assert seen["moved"].shape == (3,)
    assert seen["moved"][0] == 0
    weights = whole.parameters[0].values
    moved = np.linalg.norm((weights[-1] - weights[0])[:200].reshape(40, 5), axis=1)
    assert seen["moved"][2] == pytest.approx(moved.max(), rel=1e-12)


def test_the_means_are_a_quarter_of_the_limit(plant):
    """What a limit without b^(h) misses: 25 % of K^(H) with three layers."""
    x = gram.examples("resnet")
    right = np.asarray(gram.limit("resnet", x).gram.value)
    population = importlib.import_module("thalweg.kernels.population")
    plant(population, "gaussian_mean", lambda right, activation, variances, *a: 0 * variances)
    wrong = np.asarray(gram.limit("resnet", x).gram.value)
    assert abs(np.linalg.norm(right - wrong) / np.linalg.norm(right) - 0.25) < 0.02


def test_full_scale_has_the_larger_sizes(study):
    sizes = {name: e.sizes["full"] for name, e in study.experiments.items() if e.sizes}
    assert max(sizes["X1"].dense) == (4096, 20)
    assert sizes["X2"] == training.Deep((64, 256, 1024, 4096), 5)
    assert sizes["X2-data"] == training.DeepData(512, 32)
    assert (sizes["X3"].examples, sizes["X3"].steps, sizes["X3"].draws) == (1000, 100, 3)


@pytest.mark.slow
def test_two_layers_with_the_numbers_of_examples_of_the_paper():
    found = training.two_layers(LAB, widths=(1000, 2000), draws=1, examples=1000, steps=10)
    assert bool((found["room"] > 0).all())
    assert bool((found["moved"] < found["moved_bound"]).all())
