"""First crossings against curves whose crossings are known."""

import numpy as np
import pytest

from thalweg.comparison.crossing import first_crossing
from thalweg.core.errors import InputError


def test_a_straight_line_is_crossed_where_it_says():
    times = np.array([0.0, 0.3, 1.0, 1.1, 2.0])
    found = first_crossing(times, 3 * times - 1, 0.5)
    assert found.time == pytest.approx(0.5, abs=1e-15)
    assert found.error == pytest.approx(0, abs=1e-15)


def test_many_sigmoids_within_their_errors():
    times, centres = np.linspace(0, 10, 201), np.array([[2.013, 5.5], [7.77, 3.0001]])
    values = 1 / (1 + np.exp(-2 * (times[:, None, None] - centres)))
    found = first_crossing(times, values, np.array([0.3, 0.6]))
    exact = centres + np.log(np.array([0.3, 0.6]) / np.array([0.7, 0.4])) / 2
    assert found.time.shape == (2, 2)
    assert (np.abs(found.time - exact) <= found.error + 1e-12).all()
    assert (found.error < 3e-3).all()


def test_only_the_first_rise_counts_and_none_is_nan():
    times = np.arange(6.0)
    waves = np.array([[2.0, 0.0, 2.0, 0.0, 2.0, 0.0], [0.0, 0.1, 0.2, 0.1, 0.0, 0.0]]).T
    found = first_crossing(times, waves, 1.0)
    assert found.time[0] == 1.5
    assert np.isnan(found.time[1])


@pytest.mark.parametrize("shape", [(2,), (4,)])
def test_shapes_must_fit(shape):
    with pytest.raises(InputError, match="at least 3"):
        first_crossing(np.arange(shape[0]), np.zeros(5), 1.0)
