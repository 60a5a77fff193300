"""Rewiring against a loop written from the papers' formulas, closed forms and invariants."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import thalweg as tw
from thalweg.driver.path import path
from thalweg.dynamics import deep_r, grad_r, laplace_centre, soft_deep_r
from thalweg.dynamics.optax_update import optax_converts
from thalweg.dynamics.rewiring import hidden_strengths as hidden
from thalweg.theory.optimisers.hidden_strengths import (
    absent_at_rest,
    laplace_mass_below,
    strength_without_loss,
)

STEPS = 60
RNG = np.random.default_rng(3)
X, Y = RNG.normal(size=(9, 5)), RNG.normal(size=(9, 2))
START = {
    "first": 0.3 * RNG.normal(size=(5, 4)),
    "bias": 0.1 * RNG.normal(size=4),
    "second": 0.3 * RNG.normal(size=(4, 2)),
}
WIRED = ("first", "second")


def net(p: Any) -> jax.Array:
    kind = p["first"].dtype
    hidden_layer = jnp.tanh(jnp.asarray(X, kind) @ p["first"] + p["bias"][None])
    return jnp.sum((hidden_layer @ p["second"] - jnp.asarray(Y, kind)) ** 2)


SLOPE = jax.jit(jax.grad(net))


@pytest.fixture(autouse=True)
def _as_users_have_it() -> Iterator[None]:
    """Optax mixes types and ranks."""
    with optax_converts():
        yield


def of_state(state: Any, name: str) -> Any:
    return optax.tree_utils.tree_get(state, name)


def walked(transform: Any, kind: Any = jnp.float64, steps: int = STEPS, slope: Any = None) -> Any:
    """Weights, strengths and signs at every step, in one compiled loop."""
    begin = jax.tree.map(lambda a: jnp.asarray(a, kind), START)
    turn = jax.grad(net) if slope is None else slope

    def step(carry: Any, _: Any) -> Any:
        params, state = carry
        updates, state = transform.update(turn(params), state, params)
        params = optax.apply_updates(params, updates)
        return (params, state), (params, of_state(state, "strength"), of_state(state, "sign"))

    first = (begin, transform.init(begin))
    return jax.jit(lambda c: jax.lax.scan(step, c, None, length=steps)[1])(first)


def by_hand(rule: str, accurate: bool, eta: float, alpha: float, mu: float) -> list[Any]:
    """The paper's pseudo-code in NumPy; the bias by Adam or descent without prior."""
    theta = {k: np.abs(START[k]) for k in WIRED}
    s = {k: np.sign(START[k]) for k in WIRED}
    bias = START["bias"].copy()
    m = {k: 0 * v for k, v in START.items()}
    v = {k: 0 * w for k, w in START.items()}
    told = []
    for t in range(1, STEPS + 1):
        params = {k: s[k] * np.maximum(theta[k], 0) for k in WIRED} | {"bias": bias}
        g = {k: np.asarray(a) for k, a in SLOPE(jax.tree.map(jnp.asarray, params)).items()}
        if accurate:
            g = {k: a * (theta[k] > 0) if k in WIRED else a for k, a in g.items()}
        eta_t = eta / (1 - 0.9**t) if rule == "adam" else eta
        moved = {}
        for k, a in g.items():
            m[k] = 0.9 * m[k] + 0.1 * a
            v[k] = 0.999 * v[k] + 0.001 * a**2
            adam = m[k] / (np.sqrt(v[k]) / np.sqrt(1 - 0.999**t) + 1e-8)
            moved[k] = eta_t * (adam if rule == "adam" else a)
        for k in WIRED:
            theta[k] = theta[k] - s[k] * moved[k] - eta_t * alpha * np.sign(theta[k] - mu)
        bias = bias - moved["bias"]
        told.append(({k: a.copy() for k, a in theta.items()}, bias.copy()))
    return told


@pytest.mark.parametrize(
    ("rule", "accurate", "eta", "alpha"),
    [
        ("adam", False, 0.02, 0.5),
        pytest.param("adam", True, 0.02, 0.5, marks=pytest.mark.thorough),
        pytest.param("sgd", False, 0.01, 1.0, marks=pytest.mark.thorough),
        pytest.param("sgd", True, 0.01, 1.0, marks=pytest.mark.thorough),
    ],
)
def test_the_path_is_that_of_the_formulas(
    rule: str, accurate: bool, eta: float, alpha: float
) -> None:
    mu = -0.05
    rewiring = grad_r(eta, alpha, rule=rule, centre=mu, accurate=accurate)
    params, strengths, _ = walked(rewiring)
    truth = by_hand(rule, accurate, eta, alpha, mu)
    for k in WIRED:
        expected = np.stack([theta[k] for theta, _ in truth])
        np.testing.assert_allclose(strengths[k], expected, rtol=1e-7, atol=1e-10)
        assert (expected < 0).any()  # some are absent
        assert (expected > 0).any()
    np.testing.assert_allclose(params["bias"], [b for _, b in truth], rtol=1e-7)


def made(name: str) -> Any:
    return {
        "grad-r": grad_r(0.02, 0.5, centre=-0.05),
        "descent": grad_r(0.02, 0.3, rule="sgd", centre=-0.05),
        "deep-r": deep_r(0.02, 0.5, 0.3, 0.02),
        "soft-deep-r": soft_deep_r(0.02, 0.5, 0.1),
    }[name]


@pytest.mark.parametrize("kind", [jnp.float32, jnp.float64])
@pytest.mark.parametrize(
    "name", ["grad-r", *(pytest.param(n, marks=pytest.mark.thorough) for n in
                         ("descent", "deep-r", "soft-deep-r"))],
)  # fmt: skip
def test_weights_are_signs_times_positive_strengths_to_the_bit(name: str, kind: Any) -> None:
    params, strengths, signs = walked(made(name), kind)
    seen = []
    for k in WIRED:
        w, theta = np.asarray(params[k]), np.asarray(strengths[k])
        assert w.dtype == theta.dtype == kind
        np.testing.assert_array_equal(signs[k][-1], np.sign(START[k]).astype(kind))
        np.testing.assert_array_equal(w, signs[k] * np.maximum(theta, 0))
        present = w != 0
        seen.append([np.any(present[:-1] & ~present[1:]), np.any(~present[:-1] & present[1:])])
    assert np.any(seen, axis=0).all()  # it pruned, and it grew again


def test_the_centre_leaves_the_asked_share_below_zero() -> None:
    for p in (0.5, 0.7, 0.95, 0.999):
        for alpha in (1e-4, 0.3, 10.0):
            mu = float(laplace_centre(p, alpha))
            assert abs(float(laplace_mass_below(0.0, mu, alpha)) - p) < 1e-14
            assert mu <= 0
    assert float(laplace_centre(0.5, 3.0)) == 0.0
    many = jax.vmap(lambda a: laplace_centre(0.9, a))(jnp.array([1.0, 2.0]))
    np.testing.assert_allclose(many, np.log(0.2) / np.array([1, 2]))
    for p in (0.49, 0.0, -1.0, 1.0, float("nan")):
        with pytest.raises(tw.InputError, match="sparsity came as"):
            laplace_centre(p, 1.0)


def still(params: Any) -> Any:
    return jax.tree.map(jnp.zeros_like, params)


@pytest.mark.parametrize("rule", ["sgd", pytest.param("adam", marks=pytest.mark.thorough)])
def test_without_a_loss_strengths_go_to_the_centre_and_chatter(rule: str) -> None:
    eta, alpha = 1e-3, 10.0
    mu = float(laplace_centre(0.95, alpha))
    rewiring = grad_r(eta, alpha, 0.95, rule=rule)
    params, strengths, _ = walked(rewiring, steps=2000, slope=still)
    for k in WIRED:
        assert np.abs(np.asarray(strengths[k][-100:]) - mu).max() <= eta * alpha
        assert np.all(np.asarray(params[k][-1]) == 0)
    if rule == "sgd":
        times = eta * np.arange(1, 2001)
        told = strength_without_loss(np.abs(START["first"]).ravel(), mu, alpha, times)
        gap = np.asarray(strengths["first"]).reshape(2000, -1) - told
        assert np.abs(gap).max() <= eta * alpha + 1e-12
        before = np.abs(told - mu) > eta * alpha  # the descent is on the line itself
        assert np.abs(gap[before]).max() < 1e-12


@pytest.mark.thorough
def test_the_sparsity_asked_for_counts_only_once_the_centre_is_reached() -> None:
    inert = [walked(grad_r(0.02, 0.3, p))[1] for p in (0.9, 0.99)]
    acting = [walked(grad_r(0.02, 30.0, p))[1] for p in (0.9, 0.99)]
    for k in WIRED:
        np.testing.assert_array_equal(inert[0][k], inert[1][k])
        assert np.abs(acting[0][k] - acting[1][k]).max() > 1e-3


def test_an_accurate_gradient_lets_nothing_grow_again_but_what_adam_remembers() -> None:
    """With descent never; Adam's momentum can bring one back in its first four steps."""
    eta, alpha = 1e-3, 0.11
    w = jnp.array([[5e-5]])
    for rule, expected in (("adam", [-5e-5, 4.1e-5]), ("sgd", None)):
        rewiring = grad_r(eta, alpha if rule == "adam" else 2.0, rule=rule, accurate=True)
        p, state, seen = w, rewiring.init(w), []
        for _ in range(8):
            slope = jnp.where(p != 0, -1.0, 0.0)  # of no connection: none, as the true one
            updates, state = rewiring.update(slope, state, p)
            p = optax.apply_updates(p, updates)
            seen.append(float(of_state(state, "strength")[0, 0]))
        if expected:
            np.testing.assert_allclose(seen[:2], expected, atol=1e-6)
        else:
            assert all(b < a < 0 for a, b in pairwise(seen))


@pytest.mark.thorough
def test_regrowth_needs_the_redefined_gradient() -> None:
    def grown(**options: Any) -> int:
        params = walked(grad_r(0.02, 0.3, rule="sgd", centre=-0.05, **options))[0]
        present = [np.asarray(params[k]) != 0 for k in WIRED]
        return int(sum((~p[:-1] & p[1:]).sum() for p in present))

    assert grown(accurate=True) == 0
    assert grown() > 0


def test_what_comes_back_in_deep_rewiring_is_drawn_and_has_its_own_sign() -> None:
    """c = 0.9 beyond a sparsity of 0.3: each comes back with probability (0.9 - 0.3)/0.9."""
    signs = np.where(RNG.random((60, 50)) < 0.5, -1.0, 1.0)
    start = jnp.asarray(signs * np.where(RNG.random((60, 50)) < 0.9, 1e-4, 1.0))
    rewiring = deep_r(0.1, 0.01, 0.3, rule="sgd")
    state, w = rewiring.init(start), start
    updates, state = rewiring.update(0 * w, state, w)
    w = optax.apply_updates(w, updates)
    absent = np.asarray(w) == 0
    share = absent.mean()
    np.testing.assert_array_equal(absent, np.abs(start) < 1e-3)  # none of these at once
    updates, state = rewiring.update(0 * w, state, w)
    back = np.asarray(optax.apply_updates(w, updates))[absent]
    np.testing.assert_array_equal(back[back != 0], 1e-8 * signs[absent][back != 0])
    chance = (share - 0.3) / share
    spread = np.sqrt(chance * (1 - chance) / absent.sum())
    assert abs((back != 0).mean() - chance) < 4 * spread


def test_deep_rewiring_forgets_the_momentum_of_what_it_prunes() -> None:
    w = jnp.array([[1e-3, 1.0]])
    rewiring = deep_r(0.01, 0.0, 0.9)
    state = rewiring.init(w)
    updates, state = rewiring.update(jnp.array([[1.0, 1.0]]), state, w)
    w = optax.apply_updates(w, updates)
    assert float(w[0, 0]) == 0.0
    moment = of_state(state, "direction").mu
    assert float(moment[0, 0]) == 0.0
    assert float(moment[0, 1]) == pytest.approx(0.1)
    updates, _ = rewiring.update(jnp.array([[-1.0, 1.0]]), state, w)
    assert float(updates[0, 0]) == 0.0  # an absent one feels no gradient


@pytest.mark.thorough
@pytest.mark.parametrize("sparsity", [0.3, 0.8])
def test_the_floor_of_soft_deep_rewiring_leaves_the_asked_share_absent(sparsity: float) -> None:
    l1, noise, eta = 1.0, 0.5, 4e-4
    w = 0.1 * jnp.asarray(np.where(RNG.random((200, 50)) < 0.5, -1.0, 1.0))
    rewiring = soft_deep_r(eta, l1, noise, sparsity, rule="sgd")
    floor = -(noise**2) * sparsity / (2 * l1 * (1 - sparsity))
    assert absent_at_rest(floor, l1, noise) == pytest.approx(sparsity)

    def step(carry: Any, _: Any) -> Any:
        params, state = carry
        updates, state = rewiring.update(0 * params, state, params)
        params = optax.apply_updates(params, updates)
        return (params, state), jnp.mean(params == 0)

    end, absent = jax.lax.scan(step, (w, rewiring.init(w)), None, length=15_000)
    assert float(of_state(end[1], "strength").min()) == pytest.approx(floor)
    late = np.asarray(absent[-5000:])
    # A walk in steps of sigma stopped at a floor is one reflected 0.5826 sigma below (Chernoff).
    expected = absent_at_rest(floor - 0.5826 * noise * np.sqrt(eta), l1, noise)
    assert abs(late.mean() - expected) < 0.01
    assert expected < sparsity + 0.03


def test_a_weight_of_zero_never_moves_and_divergence_is_not_hidden() -> None:
    w = jnp.array([[0.0, 1.0], [-0.5, 2.0]])
    rewiring = grad_r(0.1, 0.5, rule="sgd")
    state, p = rewiring.init(w), w
    for _ in range(5):
        updates, state = rewiring.update(-jnp.ones((2, 2)), state, p)
        p = optax.apply_updates(p, updates)
    assert float(p[0, 0]) == 0.0
    assert float(p[0, 1]) > 1.0
    updates, state = rewiring.update(jnp.full((2, 2), jnp.nan), state, p)
    p = optax.apply_updates(p, updates)
    assert np.isnan(np.asarray(p)).tolist() == [[False, True], [True, True]]
    updates, state = rewiring.update(jnp.ones((2, 2)), state, p)
    assert np.isnan(np.asarray(optax.apply_updates(p, updates)))[0, 1]


def test_a_mask_chooses_and_others_can_be_given() -> None:
    start = jax.tree.map(jnp.asarray, START)
    only_first = {"first": True, "bias": False, "second": False}
    rewiring = grad_r(0.1, 1.0, rule="sgd", mask=only_first, others=optax.sgd(0.5))
    updates, state = rewiring.update(
        jax.tree.map(jnp.ones_like, start), rewiring.init(start), start
    )
    np.testing.assert_array_equal(updates["second"], -0.5)
    np.testing.assert_array_equal(updates["bias"], -0.5)
    strengths = of_state(state, "strength")
    assert isinstance(strengths["second"], optax.MaskedNode)
    by_function = grad_r(0.1, 1.0, rule="sgd", mask=lambda p: hidden.only_matrices(p))
    assert not isinstance(of_state(by_function.init(start), "strength")["second"], optax.MaskedNode)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: grad_r(0.1, 0.0), "alpha came as 0.0; give a positive number"),
        (lambda: grad_r(-1.0, 0.1), "learning_rate came as -1.0"),
        (lambda: grad_r(0.1, 0.1, 0.3), "sparsity came as 0.3; give a share from 0.5"),
        (lambda: grad_r(0.1, 0.1, rule="lion"), "unknown rule 'lion'"),
        (lambda: deep_r(0.1, 0.1, 1.0), "sparsity came as 1.0; give a number from 0 to below 1"),
        (lambda: soft_deep_r(0.1, 0.0, 0.1), "l1 came as 0.0"),
        (lambda: grad_r(0.1, 0.1).init(jnp.ones(3)), "no array of the parameters has two or more"),
        (lambda: grad_r(0.1, 0.1, mask=[True]).init(jnp.ones((3, 2))), "mask came as [True]"),
        (lambda: _without_params(grad_r(0.1, 0.1)), "needs the parameters beside the gradient"),
    ],
)  # fmt: skip
def test_what_it_cannot_be_given_is_one_sentence(call: Any, words: str) -> None:
    with pytest.raises(tw.InputError) as caught:
        call()
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def _without_params(transform: Any) -> None:
    w = jnp.ones((2, 2))
    transform.update(w, transform.init(w))


@pytest.mark.thorough
def test_many_strengths_of_the_prior_share_a_program_and_runs_are_what_they_are_alone() -> None:
    problem = tw.problems.Function(net, start=jax.tree.map(jnp.asarray, START))
    alphas = jnp.array([0.1, 0.5, 2.0])

    def end(alpha: Any) -> Any:
        dynamics = tw.optax_dynamics(grad_r(0.02, alpha), 0.02)
        return path(dynamics, problem, problem.start, every=40, records=1).seen

    together = jax.jit(jax.vmap(end))(alphas)
    connected = []
    for i, alpha in enumerate(alphas):
        alone = jax.jit(end)(alpha)
        for k in START:
            np.testing.assert_allclose(together[k][i], alone[k], rtol=1e-9, atol=1e-12)
        connected.append(sum(int((np.asarray(alone[k][-1]) != 0).sum()) for k in WIRED))
    assert connected[0] > connected[1] > connected[2]


@pytest.mark.thorough
def test_wrappers_of_optax_go_around_it() -> None:
    start = jax.tree.map(jnp.asarray, START)
    for wrapped in (
        optax.chain(optax.clip_by_global_norm(0.5), grad_r(0.02, 0.5)),
        optax.MultiSteps(grad_r(0.02, 0.5), 2),
        optax.apply_if_finite(grad_r(0.02, 0.5), 3),
    ):
        p, state = start, wrapped.init(start)
        for _ in range(30):
            updates, state = wrapped.update(SLOPE(p), state, p)
            p = optax.apply_updates(p, updates)
        strengths, signs = of_state(state, "strength"), of_state(state, "sign")
        for k in WIRED:
            np.testing.assert_array_equal(p[k], signs[k] * jnp.maximum(strengths[k], 0))
        assert any(bool((p[k] == 0).any()) for k in WIRED)
