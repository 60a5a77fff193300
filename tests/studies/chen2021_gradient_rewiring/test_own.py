"""What is particular to the study: its data, and how connections are counted."""

import jax
import numpy as np
import pytest
import xarray as xr

from thalweg.lab.experiment import Lab
from thalweg.lab.runner import experiments
from thalweg.studies.chen2021_gradient_rewiring import training
from thalweg.studies.chen2021_gradient_rewiring.exact import back
from thalweg.studies.chen2021_gradient_rewiring.training import Images, counts, task


def test_bits_of_presence_are_counted_as_they_stand():
    rng = np.random.default_rng(0)
    there = rng.random((2, 5, 37)) < 0.4  # 37 does not fill its bytes
    told = counts(np.packbits(there, axis=-1), 37)
    np.testing.assert_allclose(told["connectivity"], there.mean(-1))
    np.testing.assert_array_equal(told["pruned"], (there[:, :-1] & ~there[:, 1:]).sum(-1))
    np.testing.assert_array_equal(told["regrown"], (~there[:, :-1] & there[:, 1:]).sum(-1))
    weights = np.where(there[0], 1.0, 0.0)
    assert back({"weight": weights}) == told["regrown"][0].sum()
    assert back({"weight": weights}, 2) == told["regrown"][0][2:].sum()


def test_the_split_is_stratified_and_the_net_the_papers():
    at = task(Images(samples=200))
    assert at.problem.inputs.shape == (150, 64)
    assert at.inputs.shape == (50, 64)
    assert np.ptp(np.bincount(np.asarray(at.labels), minlength=10)) <= 1
    weights = at.problem.init(jax.random.key(0))
    assert [layer["weight"].shape for layer in weights] == [(200, 64), (10, 200)]
    assert all("bias" not in layer for layer in weights)


@pytest.mark.thorough
def test_training_that_is_stopped_goes_on_to_the_same_bits(study, results, tmp_path, monkeypatch):
    train, calls = training.trained, []

    def watched(method, *rest):
        calls.append(method)
        if len(calls) == 4:  # the dense net and two that rewire are there
            raise KeyboardInterrupt
        return train(method, *rest)

    monkeypatch.setattr(training, "trained", watched)
    lab = Lab("smoke", tmp_path)
    with pytest.raises(KeyboardInterrupt):
        experiments(study, lab, only=["X1"])
    found, _ = experiments(study, lab, only=["X1"])
    last = "magnitude, fine-tuned"
    assert calls == ["dense", "Grad R", "Grad R", last, last]
    xr.testing.assert_identical(found["X1"], results["X1"])
