"""What is particular to the study of practical sizes: its bound, its data, its larger sizes."""

import numpy as np

from thalweg.lab.claims import held
from thalweg.studies.kawaguchi2019_practical_sizes import descent


def test_the_bound_of_e3_lies_above_the_loss(results):
    runs = results["X2"]
    assert runs["loss_theory"].attrs["kind"] == "upper"
    assert held(runs, "loss").ok
    assert not held(runs.assign(loss=2 * runs["loss"]), "loss").ok


def test_training_data_are_not_test_data():
    data = descent.digits(0)
    joined = np.unique(data.inputs, axis=0)
    assert data.inputs.shape == (1200, 64)
    assert len(joined) == 1200
    assert 0 <= data.inputs.min() < data.inputs.max() <= 1


def test_full_scale_asks_for_more(study):
    full = {name: e.sizes["full"] for name, e in study.experiments.items() if e.sizes}
    assert (full["X1"].sizes, full["X1"].data_sets) == ((20, 40, 80), 16)
    assert full["X2"].sizes == full["X2-starts"].sizes == full["X2-narrow"].sizes == descent.SIZES
    assert full["X2-narrow"].widths == (2, 4, 8, 16)
    assert full["X2"].seeds == full["X2-rank"].seeds == full["X3"].seeds == 3
    assert full["X2-starts"].seeds == 100
