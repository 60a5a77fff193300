"""The end-to-end rule, against brute force on eigenvalues, on factors and on quadrature."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import linalg

import thalweg as tw
from thalweg.models.overparametrisation import balanced_factors
from thalweg.theory.linear_nets import end_to_end as theory

SHAPES = [(3, 4), (4, 3), (3, 3), (1, 5)]
G = np.array([1.0, 2.0, -0.5])


def pair(shape, seed=0):
    return np.random.default_rng(seed).normal(size=(2, *shape))


def by_eigenvalues(A, power):
    """A positive semidefinite matrix to a power, 0 the identity, through its own eigenvalues."""
    if power == 0:
        return np.eye(len(A))
    value, vector = np.linalg.eigh(A)
    return (vector * np.where(value > 1e-12, value, 0) ** power) @ vector.T


def column_major(M):
    return np.asarray(M).T.ravel()


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("N", [1, 2, 3, 5])
def test_field_and_preconditioner_are_their_formulae(shape, N):
    W, g = pair(shape)
    powers = [((j - 1) / N, (N - j) / N) for j in range(1, N + 1)]
    sides = [(by_eigenvalues(W @ W.T, a), by_eigenvalues(W.T @ W, b)) for a, b in powers]
    field = sum(left @ g @ right for left, right in sides)
    np.testing.assert_allclose(theory.end_to_end_field(W, g, N), field, atol=1e-12)
    P = np.asarray(theory.preconditioner(W, N))
    np.testing.assert_allclose(P, sum(np.kron(b, a) for a, b in sides), atol=1e-12)
    np.testing.assert_allclose(P @ column_major(g), column_major(field), atol=1e-12)


def test_the_field_of_factors_is_what_descent_on_them_does():
    """-d/dt (W_N ... W_1) for dW_j/dt = -dL/dW_j, by differentiation, at balanced weights."""
    W, T = pair((2, 5), 1)
    weights = balanced_factors(jnp.asarray(W), 4, (2, 6, 3), jax.random.key(0))

    def product(ws):
        return ws[3] @ ws[2] @ ws[1] @ ws[0]

    gradient = jax.grad(lambda ws: jnp.sum((product(ws) - T) ** 4))(weights)
    _, moved = jax.jvp(product, (weights,), (gradient,))
    expected = theory.end_to_end_field(jnp.asarray(W), jnp.asarray(4 * (W - T) ** 3), 4)
    np.testing.assert_allclose(moved, expected, rtol=1e-10)
    velocity = theory.end_to_end_velocity(jnp.asarray(W), 4 * (W - T) ** 3, 4, 0.3)
    _, decayed = jax.jvp(product, (weights,), ([-0.3 * w for w in weights],))
    np.testing.assert_allclose(velocity, decayed - moved, rtol=1e-10)


def test_rank_deficiency_makes_no_noise():
    """Powers of rounding would be (1e-16)^(1/3)."""
    rng = np.random.default_rng(2)
    W, g = np.outer(rng.normal(size=4), rng.normal(size=6)), rng.normal(size=(4, 6))
    s = np.linalg.norm(W)
    P, Q = W @ W.T / s**2, W.T @ W / s**2
    expected = s ** (4 / 3) * (g @ Q + P @ g @ Q + P @ g)
    np.testing.assert_allclose(theory.end_to_end_field(W, g, 3), expected, atol=1e-9)
    assert np.all(theory.end_to_end_field(jnp.zeros((2, 3)), jnp.ones((2, 3)), 3) == 0)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("N", [1, 2, 3, 8])
def test_spectrum(shape, N):
    W, _ = pair(shape, 3)
    values, U, V = (np.asarray(a) for a in theory.preconditioner_spectrum(W, N))
    P = np.asarray(theory.preconditioner(W, N))
    assert values.shape == shape
    for r, q in np.ndindex(shape):
        vector = column_major(np.outer(U[:, r], V[:, q]))
        np.testing.assert_allclose(P @ vector, values[r, q] * vector, atol=1e-11)
    np.testing.assert_allclose(
        np.sort(values.ravel()), np.clip(np.linalg.eigvalsh(P), 0, None), atol=1e-10
    )
    s = np.linalg.svd(W, compute_uv=False)
    np.testing.assert_allclose(np.diagonal(values), N * s ** (2 - 2 / N), rtol=1e-12)


@pytest.mark.parametrize("N", [1, 2, 3, 5])
def test_the_rule_for_one_output_is_the_field(N):
    w, g = pair((6,), 4)
    field = theory.end_to_end_field(w[None], g[None], N)[0]
    np.testing.assert_allclose(theory.single_output_rule(w, g, N), field, rtol=1e-12)
    along = w * (w @ g) / (w @ w)
    expected = np.linalg.norm(w) ** (2 - 2 / N) * (g + (N - 1) * along)
    np.testing.assert_allclose(theory.single_output_rule(w, g, N), expected, rtol=1e-12)
    origin = jnp.zeros(6)
    np.testing.assert_array_equal(theory.single_output_rule(origin, g, N), g * (N == 1))
    slope = jax.jacfwd(lambda v: theory.single_output_rule(v, jnp.asarray(g), N))(origin)
    assert np.all(slope == 0)


def test_step_on_a_scalar_factor():
    w1, g = pair((5,), 5)
    omega, eta = -0.7, 0.3
    after = (w1 - eta * omega * g) * (omega - eta * w1 @ g)
    step = theory.scalar_factor_step(w1 * omega, omega, g, eta)
    np.testing.assert_allclose(step, after, rtol=1e-13)


@pytest.mark.parametrize(
    ("N", "value"), [(1, 0.0), (2, 0.0), (3, 2.260604), (4, 5.019855), (8, 17.296284)]
)
def test_line_integral_of_the_rule(N, value):
    curve = theory.gamma_curve(G, 0.4, 1.3)
    found = theory.line_integral(lambda w: theory.single_output_rule(w, jnp.asarray(G), N), curve)
    assert found.value == pytest.approx(value, abs=1e-6)
    closed = theory.constant_gradient_integral(np.linalg.norm(G), N, 0.4, 1.3)
    assert found.value == pytest.approx(closed, abs=1e-12)
    assert abs(found.value - closed) <= found.error + 1e-13


def test_line_integral_of_known_fields():
    def turn(x):
        return jnp.stack([-x[1], x[0]])

    def circle(t):
        return 2 * jnp.stack([jnp.cos(2 * jnp.pi * t), jnp.sin(2 * jnp.pi * t)])

    assert theory.line_integral(turn, [circle]).value == pytest.approx(2 * np.pi * 4, rel=1e-13)
    gradient = jax.grad(lambda x: jnp.sin(x[0]) * x[1] ** 2)
    assert theory.line_integral(gradient, [circle]).value == pytest.approx(0, abs=1e-12)
    closed = theory.gamma_curve([0.3, -1.0], 0.5, 2.0)
    assert theory.line_integral(gradient, closed).value == pytest.approx(0, abs=1e-12)


def test_gamma_curve_is_closed_and_keeps_to_its_radii():
    u = G / np.linalg.norm(G)
    pieces = theory.gamma_curve(G, 0.4, 1.3)
    ends = [(piece(0.0), piece(1.0)) for piece in pieces]
    for (_, end), (begin, _) in zip(ends, [*ends[1:], ends[0]], strict=True):
        np.testing.assert_allclose(end, begin, atol=1e-15)
    np.testing.assert_allclose([begin for begin, _ in ends], np.outer([-1.3, -0.4, 0.4, 1.3], u))
    for piece, radius in ((pieces[1], 0.4), (pieces[3], 1.3)):
        assert np.linalg.norm(piece(0.37)) == pytest.approx(radius)


def test_asymmetry_against_central_differences():
    Q, g = np.diag([1.0, 2.0, 3.0, 4.0]), pair((4,), 6)[1]
    w, h = pair((4,), 6)[0], 1e-5

    def field(v):
        return theory.single_output_rule(v, Q @ v - g, 2)

    columns = [(field(w + h * e) - field(w - h * e)) / (2 * h) for e in np.eye(4)]
    J = np.transpose(columns)
    expected = np.max(np.abs(J - J.T))
    assert expected > 0.01
    assert float(theory.jacobian_asymmetry(field, jnp.asarray(w))) == pytest.approx(expected, 1e-7)
    twice = float(theory.jacobian_asymmetry(lambda v: jnp.asarray(Q) @ v, jnp.asarray(w)))
    assert twice == 0


def test_balance_defect():
    W = pair((3, 4), 7)[0]
    weights = balanced_factors(jnp.asarray(W), 3, (5, 4), jax.random.key(1))
    assert float(theory.balance_defect(weights)) < 1e-14
    low, top = pair((3, 3), 8)
    expected = linalg.norm(top.T @ top - low @ low.T)
    assert float(theory.balance_defect([low, top])) == pytest.approx(expected)


def test_bad_input_is_told():
    with pytest.raises(tw.InputError, match="at least 1"):
        theory.end_to_end_field(jnp.ones((2, 2)), jnp.ones((2, 2)), 0)
    with pytest.raises(tw.InputError, match="where d is 2 as in W"):
        theory.end_to_end_field(jnp.ones((2, 2)), jnp.ones((2, 3)), 2)
    with pytest.raises(tw.InputError, match="0 < r < R"):
        theory.gamma_curve([1.0, 0.0], 2.0, 1.0)
    with pytest.raises(tw.InputError, match="two or more entries"):
        theory.gamma_curve([1.0], 1.0, 2.0)
    with pytest.raises(tw.InputError, match="at least two"):
        theory.balance_defect([jnp.ones((2, 2))])
    with pytest.raises(tw.InputError, match="at least 2"):
        theory.line_integral(lambda x: x, [], nodes=1)
