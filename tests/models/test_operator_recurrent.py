"""Networks that apply their input: formula, algebra in X, starts, factors and ties."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import thalweg as tw
from thalweg.core.rank import schatten_norm
from thalweg.models import OperatorRecurrent, balanced_pair, factor_norms, factor_regulariser

KEY = jax.random.key(3)
DRAWN = np.random.default_rng(5)
X = DRAWN.normal(size=(4, 3, 3))


def start(net, outputs=2, n=3):
    return net.init(KEY, (n, n), outputs, jnp.float64)


def by_hand(net, params, x, phi):
    """E1 example by example and block by block, in NumPy."""
    k, n = net.blocks, len(x)
    whole = np.zeros((k * n, k * n))
    for block in range(k):
        whole[block * n : (block + 1) * n, block * n : (block + 1) * n] = x
    h = np.zeros(k * n) if net.first is None else np.asarray(net.first)
    for j, found in enumerate(net.matrices(params)):
        shift = params[0 if net.tied else j]
        W = {name: np.asarray(matrix) for name, matrix in found.items()}
        after = np.asarray(shift["b0"]) + W["A0"] @ h + W["B0"] @ (whole @ h)
        if "A1" in W:
            after = after + phi(np.asarray(shift["b1"]) + W["A1"] @ h + W["B1"] @ (whole @ h))
        h = after
    return h


@pytest.mark.parametrize(
    "net",
    [
        OperatorRecurrent(3),
        OperatorRecurrent(3, 2, activation="leaky-relu:0.2", first=np.arange(6.0)),
        OperatorRecurrent(2, rank=4, fixed={"A0": np.eye(3), "B1": DRAWN.normal(size=(2, 3, 3))}),
        OperatorRecurrent(4, rank=1, tied=True, fixed={"B0": DRAWN.normal(size=(3, 3))}),
    ],
    ids=["dense", "blocks", "factored", "tied"],
)
def test_outputs_are_those_of_the_formula(net):
    params = start(net)

    def phi(z):
        return np.where(z > 0, z, (0.2 if net.activation != "relu" else 0.0) * z)

    expected = np.stack([by_hand(net, params, x, phi) for x in X])
    states = net.states(params, jnp.asarray(X))
    assert states.shape == (net.layers + 1, 4, 3 * net.blocks)
    np.testing.assert_allclose(states[-1], expected, rtol=1e-12, atol=1e-14)
    out = expected @ np.asarray(params[-1]["weight"]).T + np.asarray(params[-1]["bias"])
    np.testing.assert_allclose(net.apply(params, jnp.asarray(X)), out, rtol=1e-12, atol=1e-14)


def test_without_the_branch_it_is_a_polynomial_in_the_operator():
    """Degree L exactly: differences of order L + 1 in t vanish, those of order L do not."""
    first = np.ones(3)
    net = OperatorRecurrent(4, activation=None, readout=False, first=first, gain=3.0)
    params = start(net, 3)
    along = np.stack([np.asarray(net.apply(params, t * X[:1]))[0] for t in np.arange(6.0)])
    assert np.abs(np.diff(along, n=5, axis=0)).max() < 1e-11 * np.abs(along).max()
    assert np.abs(np.diff(along, n=4, axis=0)).max() > 1e-3
    # With the branch it is none.
    kinked = OperatorRecurrent(4, readout=False, first=first, gain=3.0)
    params = start(kinked, 3)
    along = np.stack([np.asarray(kinked.apply(params, t * X[:1]))[0] for t in np.arange(-3.0, 3)])
    assert np.abs(np.diff(along, n=5, axis=0)).max() > 1e-3


def test_it_holds_an_iteration_for_the_inverse():
    """Tied, h + omega (v - X h) goes to X^-1 v: 200 layers against a solve."""
    S = X[0] @ X[0].T + np.eye(3)
    omega, v = 1 / np.linalg.norm(S, 2), np.array([1.0, -2.0, 0.5])
    net = OperatorRecurrent(200, activation=None, tied=True, readout=False)
    layer = {"A0": np.eye(3), "B0": -omega * np.eye(3), "b0": omega * v}
    found = net.apply([jax.tree.map(jnp.asarray, layer)], jnp.asarray(S[None]))[0]
    np.testing.assert_allclose(found, np.linalg.solve(S, v), rtol=1e-6)


def test_starts_have_the_scales_they_tell():
    n, r = 40, 20
    dense = start(OperatorRecurrent(3, gain=2.0), 1, n)
    for layer in dense[:-1]:
        for part in layer.values():
            assert float(jnp.max(jnp.abs(part))) <= 2 / n**0.5
            assert 0.7 * 2 / (3 * n) ** 0.5 < float(jnp.std(part)) < 1.3 * 2 / (3 * n) ** 0.5
    assert float(jnp.max(jnp.abs(dense[-1]["weight"]))) <= 2 / n**0.5
    net = OperatorRecurrent(3, rank=r, gain=2.0)
    for layer in net.matrices(start(net, 1, n)):
        for matrix in layer.values():
            assert float(jnp.std(matrix)) == pytest.approx(2 / n, rel=0.1)
    one = start(OperatorRecurrent(3, rank=r), 1, n)
    # 12 matrices of 20 factors, each norm near r^(-1/4).
    assert float(factor_regulariser(one)) == pytest.approx(12 * 20 * 2 * 20**-0.25, rel=0.03)


def test_layers_and_parts_start_apart():
    params = start(OperatorRecurrent(2))
    leaves = [np.asarray(w).ravel()[:3] for w in jax.tree.leaves(params)]
    assert len({leaf.tobytes() for leaf in leaves}) == len(leaves)


def test_without_state_and_biases_it_is_zero():
    net = OperatorRecurrent(2)
    params = start(net)
    bare = [
        {name: w * float(name not in ("b0", "b1", "bias")) for name, w in layer.items()}
        for layer in params
    ]
    assert float(jnp.max(jnp.abs(net.apply(bare, jnp.asarray(X))))) == 0.0


@pytest.mark.parametrize(
    ("options", "inputs", "outputs", "told"),
    [
        ({}, (3, 4), 1, "square matrices"),
        ({}, (9,), 1, "square matrices"),
        ({"first": np.ones(4)}, (3, 3), 1, "let them agree"),
        ({"fixed": {"A0": np.eye(4)}}, (3, 3), 1, "let them agree"),
        ({"readout": False}, (3, 3), 1, "give readout=True"),
    ],
)
def test_what_does_not_fit_is_told(options, inputs, outputs, told):
    with pytest.raises(tw.InputError, match=told):
        OperatorRecurrent(2, **options).init(KEY, inputs, outputs, jnp.float64)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"layers": 0}, "at least 1"),
        ({"blocks": 0}, "at least 1"),
        ({"rank": 0}, "at least 1"),
        ({"activation": "tang"}, "tanh"),
        ({"fixed": {"C0": np.eye(3)}}, "A0, B0, A1, B1"),
        ({"fixed": {"A1": np.eye(3)}, "activation": None}, "give an activation"),
        ({"fixed": {"A0": np.ones((3, 3, 3))}}, r"\(k n, k n\)"),
        ({"fixed": {"A0": np.ones((2, 3, 3))}, "tied": True}, r"\(k n, k n\)"),
    ],
)
def test_what_cannot_be_is_told(options, told):
    with pytest.raises(tw.InputError, match=told):
        OperatorRecurrent(**{"layers": 2, **options})


def test_balanced_factors_have_the_least_regulariser():
    """Over factorisations mixed at random: (u Q D, v Q D^-1) never goes below, and both are met."""
    A = DRAWN.normal(size=(5, 3)) @ DRAWN.normal(size=(3, 7))
    pair = balanced_pair(A, 3)
    np.testing.assert_allclose(pair.left @ pair.right.T, A, atol=1e-13)
    s = np.linalg.svd(A, compute_uv=False)[:3]
    least = {1.0: s.sum(), 0.5: 2 * np.sqrt(s).sum()}
    assert float(schatten_norm(jnp.asarray(A), 1)) == pytest.approx(least[1.0], rel=1e-12)
    # Rounding of the two vanishing singular values, 1e-16, has the root 1e-8.
    assert 2 * float(schatten_norm(jnp.asarray(A), 0.5)) ** 0.5 == pytest.approx(
        least[0.5], rel=1e-6
    )
    for exponent, value in least.items():
        assert float(factor_regulariser(pair._asdict(), exponent)) == pytest.approx(value)
    for _ in range(30):
        Q = np.linalg.qr(DRAWN.normal(size=(3, 3)))[0] @ np.diag(np.exp(DRAWN.normal(size=3)))
        other = {"left": pair.left @ Q, "right": pair.right @ np.linalg.inv(Q).T}
        np.testing.assert_allclose(other["left"] @ other["right"].T, A, atol=1e-11)
        for exponent, value in least.items():
            assert float(factor_regulariser(other, exponent)) > value


def test_the_nearest_of_lower_rank():
    A = DRAWN.normal(size=(4, 6))
    s = np.linalg.svd(A, compute_uv=False)
    pair = balanced_pair(A, 2)
    assert pair.left.shape == (4, 2)
    assert np.linalg.norm(A - pair.left @ pair.right.T, 2) == pytest.approx(s[2])


def test_factors_are_found_at_any_depth_and_a_dead_one_has_no_slope():
    dead = {"left": jnp.zeros((3, 1)), "right": jnp.ones((2, 1))}
    params = {"x": [dead, {"w": jnp.ones((2, 2))}], "y": {"left": jnp.ones((1, 2)), "right": 1.0}}
    params["y"]["right"] = 2 * jnp.ones((5, 2))
    assert factor_norms(params).shape == (3, 2)
    gradient = jax.grad(factor_regulariser)(params)
    assert float(jnp.max(jnp.abs(gradient["x"][0]["left"]))) == 0.0
    np.testing.assert_allclose(gradient["x"][0]["right"], 2**-0.5, rtol=1e-12)
    assert float(jnp.max(jnp.abs(gradient["x"][1]["w"]))) == 0.0
    lost = {"left": jnp.full((3, 2), jnp.nan), "right": jnp.ones((2, 2))}
    assert np.isnan(factor_regulariser(lost))
    with pytest.raises(tw.InputError, match="factored"):
        factor_regulariser([{"weight": jnp.ones((2, 2))}])
    with pytest.raises(tw.InputError, match="exponent came as 2"):
        factor_regulariser(params, 2)
