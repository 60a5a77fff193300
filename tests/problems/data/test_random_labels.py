"""Random data: their law, their independence, their kinds."""

import numpy as np
import pytest
from scipy import stats

from thalweg.core.errors import InputError
from thalweg.problems.data.random_labels import random_data


def test_inputs_are_normal_and_labels_do_not_look_at_them():
    data = random_data(4000, 3, "gaussian", seed=1)
    assert data.task == "regression"
    assert data.targets.shape == (4000, 1)
    for column in (*data.inputs.T, data.targets[:, 0]):
        assert stats.kstest(column, stats.norm.cdf).pvalue > 1e-3
    both = np.corrcoef(np.c_[data.inputs, data.targets].T)
    assert np.abs(both - np.eye(4)).max() < 4 / np.sqrt(4000)


def test_signs_on_a_sphere():
    data = random_data(400, (1, 4, 4), "signs", norm=2.5, seed=3)
    assert data.inputs.shape == (400, 1, 4, 4)
    np.testing.assert_allclose(np.linalg.norm(data.inputs.reshape(400, -1), axis=1), 2.5)
    assert set(np.unique(data.targets)) == {-1.0, 1.0}
    assert stats.binomtest(int((data.targets > 0).sum()), 400).pvalue > 1e-3


def test_classes_are_uniform_even_where_one_is_missing():
    data = random_data(5000, 2, 10, seed=0)
    assert data.task == "classification"
    assert stats.chisquare(np.bincount(data.targets, minlength=10)).pvalue > 1e-3
    few = random_data(3, 2, 10, seed=0)
    assert few.classes == tuple("0123456789")
    assert few.targets.shape == (3,)


def test_a_seed_names_the_inputs_whatever_the_labels():
    a, b = random_data(5, 2, "signs", seed=7), random_data(5, 2, 3, seed=7)
    np.testing.assert_array_equal(a.inputs, b.inputs)
    assert not np.array_equal(a.inputs, random_data(5, 2, 3, seed=8).inputs)


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        ((0, 2, "signs"), "sizes"),
        ((3, (), "signs"), "sizes"),
        ((3, 2, "sign"), "Did you mean 'signs'"),
        ((3, 2, 1), "classes"),
    ],
)
def test_bad_input_is_refused(arguments, word):
    with pytest.raises(InputError, match=word):
        random_data(*arguments)
    with pytest.raises(InputError, match="norm"):
        random_data(3, 2, "signs", norm=-1.0)
