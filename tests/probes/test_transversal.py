"""Normal derivatives against closed forms and differences, frozen columns, errors off a plane."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import thalweg as tw
from thalweg.core.errors import InputError
from thalweg.models import Applied, first_layer_gradient, normal_derivatives
from thalweg.probes import measure, normal_derivative
from thalweg.problems import column_change, error_off_plane, supervised
from thalweg.problems.data.planes import coordinate_plane, near_plane, plane_of, random_plane


def quadratic(z):
    """Two outputs: z_1 z_2 and 3 z_3."""
    return jnp.stack([z[:, 0] * z[:, 1], 3 * z[:, 2]], axis=1)


def test_by_hand():
    points = jnp.asarray([[2.0, 0.0, 0.0], [-1.0, 5.0, 0.0]])
    found = normal_derivatives(quadratic, points, np.eye(3)[:, 1:])
    expected = np.array([[[2.0, 0.0], [0.0, 3.0]], [[-1.0, 0.0], [0.0, 3.0]]])
    np.testing.assert_allclose(found.value, expected)
    np.testing.assert_allclose(found.per_point, np.sqrt([13.0, 10.0]))
    np.testing.assert_allclose(found.per_direction, np.sqrt([2.5, 9.0]))
    assert float(found.rms) == pytest.approx(np.sqrt(11.5))


def test_by_differences_in_a_rotated_plane():
    plane, h = random_plane(2, 3, 1), 1e-5
    model = tw.models.mlp((7, 6), "tanh")
    params = model.init(jax.random.key(0), (5,), 1)

    def f(z):
        return model.apply(params, jnp.asarray(z))[:, 0]

    points = plane.points(np.random.default_rng(0).normal(size=(4, 2)))
    found = normal_derivatives(f, points, plane.normal).value[:, 0]
    differences = [(f(points + h * n) - f(points - h * n)) / (2 * h) for n in plane.normal.T]
    np.testing.assert_allclose(found, np.transpose(differences), atol=1e-9)


def test_rotating_inputs_and_first_layer_together_changes_nothing():
    turn = random_plane(5, 0, 4).tangent
    plane, model = coordinate_plane(2, 3), tw.models.mlp((7,), "relu")
    params = model.init(jax.random.key(0), (5,), 1)
    turned = [params[0] | {"weight": params[0]["weight"] @ turn.T}, params[1]]
    x = plane.points(np.random.default_rng(0).normal(size=(6, 2)))
    one = normal_derivatives(lambda z: model.apply(params, z), x, plane.normal)
    two = normal_derivatives(lambda z: model.apply(turned, z), x @ turn.T, turn @ plane.normal)
    np.testing.assert_allclose(one.value, two.value, atol=1e-14)


def test_the_first_layer_passes_its_gradient_on():
    plane = random_plane(1, 2, 0)
    model = tw.models.mlp((9, 8), "relu", initialiser="he-normal")
    params = model.init(jax.random.key(1), (3,), 1)
    points = jnp.asarray(plane.points(np.linspace(-1, 1, 11)[:, None]))
    g = first_layer_gradient(model, params, points)
    value = normal_derivatives(lambda z: model.apply(params, z), points, plane.normal).value[:, 0]
    np.testing.assert_allclose(value, g @ plane.columns(params[0]["weight"])[1], atol=1e-14)
    one = tw.models.mlp((9,), "relu")
    params = one.init(jax.random.key(1), (3,), 1)
    on = np.asarray(points @ params[0]["weight"].T) > 0
    expected = on * np.asarray(params[1]["weight"][0])
    np.testing.assert_allclose(first_layer_gradient(one, params, points), expected)


def test_training_on_a_plane_leaves_normal_columns_alone():
    """Exactly in the coordinate plane, up to rounding in a rotated one, not at all under Adam."""
    import optax

    runs = (
        (coordinate_plane(1, 2), tw.gradient_descent(0.1), 0.0, 0.0),
        (coordinate_plane(1, 2), tw.optax_dynamics(optax.adam(0.01), 0.01), 0.0, 0.0),
        (random_plane(1, 2), tw.gradient_descent(0.1), 0.0, 1e-13),
    )
    for plane, dynamics, low, high in runs:
        data = near_plane(plane, 30, lambda x: np.sin(3 * x))
        problem = supervised(tw.models.mlp((10,), "relu"), data)
        state = dynamics.init(problem, problem.init(jax.random.key(0)))
        step = jax.jit(lambda s, p=problem, d=dynamics: d.step(p, s, jax.random.key(0))[0])
        first = state.params[0]["weight"]
        for _ in range(30):
            state = step(state)
        change = column_change(first, state.params[0]["weight"], plane)
        assert low <= change.largest <= high
        assert change.tangent > 1e-3
        assert change.normal <= 1e-12


def test_changes_of_columns_by_hand():
    before = np.array([[3.0, 4.0, 0.0], [0.0, 0.0, 2.0]])
    after = np.array([[3.0, 4.0, 1.0], [0.0, 5.0, 2.0]])
    change = column_change(before, after, coordinate_plane(2, 1))
    assert change.normal == pytest.approx(1 / 2)
    assert change.tangent == pytest.approx(5 / 5)
    assert change.largest == 1.0


def test_errors_off_the_plane_of_a_plane_function():
    """f = 2 x + b . y and g = 2 x + 0.1: the error is sqrt(0.01 + r^2 |b|^2 / d_y)."""
    plane, b = random_plane(1, 3, 0), np.array([1.0, -2.0, 0.5])
    w = 2 * plane.tangent[:, 0] + plane.normal @ b
    x, r = np.linspace(-1, 1, 400)[:, None], np.array([0.0, 0.3, 2.0])
    found = error_off_plane(lambda z: z @ w, lambda x: 2 * x + 0.1, plane, x, r, directions=200)
    np.testing.assert_allclose(found, np.sqrt(0.01 + r**2 * (b @ b) / 3), rtol=0.02)
    assert found[0] == pytest.approx(0.1, rel=1e-12)


def test_the_probe_is_the_function_on_the_plane_of_the_inputs():
    plane = random_plane(2, 3, 5)
    data = near_plane(plane, 40, lambda x: np.sin(x), 0.001)
    problem = supervised(tw.models.mlp((8,), "tanh"), data)
    params = problem.init(jax.random.key(0))
    reading = measure(problem, params, normal_derivative(0.05))
    found = plane_of(data.inputs, 0.05)
    on = found.points(found.coordinates(data.inputs)[0])
    direct = normal_derivatives(lambda z: problem.outputs(params, z), on, found.normal)
    assert float(reading.value) == pytest.approx(float(direct.rms), rel=1e-12)
    assert float(reading.error) == 0
    # Without a plane there is nothing normal to it.
    assert float(measure(problem, params, normal_derivative(1e-6)).value) < 1e-12


def test_bad_input_is_refused():
    with pytest.raises(InputError, match="basis"):
        normal_derivatives(quadratic, np.ones((2, 3)), np.ones((2, 1)))
    model = tw.models.linear((3,))
    params = model.init(jax.random.key(0), (2,), 1)
    with pytest.raises(InputError, match="biases"):
        first_layer_gradient(model, params, jnp.ones((1, 2)))
    with pytest.raises(InputError, match="first layers"):
        column_change(np.ones((2, 3)), np.ones((2, 2)), coordinate_plane(1, 2))
    with pytest.raises(InputError, match="off it"):
        error_off_plane(jnp.sum, np.sum, coordinate_plane(2, 0), np.ones((1, 2)), [0.1])
    with pytest.raises(InputError, match="tolerance"):
        normal_derivative(1.5)
    function = tw.problems.Function(lambda p: jnp.sum(p**2), start=jnp.ones(2))
    with pytest.raises(InputError, match="data"):
        measure(function, jnp.ones(2), normal_derivative())


def test_a_model_of_whole_batches_is_refused():
    class Whole(Applied):
        @property
        def separable(self):
            return False

    model = Whole(lambda p, x: x @ p - jnp.mean(x @ p), start=np.ones((3, 1)))
    problem = supervised(model, near_plane(coordinate_plane(1, 2), 5, np.sin))
    with pytest.raises(InputError, match="whole batch"):
        measure(problem, problem.init(jax.random.key(0)), normal_derivative())
