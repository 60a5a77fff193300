"""Planes and points around them: bases that are orthonormal, coordinates that come back."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from thalweg.core.errors import InputError
from thalweg.problems.data.planes import Plane, coordinate_plane, near_plane, plane_of, random_plane


def square(x):
    return (x**2).sum(axis=1)


@settings(max_examples=25)
@given(st.integers(1, 6), st.integers(0, 6), st.integers(0, 10_000))
def test_bases_and_coordinates(dimension, codimension, seed):
    plane = random_plane(dimension, codimension, seed)
    Q = np.hstack(plane)
    np.testing.assert_allclose(Q.T @ Q, np.eye(dimension + codimension), atol=1e-13)
    rng = np.random.default_rng(seed)
    x, y = rng.normal(size=(5, dimension)), rng.normal(size=(5, codimension))
    back = plane.coordinates(plane.points(x, y))
    np.testing.assert_allclose(back[0], x, atol=1e-13)
    np.testing.assert_allclose(back[1], y, atol=1e-13)


def test_random_planes_are_uniform():
    """E P P^T = (d_x/d) I."""
    mean = np.mean([(P := random_plane(2, 3, s).tangent) @ P.T for s in range(2000)], axis=0)
    np.testing.assert_allclose(mean, 0.4 * np.eye(5), atol=0.03)


def test_the_first_layer_acts_through_its_columns():
    plane, rng = random_plane(2, 3, 1), np.random.default_rng(0)
    W, x, y = rng.normal(size=(4, 5)), rng.normal(size=(6, 2)), rng.normal(size=(6, 3))
    A, B = plane.columns(W)
    np.testing.assert_allclose(plane.points(x, y) @ W.T, x @ A.T + y @ B.T, atol=1e-13)


def test_a_plane_is_found_from_its_points():
    plane = random_plane(3, 4, 2)
    data = near_plane(plane, 50, square)
    found = plane_of(data.inputs)
    assert found.tangent.shape == (7, 3)
    projector = plane.tangent @ plane.tangent.T
    np.testing.assert_allclose(found.tangent @ found.tangent.T, projector, atol=1e-13)
    np.testing.assert_allclose(found.normal.T @ plane.tangent, 0, atol=1e-13)


def test_noise_is_normal_below_the_tolerance_only():
    points = near_plane(random_plane(3, 4, 2), 4000, square, 0.01).inputs
    assert plane_of(points).tangent.shape == (7, 7)
    found = plane_of(points, 0.1)
    assert found.tangent.shape == (7, 3)
    tilt = np.linalg.norm(random_plane(3, 4, 2).normal.T @ found.tangent, 2)
    assert 0.2 < tilt / (0.01 / (3**-0.5 * 4000**0.5)) < 5


def test_points_on_the_coordinate_plane_have_no_normal_part_at_all():
    plane = coordinate_plane(2, 3)
    data = near_plane(plane, 40, square, law="normal")
    assert not np.any(data.inputs[:, 2:])
    np.testing.assert_array_equal(data.targets[:, 0], square(data.inputs[:, :2]))


def test_noise_changes_neither_tangent_coordinates_nor_targets():
    plane = coordinate_plane(1, 20)
    one, two = (near_plane(plane, 5000, np.sin, noise, seed=3) for noise in (0.0, 0.3))
    np.testing.assert_array_equal(one.inputs[:, :1], two.inputs[:, :1])
    np.testing.assert_array_equal(one.targets, two.targets)
    assert np.std(two.inputs[:, 1:]) == pytest.approx(0.3, rel=0.01)
    assert np.max(np.abs(one.inputs)) <= 1
    assert np.var(one.inputs[:, 0]) == pytest.approx(1 / 3, rel=0.05)
    other = near_plane(plane, 5000, np.sin, seed=4)
    assert np.any(other.inputs != one.inputs)


@pytest.mark.parametrize(
    "bad",
    [
        lambda: coordinate_plane(0, 2),
        lambda: random_plane(2, -1),
        lambda: plane_of(np.zeros((3, 2))),
        lambda: plane_of(np.ones(3)),
        lambda: plane_of(np.ones((3, 2)), 1.0),
        lambda: near_plane(coordinate_plane(1, 1), 0, np.sin),
        lambda: near_plane(coordinate_plane(1, 1), 5, np.sin, -1.0),
        lambda: near_plane(coordinate_plane(1, 1), 5, np.sin, law="gauss"),
    ],
)
def test_bad_input_is_refused(bad):
    with pytest.raises(InputError):
        bad()


def test_a_plane_is_plain_data():
    assert Plane(*coordinate_plane(1, 1)).points([[2.0]]).tolist() == [[2.0, 0.0]]
