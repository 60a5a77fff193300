"""Normal and tangent directions of a manifold of minima, and what is solved on them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import thalweg as tw
from thalweg.curvature import lyapunov_solve, normal_space, retracted, third_contracted
from thalweg.curvature.manifolds import NormalSpace, third_across

Z = np.random.default_rng(1).normal(size=(3, 5))
FITTED = tw.problems.over_parametrised_linear(Z, Z @ np.array([1.0, -1.0, 0, 0, 0.5]))


def on_manifold():
    params = FITTED.init(jax.random.key(0))
    for _ in range(6):
        params = retracted(FITTED, params, method="jacobian")
    return params


def operators(space: NormalSpace, p: int):
    return space.to_normal(jnp.eye(p)), space.pinv(jnp.eye(p))


@pytest.mark.parametrize("method", ["dense", "jacobian"])
def test_projectors_and_inverse_are_those_of_the_hessian(method):
    params = on_manifold()
    H = tw.curvature.hessian(FITTED, params).dense()
    space = normal_space(FITTED, params, method=method)
    normal, inverse = operators(space, 10)
    assert int(space.rank) == 3
    assert int(space.result) == tw.Result.OK
    np.testing.assert_allclose(inverse, np.linalg.pinv(H, rcond=1e-9), atol=1e-10)
    np.testing.assert_allclose(normal, H @ np.linalg.pinv(H, rcond=1e-9), atol=1e-10)
    np.testing.assert_allclose(space.least, np.linalg.eigvalsh(H)[-3], rtol=1e-10)
    assert float(space.distance) < 1e-12


def test_lanczos_finds_the_same_and_looks_one_further():
    params = on_manifold()
    dense = normal_space(FITTED, params, method="dense")
    space = normal_space(FITTED, params, method="lanczos", rank=3)
    assert space.vectors.shape == (10, 4)
    assert int(space.rank) == 3
    np.testing.assert_allclose(operators(space, 10)[0], operators(dense, 10)[0], atol=1e-7)
    fewer = normal_space(FITTED, params, method="lanczos", rank=1)
    assert int(fewer.rank) == 1
    assert int(fewer.result) == tw.Result.NOT_CONVERGED  # the second is more than a tenth of it


def test_a_rank_that_is_known_overrides_the_tolerance_off_the_manifold():
    ring = tw.problems.Function(lambda z: (z @ z - 1) ** 2 / 8, start=jnp.array([1.001, 0.0]))
    assert int(normal_space(ring, ring.start).rank) == 2
    told = normal_space(ring, ring.start, rank=1)
    assert int(told.rank) == 1
    np.testing.assert_allclose(told.to_tangent(jnp.array([1.0, 2.0])), [0.0, 2.0], atol=1e-15)


def test_a_rank_that_cannot_be_told_is_said():
    flat = tw.problems.Function(
        lambda x: x[0] ** 2 + 3e-8 * x[1] ** 2 + 1e-8 * x[2] ** 2, jnp.ones(3)
    )
    space = normal_space(flat, jnp.zeros(3))
    assert int(space.rank) == 2
    assert int(space.result) == tw.Result.NOT_CONVERGED
    assert float(space.left) == pytest.approx(2e-8)


@pytest.mark.thorough
def test_a_net_of_five_thousand_parameters_passes_without_a_matrix_of_its_size():
    rng = np.random.default_rng(0)
    data = (rng.normal(size=(12, 20)), rng.normal(size=(12, 1)))
    net = tw.problems.supervised(tw.models.mlp([60, 60]), data)
    params = net.init(jax.random.key(0))
    assert tw.core.tree.size(params) > 4900
    for _ in range(5):
        params = retracted(net, params)
    drift = tw.dynamics.limiting_drift(net, params, tw.oracles.label_noise(1.0))
    space = drift.space
    assert int(space.rank) == 12
    assert int(drift.result) == tw.Result.OK
    # Label noise of all labels has c = 1/n: -(c/4) P_t grad tr H, tr H = mean ||grad f_i||^2.
    from jax.flatten_util import ravel_pytree

    theta, unravel = ravel_pytree(params)

    def trace(t):
        return jnp.mean(
            jnp.sum(jax.jacrev(lambda s: net.outputs(unravel(s))[:, 0])(t) ** 2, axis=1)
        )

    expected = -space.to_tangent(jax.grad(trace)(theta)) / 4 / 12
    scale = float(jnp.linalg.norm(expected))
    np.testing.assert_allclose(drift.total, expected, atol=1e-8 * scale)
    assert float(jnp.linalg.norm(drift.diffusion)) < 1e-10


class Doubled(tw.problems.Supervised):
    """Someone's own objective, of which J^T J is not the Hessian."""

    def objective(self, params):
        return 2 * super().objective(params)


def test_an_objective_of_ones_own_is_not_taken_for_a_squared_error():
    params = on_manifold()
    own = Doubled(**{name: getattr(FITTED, name) for name in FITTED.__dataclass_fields__})
    with pytest.raises(tw.InputError, match="for a squared error"):
        normal_space(own, params, method="jacobian")
    top = normal_space(FITTED, params, method="jacobian").values[0]
    assert float(normal_space(own, params).values[-1]) == pytest.approx(2 * float(top))


def test_lyapunov_equation_is_solved():
    rng = np.random.default_rng(2)
    J, root = rng.normal(size=(3, 6)), rng.normal(size=(6, 4))
    H, S = J.T @ J, root @ root.T
    P = np.linalg.pinv(J) @ J
    Q = lyapunov_solve(H, S)
    np.testing.assert_allclose(H @ Q + Q @ H, P @ S @ P, atol=1e-11)
    np.testing.assert_allclose(P @ Q @ P, Q, atol=1e-11)
    bowl = tw.problems.Function(lambda x: 0.5 * x @ jnp.asarray(H) @ x, start=jnp.zeros(6))
    B = normal_space(bowl, jnp.zeros(6)).lyapunov(jnp.asarray(root))
    np.testing.assert_allclose(B @ B.T, Q, atol=1e-10)


def test_third_derivatives_are_summed_over_columns():
    A, B = np.random.default_rng(3).normal(size=(2, 10, 4))
    params = on_manifold()
    theta, unravel = jax.flatten_util.ravel_pytree(params)
    T = jax.jacfwd(jax.hessian(lambda t: FITTED.objective(unravel(t))))(theta)
    expected = jnp.einsum("ijk,jr,kr->i", T, A, B)
    found = third_contracted(FITTED, params, jnp.asarray(A), jnp.asarray(B))
    np.testing.assert_allclose(found, expected, atol=1e-11)


def test_newton_across_converges_quadratically():
    start = {"u": jnp.linspace(0.8, 1.3, 5), "v": jnp.linspace(1.2, 0.7, 5)}
    once = retracted(FITTED, start)
    losses = [float(FITTED.objective(p)) for p in (once, retracted(FITTED, once))]
    assert losses[1] < 1e-2 * losses[0]
    assert float(FITTED.objective(on_manifold())) < 1e-25


@pytest.mark.parametrize(
    ("problem", "options", "said"),
    [
        (FITTED, {"method": "svd"}, "method"),
        (FITTED, {"method": "lanczos", "rank": 10}, "1 to 9"),
        (FITTED, {"tolerance": 2.0}, "tolerance came as 2.0"),
        (tw.problems.Function(jnp.sum, jnp.ones(2)), {"method": "jacobian"}, "squared error"),
    ],
)
def test_what_does_not_fit_is_said(problem, options, said):
    with pytest.raises(tw.InputError, match=said):
        normal_space(problem, problem.init(jax.random.key(0)), **options)


@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_at_an_exact_fit_third_derivatives_across_are_products_of_examples(reduction):
    """Their part along the minima, two outputs, against the sum over columns."""
    model, rng = tw.models.mlp([4], "tanh"), np.random.default_rng(0)
    x = rng.normal(size=(3, 2))
    params = model.init(jax.random.key(1), (2,), 2)
    fitted = tw.problems.supervised(model, (x, model.apply(params, x)), reduction=reduction)
    space = normal_space(fitted, params)
    B = space.across @ jnp.asarray(rng.normal(size=(space.across.shape[1], 5)))
    expected = space.to_tangent(third_contracted(fitted, params, B, B))
    found = space.to_tangent(third_across(fitted, params, B))
    assert np.linalg.norm(expected) > 0.1
    np.testing.assert_allclose(found, expected, atol=1e-10)
