"""What is particular to the study of weight normalisation: its draws."""

import numpy as np
import pytest

from thalweg.studies.wu2020_weight_normalization import flow, phases, steps


def test_the_draw_is_that_of_the_specification():
    at = flow.draw(0, 10, 30, 1.0)
    assert at.target.norm == pytest.approx(3.1198, abs=5e-5)
    assert at.target.least == pytest.approx(0.2495, abs=5e-5)
    assert at.perp == pytest.approx(0.72762, abs=5e-6)


def test_orthonormal_rows_have_the_same_solution():
    plain = steps.Sweep(draws=3).systems[2]
    at = phases.orthonormal(plain)
    np.testing.assert_allclose(at.A @ at.A.T, np.eye(20), atol=1e-14)
    np.testing.assert_allclose(at.target.solution, plain.target.solution, atol=1e-13)


@pytest.mark.parametrize("condition", [1.0, 30.0])
def test_the_condition_number_is_that_asked_for(condition):
    target = steps.conditioned(condition, 6, 15).target
    assert target.most == pytest.approx(1.0)
    assert target.most / target.least == pytest.approx(condition)
