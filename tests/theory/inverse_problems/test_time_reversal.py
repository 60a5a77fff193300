"""Landweber's iteration against gradient descent, its limit, and the spectrum."""

import numpy as np
import pytest

import thalweg as tw
from thalweg.core.errors import InputError
from thalweg.theory.inverse_problems import boundary_control as bc
from thalweg.theory.inverse_problems import time_reversal as tr

MEDIA = tw.problems.layered_media([[0.7, 1.4, 1.0]], steps=6, horizon=0.9)
ONE = bc.control_operators(MEDIA.responses[0], MEDIA.time_step)
NORM = float(np.linalg.norm(ONE.K, 2))


@pytest.mark.parametrize("reach", [None, 4])
def test_steps_are_those_of_maps_and_time_reversal(reach):
    """K as J Lambda - R Lambda R J on all 2N times, never formed; P keeps the last times."""
    J = MEDIA.time_step**2 * bc.time_average(6)
    Lambda, R = MEDIA.operators[0], np.eye(12)[::-1]
    kept = np.zeros(12)
    kept[6 - (reach or 6) : 6] = 1
    right = kept * np.pad(ONE.b, (0, 6))
    f, alpha, omega = np.zeros(12), 0.02 * NORM, 1.3 * NORM
    for _ in range(9):
        turned = J @ (Lambda @ f) - R @ (Lambda @ (R @ (J @ f)))
        f = (1 - alpha / omega) * f - kept * turned / omega + right / omega
    np.testing.assert_allclose(tr.landweber(ONE, 9, alpha, omega, reach), f[:6], rtol=1e-12)


def test_it_is_gradient_descent_on_the_control_problem():
    alpha, omega = 0.05 * NORM, 1.2 * NORM
    problem = tr.control_problem(ONE, alpha, 4)
    run = tw.run(
        problem, tw.gradient_descent(1 / omega), times=np.arange(9) / omega, progress=False
    )
    found = np.asarray(run.parameters.values[0, -1])
    np.testing.assert_allclose(found, tr.landweber(ONE, 8, alpha, omega, 4)[2:], rtol=1e-12)
    limit = bc.control(ONE, alpha, 4)[2:]
    assert float(problem.objective(limit)) == pytest.approx(-limit @ ONE.b[2:] / 2)


@pytest.mark.parametrize("reach", [None, 4])
def test_its_distance_is_predicted_and_bounded(reach):
    alpha, omega = 0.05 * NORM, 1.2 * NORM
    limit = bc.control(ONE, alpha, reach)
    counts = np.array([0, 1, 5, 60])
    measured = [
        np.linalg.norm(tr.landweber(ONE, m, alpha, omega, reach) - limit) for m in counts
    ] / np.linalg.norm(limit)
    predicted = tr.landweber_distance(ONE, alpha, omega, reach).at(counts / omega)
    bound = tr.landweber_bound(ONE, alpha, omega, reach).at(counts / omega)
    np.testing.assert_allclose(measured, predicted, rtol=1e-9)
    assert np.all(measured <= bound * (1 + 1e-12))
    assert bound[-1] < 0.1
    late = tr.landweber_distance(ONE, alpha, omega, reach).at([400 / omega, 401 / omega])
    rate = (
        1 - (alpha + np.linalg.eigvalsh(ONE.K[6 - (reach or 6) :, 6 - (reach or 6) :])[0]) / omega
    )
    assert late[1] / late[0] == pytest.approx(rate, rel=1e-6)


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: tr.landweber(ONE, -1, 0.0), "count came as -1"),
        (lambda: tr.landweber(ONE, 1, 0.0, NORM / 2), "give at least the norm of K"),
        (
            lambda: tr.landweber(bc.control_operators(MEDIA.responses, 0.15), 1, 0.0),
            "give one medium's",
        ),
        (
            lambda: tr.landweber(bc.control_operators(np.zeros(4), 0.15), 1, 0.0),
            "nothing was heard",
        ),
    ],
)
def test_bad_input_is_told_in_a_sentence(call, said):
    with pytest.raises(InputError, match=said):
        call()
